import json
from pathlib import Path

import pytest

from eval import judge_wishes, read_wishes, wishes_text
from eval.wishes import AttributeWish, ConversationWish
from retrieval import InputError, Item, Retriever

ATTRIBUTES = {"wish": "a drama", "locale": "en", "all_of": ["Drama"]}


def write(folder: Path, *lines: object) -> Path:
    file = folder / "wishes.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return file


def test_both_kinds_are_read(tmp_path: Path) -> None:
    talk = {"wish": "hello", "named": ["i1"], "relevant": ["i2"]}
    first, second = read_wishes(write(tmp_path, ATTRIBUTES, "", talk))
    assert isinstance(first, AttributeWish)
    assert isinstance(second, ConversationWish)


@pytest.mark.parametrize(
    "line", ["no json", "[]", {"wish": "x"}, {"wish": "", "all_of": []}, {"wish": "x", "relevant": []}]
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(InputError, match=r"line 2 of .* is neither"):
        read_wishes(write(tmp_path, ATTRIBUTES, line))


def test_a_file_without_wishes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no wishes"):
        read_wishes(write(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_wishes(tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("attributes", "satisfied"),
    [
        ({"genres": ("War", "Drama"), "year": 1975}, True),
        ({"genres": ("War",), "year": 1975}, False),
        ({"genres": ("War", "Drama", "Comedy"), "year": 1975}, False),
        ({"genres": ("War", "Drama"), "year": 1980}, False),
        ({"genres": ("War", "Drama")}, False),
    ],
)
def test_what_satisfies_a_wish(attributes: dict[str, object], satisfied: bool) -> None:
    wish = AttributeWish(wish="x", all_of=("War", "Drama"), none_of=("Comedy",), year_from=1970, year_to=1979)
    assert wish.satisfied(Item("i", "t", attributes)) is satisfied  # type: ignore[arg-type]


def test_arms_are_judged_on_both_kinds(retriever: Retriever) -> None:
    relevant = retriever.catalog.item(1).item_id
    talk = ConversationWish(wish="hello there", relevant=(relevant,))
    report = judge_wishes(retriever, [AttributeWish.model_validate(ATTRIBUTES), talk])
    by_metric = {(one.group, one.metric): one for one in report.figures}
    assert by_metric["en", "satisfied@5"].means["conditions"].mean == 1.0
    assert by_metric["conversations", "recall@50"].means["popular"].mean == 1.0
    assert "satisfied@5 of 1 wishes (en)" in wishes_text(report)


def test_an_unknown_arm(retriever: Retriever) -> None:
    with pytest.raises(InputError, match="no arm 'magic'"):
        judge_wishes(retriever, [AttributeWish.model_validate(ATTRIBUTES)], ["magic"])
