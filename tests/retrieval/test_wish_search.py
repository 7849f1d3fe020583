"""Wishes over the checkerboard, with a stand-in for an embedding model whose vectors are known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval import (
    AlsParameters,
    EmbeddingError,
    RetrievalRequest,
    Retriever,
    Wish,
    WishCondition,
    current_manifest,
    fit,
    load,
)
from tests.checkerboard import checkerboard


class Letters:
    """Embeds a text by how often it holds the letters of the alphabet."""

    fingerprint = "letters"

    def __init__(self) -> None:
        self.embedded: list[str] = []
        self.broken = False

    def embed(self, texts: Sequence[str], kind: str) -> np.ndarray:
        if self.broken:
            raise EmbeddingError("does not answer", code="embeddings_failed")
        self.embedded += texts
        letters = "abcdefghijklmnopqrstuvwxyz"
        counts = np.array([[text.lower().count(one) for one in letters] for text in texts], dtype=np.float32) + 1e-3
        scaled: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return scaled


@pytest.fixture(scope="module")
def letters() -> Letters:
    return Letters()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, letters: Letters) -> Path:
    directory = tmp_path_factory.mktemp("embedded")
    fit(directory, checkerboard(), AlsParameters(factors=2, iterations=30), embedder=letters)
    return directory


@pytest.fixture(scope="module")
def wishing(folder: Path, letters: Letters) -> Retriever:
    return Retriever(load(folder), letters)


def test_the_artifact_says_which_model_embedded_its_items(folder: Path) -> None:
    manifest = current_manifest(folder)
    assert manifest is not None
    assert manifest.embedder == "letters"


def test_a_second_fit_embeds_nothing_again(folder: Path, letters: Letters) -> None:
    before = len(letters.embedded)
    fit(folder, checkerboard(), AlsParameters(factors=2, iterations=30), embedder=letters)
    assert len(letters.embedded) == before


def test_the_closest_meaning_comes_first(wishing: Retriever) -> None:
    item = wishing.catalog.item(3)
    found = wishing.retrieve(RetrievalRequest(wish=Wish(item.title), count=3))
    assert found.candidates[0].item == item
    assert found.candidates[0].source == "meaning"
    assert found.fallback is None


def test_strict_conditions_rule_out_and_others_raise(wishing: Retriever) -> None:
    drama = WishCondition("genres", {"all": ["Drama"]})
    count = 3
    strict = wishing.retrieve(RetrievalRequest(wish=Wish("", conditions=(drama,)), count=count))
    assert all("Drama" in one.item.attributes["genres"] for one in strict.candidates)  # type: ignore[operator]
    assert strict.relaxed == []
    nothing = WishCondition("genres", {"all": ["Western"]})
    relaxed = wishing.retrieve(RetrievalRequest(wish=Wish("", conditions=(drama, nothing)), count=count))
    assert relaxed.relaxed == [nothing]
    assert [one.item for one in relaxed.candidates] == [one.item for one in strict.candidates]


def test_a_condition_that_the_catalog_cannot_apply_is_relaxed(wishing: Retriever) -> None:
    odd = WishCondition("colour", {"all": ["red"]})
    assert wishing.retrieve(RetrievalRequest(wish=Wish("", conditions=(odd,)), count=2)).relaxed == [odd]


def test_named_items_are_a_history_and_are_not_recommended(wishing: Retriever) -> None:
    named = wishing.catalog.item(0)
    found = wishing.retrieve(RetrievalRequest(wish=Wish("", liked=(named.item_id,)), count=5))
    assert [entry.item for entry in found.history] == [named]
    assert named not in [one.item for one in found.candidates]


def test_given_candidates_are_ranked_and_never_ruled_out(wishing: Retriever) -> None:
    ids = [wishing.catalog.item(place).item_id for place in range(6)]
    drama = WishCondition("genres", {"all": ["Drama"]})
    found = wishing.retrieve(RetrievalRequest(wish=Wish("x", conditions=(drama,)), candidate_ids=ids))
    assert {one.item.item_id for one in found.candidates} == set(ids)
    met = ["Drama" in one.item.attributes.get("genres", ()) for one in found.candidates]  # type: ignore[operator]
    assert met == sorted(met, reverse=True)


def test_an_embedder_that_fails_leaves_words(wishing: Retriever, letters: Letters) -> None:
    title = wishing.catalog.item(3).title
    letters.broken = True
    try:
        found = wishing.retrieve(RetrievalRequest(wish=Wish(title, words=title), count=3))
    finally:
        letters.broken = False
    assert found.wish_error is not None
    assert found.candidates[0].item.title == title


def test_another_model_is_not_compared(folder: Path) -> None:
    other = Letters()
    other.fingerprint = "other"
    retriever = Retriever(load(folder), other)
    assert retriever.wishes.mismatch
    assert retriever.wishes.embedder is None
    assert retriever.retrieve(RetrievalRequest(wish=Wish("drama", words="drama"), count=2)).wish_error is None
