"""``whyrank tune`` as a process."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from reranker.adapter import load_adapter
from tests.api.process import WHYRANK, wait_for, whyrank
from tests.tuning.conftest import pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A working directory whose settings name its own data and model."""
    folder = tmp_path_factory.mktemp("own")
    dataset = pairs()
    dataset.interactions.drop("text").write_csv(folder / "did.csv")
    dataset.items.write_csv(folder / "items.csv")
    (folder / "whyrank.toml").write_text(
        f'[data]\ninteractions = "did.csv"\nitems = "items.csv"\nnoun = "stories"\n[llm]\nmodel = "{checkpoint}"\n'
    )
    return folder


def test_ctrl_c_and_resume(folder: Path, checkpoint: Path) -> None:
    """An interrupted training leaves a checkpoint, and resuming it prints the estimate and the result."""
    command = [str(WHYRANK), "tune", "--epochs", "20", "--learning-rate", "0.005", "--patience", "99", "--out", "own"]
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=stream)
    try:
        wait_for(lambda: "step" in log.read_text() or process.poll() is not None, seconds=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130, log.read_text()
    finally:
        process.kill()
    assert "continue with --resume" in log.read_text()
    done = whyrank(*command[1:], "--resume", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "examples per epoch" in done.stderr
    assert "MiB of memory" in done.stderr
    assert "minutes left" in done.stderr
    first = re.search(r"step (\d+) of", done.stderr)
    assert first is not None
    assert int(first[1]) > 1, "training started from the checkpoint"
    adapter = load_adapter(folder / "own", thorough=True)
    assert adapter.base == checkpoint.name
    assert adapter.name in done.stdout
    assert f"--lora-modules {adapter.name}=" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {"WHYRANK_LLM__URL": "http://127.0.0.1:1"}, "llm.url"),
        (("--prompt", "rnk"), {}, "Did you mean 'rank'"),
        (("--resume", "--out", "never-begun"), {}, "--resume"),
    ],
)
def test_wrong_input_is_named(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    done = whyrank("tune", *arguments, folder=folder, **environment)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
