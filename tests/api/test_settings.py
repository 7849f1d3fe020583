from pathlib import Path

import pytest

from api import load_settings
from retrieval import InputError


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[llm]\nmodle = "x"\n', "Did you mean 'llm.model'"),
        ("prot = 1\n", "Did you mean 'port'"),
        ("port = 0\n", "port"),
        ("port = \n", "whyrank.toml"),
        ('[llm]\nweight = "heavy"\n', "llm.weight"),
    ],
)
def test_a_wrong_file_names_the_key(folder: Path, content: str, says: str) -> None:
    (folder / "whyrank.toml").write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert says in str(caught.value)


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYRANK_LLM__API_KEY", "s3cret")
    assert "s3cret" not in repr(load_settings())
