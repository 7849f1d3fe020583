import os
import stat
import sys
from pathlib import Path

import pytest

from reranker import LlmSettings, LLMStartError, LocalServer, find_server
from reranker.server import embedded, process
from tests.standin import StandIn


def test_command_has_loopback_processor_and_extra_flags() -> None:
    settings = LlmSettings(vllm_args=("--max-num-seqs", "7"))
    command = process.command(settings, "/models/x", "x", 1234)
    assert command[1:4] == ["-P", "-m", "vllm.entrypoints.openai.api_server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "whyrank_forced:ForcedContinuations" in command
    assert command[-2:] == ["--max-num-seqs", "7"]


def test_environment_binds_cores_and_disables_hub_for_local_models(tmp_path: Path) -> None:
    found = process.environment(LlmSettings(kv_cache_gib=3), tmp_path, model_is_local=True)
    assert found["PYTHONPATH"] == str(tmp_path)
    assert found["HF_HUB_OFFLINE"] == "1"
    if process.runs_on_cpu():
        assert found["VLLM_CPU_KVCACHE_SPACE"] == "3"
        assert len(found["VLLM_CPU_OMP_THREADS_BIND"].split(",")) == len(os.sched_getaffinity(0))
    assert (
        "HF_HUB_OFFLINE"
        not in process.environment(LlmSettings(), tmp_path, model_is_local=False).keys() - os.environ.keys()
    )


def test_given_variables_override_chosen_ones(tmp_path: Path) -> None:
    given = {"VLLM_CPU_KVCACHE_SPACE": "7", "OMP_NUM_THREADS": "1"}
    found = process.environment(LlmSettings(), tmp_path, model_is_local=True, variables=given)
    assert found.items() >= given.items()


def test_models_are_embedded_a_folder_or_a_name(tmp_path: Path) -> None:
    assert process.resolve_model(LlmSettings(model=str(tmp_path))) == (str(tmp_path), tmp_path.name)
    assert process.resolve_model(LlmSettings(model="org/model")) == ("org/model", "org/model")


def test_running_server_is_found_by_url_and_port(standin: StandIn) -> None:
    by_url = find_server(LlmSettings(url="http://elsewhere:8000", model="some-model"))
    assert by_url is not None
    assert (by_url.url, by_url.model) == ("http://elsewhere:8000", "some-model")
    port = int(standin.url.rsplit(":", 1)[1])
    by_port = find_server(LlmSettings(port=port, model="stand-in"))
    assert by_port is not None
    assert by_port.url == standin.url
    assert find_server(LlmSettings(port=port, model="another-model")) is None


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> LlmSettings:
    """Replace vLLM by a shell script, since failures of the real one take a minute."""
    program = tmp_path / "fake-vllm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(process, "command", lambda *_: [str(program)])
    return LlmSettings(model="org/model", cache_dir=tmp_path, start_timeout_s=1.0)


def test_failed_start_reports_end_of_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fake_python(tmp_path, monkeypatch, "echo loading; echo 'out of memory' >&2; exit 3")
    with pytest.raises(LLMStartError) as caught, LocalServer(settings):
        pass
    assert "loading\nout of memory" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_slow_start_is_stopped_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fake_python(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; echo thinking; exec sleep 60")
    said: list[str] = []
    with pytest.raises(LLMStartError, match="thinking"), LocalServer(settings, report=said.append):
        pass
    assert any("starting vLLM" in text for text in said)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_old_logs_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fake_python(tmp_path, monkeypatch, "exit 1")
    (tmp_path / "llm").mkdir()
    for number in range(30):
        (tmp_path / "llm" / f"2000{number:02}.log").touch()
    with pytest.raises(LLMStartError), LocalServer(settings):
        pass
    assert 15 < len(list((tmp_path / "llm").glob("*.log"))) <= 21


def test_damaged_checkpoint_is_reported(tmp_path: Path) -> None:
    assert embedded.problems(tmp_path, thorough=False) == [f"{tmp_path} holds no converted checkpoint"]
    (tmp_path / "weights").write_bytes(b"abc")
    digest = embedded.sha256(tmp_path / "weights")
    (tmp_path / "whyrank-checkpoint.json").write_text(
        f'{{"files": {{"weights": {{"bytes": 3, "sha256": "{digest}"}}}}}}'
    )
    assert embedded.problems(tmp_path, thorough=True) == []
    (tmp_path / "weights").write_bytes(b"abd")
    assert embedded.problems(tmp_path, thorough=False) == []
    assert "damaged" in embedded.problems(tmp_path, thorough=True)[0]
    (tmp_path / "weights").write_bytes(b"ab")
    assert "truncated" in embedded.problems(tmp_path, thorough=False)[0]


def test_processor_does_not_import_whyrank() -> None:
    """vLLM loads the processor in its own process, which must not import whyrank."""
    text = Path(process.__file__).with_name("forced.py").read_text()
    imports = [
        line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))
    ]
    assert not {"api", "eval", "reranker", "prompts", "retrieval"} & set(imports)
    assert sys.version_info >= (3, 11)
