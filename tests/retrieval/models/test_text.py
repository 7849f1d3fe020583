from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import AlsParameters, fit, load, make_dataset
from retrieval.models.text import TextIndex, words
from tests.checkerboard import checkerboard

ITEMS = pl.DataFrame(
    {
        "item_id": ["1", "2", "3"],
        "title": ["Star Wars", "星球大战", "The Star"],
        "tags": [["space", "war"], ["太空"], None],
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Star-Wars: Épisode IV", ["star", "wars", "episode", "iv"]),
        ("天使爱", ["天", "使", "爱", "天使", "使爱"]),
        ("ＡＢＣ　１２", ["abc", "12"]),
        ("スター wars", ["ス", "タ", "ー", "スタ", "ター", "wars"]),
        ("Йод", ["иод"]),
        ("!?", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_matches_are_ranked_and_survive_the_disk(tmp_path: Path) -> None:
    interactions = checkerboard().interactions.with_columns(item_id=pl.lit("1"))
    shop = make_dataset("shop", "films", ITEMS, interactions)
    fit(tmp_path, shop, AlsParameters(factors=2))
    for index in (TextIndex.build(ITEMS), load(tmp_path).text_index):
        star = index.scores("the star")
        assert star.argmax() == 2
        assert star[1] == 0
        assert index.scores("大战").tolist()[1] > 0
        assert index.scores("SPACE").nonzero()[0].tolist() == [0]
        assert index.scores("nothing of it").tolist() == [0, 0, 0]


@given(st.text(max_size=3000))
def test_any_query_gets_a_finite_score_for_every_item(query: str) -> None:
    scores = TextIndex.build(ITEMS).scores(query)
    assert scores.shape == (3,)
    assert (scores >= 0).all()
    assert (scores < 1e6).all()


def test_words_that_tell_a_kind() -> None:
    kinds = ["Tent", "Lamp", "Rope", "Boot", "Stove"]
    names = ["Aster", "Birch", "Cedar", "Daisy", "Elder", "Fern", "Gorse", "Hazel", "Iris", "Juniper"]
    titles = [f"{name} {kind}" for kind in kinds for name in names]
    index = TextIndex.build(pl.DataFrame({"item_id": [str(one) for one in range(50)], "title": titles}))
    for wish in ("a tent", "tents for two", "I want a TENT"):
        (tents,) = index.kinds(wish)
        assert [titles[place] for place in tents.nonzero()[0]] == titles[:10]
    assert len(index.kinds("a lamp or a rope")) == 2
    assert index.kinds("something Cedar") != []
    assert index.kinds("a castle, the best") == []
    assert index.kinds("a tent", noun="tents") == []
