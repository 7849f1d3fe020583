import dataclasses
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompts import PromptLibrary, Sanitizer, history_inputs
from retrieval import AlsParameters, Dataset, InputError, RetrievalRequest, Retriever, Split, fit, load, make_dataset
from retrieval.data.splits import global_time, leave_last, per_user_temporal
from tests.checkerboard import ITEMS, USERS, checkerboard


def held_out(split: Split, user: str) -> list[str]:
    return split.held_out.filter(pl.col("user_id") == user)["item_id"].to_list()


def train(split: Split, user: str) -> list[str]:
    return split.train.interactions.filter(pl.col("user_id") == user)["item_id"].to_list()


def test_leave_last_holds_out_the_latest() -> None:
    whole = checkerboard().interactions.filter(pl.col("user_id") == "u3")["item_id"].to_list()
    split = leave_last(checkerboard(), 2)
    assert train(split, "u3") + held_out(split, "u3") == whole
    assert len(held_out(split, "u3")) == 2
    assert leave_last(checkerboard(), 6).held_out.is_empty(), "users of six interactions stay whole"


def test_per_user_temporal_holds_out_a_share() -> None:
    split = per_user_temporal(checkerboard(), 0.5)
    assert len(held_out(split, "u3")) == 3
    assert len(train(split, "u3")) == 3
    tiny = per_user_temporal(checkerboard(), 0.01)
    assert {len(held_out(tiny, f"u{user}")) for user in range(USERS)} == {1}


def test_global_time_is_one_day_for_all() -> None:
    split = global_time(checkerboard(), 1003)
    assert split.train.interactions["timestamp"].max() == 1002
    assert split.held_out["timestamp"].min() == 1003
    with pytest.raises(InputError, match="one side"):
        global_time(checkerboard(), 5)


def test_searches_go_with_what_came_before_them() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
    table = pl.DataFrame(
        {
            "user_id": ["u"] * 4,
            "item_id": [None, "a", None, "b"],
            "text": ["first", None, "second", None],
            "timestamp": [1, 2, 3, 4],
        }
    )
    split = leave_last(make_dataset("d", "items", items, table))
    assert split.train.interactions["text"].to_list()[:2] == ["first", None]
    assert split.held_out["item_id"].to_list() == ["b"]


@pytest.mark.parametrize("bad", [lambda: leave_last(checkerboard(), 0), lambda: per_user_temporal(checkerboard(), 1.0)])
def test_bad_sizes(bad: object) -> None:
    with pytest.raises(InputError):
        bad()  # type: ignore[operator]


def known_at(directory: Path, dataset: Dataset, at: int) -> object:
    """Everything that a system fitted just before ``at`` would know, retrieve and show the model."""
    fit(directory, global_time(dataset, at).train, AlsParameters(factors=2, half_life_days=100))
    retriever = Retriever(load(directory))
    answers = []
    for user in [*(f"u{user}" for user in range(0, USERS, 5)), "nobody"]:
        found = retriever.retrieve(RetrievalRequest(user_id=user, count=ITEMS - 6))
        shown = (
            PromptLibrary().get("rank").render({"history": history_inputs(found.history, Sanitizer()), "noun": "films"})
        )
        evidence = retriever.evidence(found, [candidate.item for candidate in found.candidates])
        answers.append((found.candidates, found.history, evidence, dataclasses.astuple(shown)))
    searched = retriever.retrieve(RetrievalRequest(query="drama story", count=5)).candidates
    return answers, searched, retriever.manifest.checksums, retriever.popularity().tolist()


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.integers(0, USERS - 1),
    item=st.integers(0, ITEMS - 1),
    event=st.sampled_from(["rating", "purchase", "hide", "an event of a new kind"]),
    later=st.integers(0, 10**9),
)
def test_a_planted_future_changes_nothing_that_was_known_before(
    tmp_path: Path, user: int, item: int, event: str, later: int
) -> None:
    dataset, at = checkerboard(), 1500
    future = pl.DataFrame(
        {
            "user_id": [f"u{user}"] * 50,
            "item_id": [f"i{item}"] * 50,
            "event": [event] * 50,
            "weight": [5.0] * 50,
            "timestamp": [at + later] * 50,
            "text": [None] * 50,
        },
        schema=dataset.interactions.schema,
    )
    planted = make_dataset("checkerboard", "films", dataset.items, pl.concat([future, dataset.interactions]))
    assert known_at(tmp_path / "with", planted, at) == known_at(tmp_path / "without", dataset, at)


def test_the_same_plant_is_seen_from_a_later_time(tmp_path: Path) -> None:
    """The test above can fail: split after the plant, everything that it looks at changes."""
    dataset = checkerboard()
    end = dataset.interactions.head(1).with_columns(timestamp=pl.lit(9000, dtype=pl.Int64))
    plant = dataset.interactions.head(1).with_columns(item_id=pl.lit("i1"), timestamp=pl.lit(3000, dtype=pl.Int64))
    without, with_plant = [
        make_dataset("checkerboard", "films", dataset.items, pl.concat([dataset.interactions, end, *more]))
        for more in ([], [plant])
    ]
    assert known_at(tmp_path / "with", with_plant, 8000) != known_at(tmp_path / "without", without, 8000)
    assert known_at(tmp_path / "with", with_plant, 2500) == known_at(tmp_path / "without", without, 2500)
