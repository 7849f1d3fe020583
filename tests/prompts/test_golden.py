"""What each shipped template shows for the example.

To change it on purpose: ``pytest tests/prompts --update-golden``, and read the difference.
"""

from pathlib import Path

import pytest

from prompts import EXAMPLE, PromptLibrary, render_sample

GOLDEN = Path(__file__).parent / "golden"
LIBRARY = PromptLibrary()
SHIPPED = [f"{name}@{version}" for name in LIBRARY.names() for version in LIBRARY.versions(name)]


@pytest.mark.parametrize("reference", SHIPPED)
def test_a_shipped_template_shows_what_its_golden_file_says(reference: str, pytestconfig: pytest.Config) -> None:
    file = GOLDEN / f"{reference}.txt"
    shown = str(render_sample(LIBRARY.get(reference), EXAMPLE))
    if pytestconfig.getoption("--update-golden", default=False):
        file.write_text(shown, encoding="utf-8")
    assert file.is_file(), "new template: run 'pytest tests/prompts --update-golden' and read the file"
    assert shown == file.read_text(encoding="utf-8")


def test_there_is_no_golden_file_without_a_template() -> None:
    assert sorted(file.stem for file in GOLDEN.iterdir()) == sorted(SHIPPED)


def test_the_measured_rank_prompt_has_not_changed() -> None:
    rank = LIBRARY.get("rank@2")
    shown = (
        "Films that one person chose, in order:\nHeat (Action, Crime)\nAmélie (Comedy, Romance)\n卧虎藏龙 (Action)\n"
    )
    assert rank.render(EXAMPLE.inputs).content == shown
    assert rank.render_candidate(EXAMPLE.inputs, EXAMPLE.candidates[0]) == "Alien (Horror, Sci-Fi)\n"


def test_every_family_speaks_english_and_chinese() -> None:
    families = {LIBRARY.get(name).family for name in LIBRARY.names()}
    assert families == {"rank", "rank-wish", "rank-labels", "rank-pointwise", "rank-permutation", "rerank", "reason"}
    for family in families:
        english, chinese = LIBRARY.find(family, "en"), LIBRARY.find(family, "zh-CN")
        assert (english.name, chinese.name) == (family, f"{family}-zh")
        assert english.meta.task == chinese.meta.task
        assert english.meta.scoring == chinese.meta.scoring
