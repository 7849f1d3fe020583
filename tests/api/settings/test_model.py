import tomllib
from pathlib import Path

import pytest

from api import load_settings
from api.settings.text import show
from reranker.settings import SHIPPED_ADAPTER
from retrieval import AlsParameters, InputError, fit
from retrieval.data import readers
from tests.api.process import whyrank


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flags_win_over_the_environment_over_the_file_over_defaults(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().port == 8000
    (folder / "whyrank.toml").write_text('port = 1\n[llm]\nmodel = "from-file"\nweight = 0.1\n')
    assert (load_settings().port, load_settings().llm.model) == (1, "from-file")
    monkeypatch.setenv("WHYRANK_PORT", "2")
    monkeypatch.setenv("WHYRANK_LLM__WEIGHT", "0.2")
    assert (load_settings().port, load_settings().llm.weight, load_settings().llm.model) == (2, 0.2, "from-file")
    assert load_settings(port=3, host=None).port == 3


def test_the_shipped_adapter_is_for_the_embedded_data(artifact_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().llm.adapter_folder == SHIPPED_ADAPTER
    monkeypatch.setenv("WHYRANK_DATA__GROUPLENS", "ml-1m")
    assert load_settings().llm.adapter_folder is None
    monkeypatch.setenv("WHYRANK_LLM__ADAPTER", "mine")
    assert load_settings().llm.adapter_folder == Path("mine")
    monkeypatch.setenv("WHYRANK_LLM__ADAPTER", "shipped")
    monkeypatch.delenv("WHYRANK_DATA__GROUPLENS")
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(artifact_dir))
    assert load_settings().llm.adapter_folder is None
    fit(artifact_dir.parent / "films", readers.movielens(), AlsParameters(factors=1, iterations=1))
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(artifact_dir.parent / "films"))
    assert load_settings().llm.adapter_folder == SHIPPED_ADAPTER
    monkeypatch.delenv("WHYRANK_ARTIFACT")
    monkeypatch.setenv("WHYRANK_LLM__URL", "http://elsewhere:8000")
    assert load_settings().llm.adapter_folder is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[llm]\nmodle = "x"\n', "Did you mean 'llm.model'"),
        ('[data]\nintractions = "x.csv"\n', "Did you mean 'data.interactions'"),
        ("prot = 1\n", "Did you mean 'port'"),
        ("port = 0\n", "port"),
        ("port = \n", "whyrank.toml"),
        ('[llm]\nweight = "heavy"\n', "llm.weight"),
        ('admin = "of"\n', "Did you mean 'off'"),
        ("[data.columns]\nuser_id = 3\n", "data.columns.user_id"),
    ],
)
def test_a_wrong_file_names_the_key(folder: Path, content: str, says: str) -> None:
    (folder / "whyrank.toml").write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert says in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(folder: Path, encoding: str) -> None:
    (folder / "whyrank.toml").write_text('port = 7\n[data]\nnoun = "书"\n', encoding=encoding)
    assert (load_settings().port, load_settings().data.noun) == (7, "书")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("WHYRANK_PROT", "1", "Did you mean 'WHYRANK_PORT'"),
        ("whyrank_prot", "1", "whyrank_prot"),
        ("WHYRANK_LLM__WIEGHT", "1", "Did you mean 'llm.weight'"),
        ("WHYRANK_LMM__WEIGHT", "1", "Did you mean 'WHYRANK_LLM'"),
        ("WHYRANK_LLM", "{", "llm"),
        ("WHYRANK_PORT", "many", "port"),
        ("WHYRANK_LLM__URL", "gpu-box:8000", "llm.url: Value error, must be an address such as http://"),
        ("WHYRANK_LLM__URL", "http://", "llm.url"),
        ("WHYRANK_LLM__URL", "http://gpu-box:99999", "llm.url"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert says in str(caught.value)


def test_a_key_is_never_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYRANK_LLM__API_KEY", "s3cret")
    monkeypatch.setenv("WHYRANK_LLM__URL", "http://me:s3cret@gpu-box:8000")
    monkeypatch.setenv("WHYRANK_LLM__VLLM_ARGS", '["--api-key", "s3cret", "--hf-token=s3cret", "--seed", "7"]')
    assert "s3cret" not in repr(load_settings().llm.api_key)
    shown = show(load_settings())
    assert "s3cret" not in shown
    assert tomllib.loads(shown)["llm"]["vllm_args"][-2:] == ["--seed", "7"]
    monkeypatch.delenv("WHYRANK_LLM__API_KEY")
    (folder / "whyrank.toml").write_text("[llm]\napi_key = 53210\n")
    with pytest.raises(InputError, match=r"llm\.api_key") as caught:
        load_settings()
    assert "53210" not in str(caught.value)


def test_shown_settings_are_the_settings(folder: Path) -> None:
    mine = '[llm]\nweight = 0.25\nvllm_args = ["--seed", "7"]\n[data.columns]\nuser_id = "客户"\n'
    (folder / "whyrank.toml").write_text(mine, encoding="utf-8")
    settings = load_settings(port=81)
    (folder / "whyrank.toml").write_text(show(settings), encoding="utf-8")
    assert load_settings() == settings


def test_serve_shows_them(folder: Path) -> None:
    done = whyrank("serve", "--port", "81", "--show-settings", folder=folder, WHYRANK_LLM__API_KEY="s3cret")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(done.stdout)["port"] == 81
    assert "s3cret" not in done.stdout + done.stderr
