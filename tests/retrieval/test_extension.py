"""Items that were put since the fit, in a loaded build."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from retrieval import (
    AlsParameters,
    Artifact,
    Filter,
    Interaction,
    RetrievalRequest,
    Retriever,
    StoredItem,
    extend_artifact,
    fit,
    load,
)
from retrieval.embeddings.contract import Floats, TextKind, unit_rows
from retrieval.errors import EmbeddingError
from retrieval.wish import Wish
from tests.checkerboard import checkerboard

NEW = StoredItem("new", "Zebra crossing", {"genres": ["Zoology"]})


class Letters:
    """Embeds a text by its letters."""

    fingerprint = "letters"

    def __init__(self) -> None:
        self.embedded: list[str] = []
        self.fails = False

    def embed(self, texts: Sequence[str], kind: TextKind) -> Floats:
        if self.fails:
            raise EmbeddingError("is away", code="embedder_unavailable")
        self.embedded += texts
        counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return unit_rows(np.array(counts, dtype=np.float32))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("build")
    fit(folder, checkerboard(), AlsParameters(factors=4, iterations=5), embedder=Letters())
    return load(folder)


def found(artifact: Artifact, query: str, **more: object) -> list[str]:
    retrieved = Retriever(artifact).retrieve(RetrievalRequest(query=query, count=5, **more))  # type: ignore[arg-type]
    return [candidate.item.item_id for candidate in retrieved.candidates]


def test_a_new_item_is_found_by_words_and_filters(build: Artifact) -> None:
    assert "new" not in found(build, "zebra")
    extended = extend_artifact(build, [NEW])
    assert found(extended, "zebra")[0] == "new"
    wanted: Filter = {"genres": "Zoology"}
    assert found(extended, "anything", filter=wanted) == ["new"]
    mine = Retriever(extended).retrieve(RetrievalRequest(user_id=build.user_ids[0], query="zebra", count=5))
    assert mine.candidates[0].item.item_id == "new"
    assert Retriever(extended).retrieve(RetrievalRequest(query="zebra", count=3)).candidates[0].source == "text"


def test_a_changed_item_is_found_by_its_new_title_only(build: Artifact) -> None:
    item = build.catalog.item(3)
    extended = extend_artifact(build, [StoredItem(item.item_id, "Quagga", {})])
    assert extended.catalog.position(item.item_id) == 3
    assert found(extended, "quagga")[0] == item.item_id
    assert len(extended.catalog) == len(build.catalog)


def test_users_get_what_they_got(build: Artifact) -> None:
    extended = extend_artifact(build, [NEW, StoredItem("other", "Okapi", {})])
    before, after = Retriever(build), Retriever(extended)
    for user in build.user_ids[:10]:
        request = RetrievalRequest(user_id=user, count=10)
        one, other = before.retrieve(request), after.retrieve(request)
        assert [c.item.item_id for c in one.candidates] == [c.item.item_id for c in other.candidates]
        assert [c.score for c in one.candidates] == pytest.approx([c.score for c in other.candidates])
        items = [candidate.item for candidate in other.candidates]
        cited = after.evidence(other, [*items, extended.catalog.item(len(build.catalog))])
        assert cited["new"] == []
        assert {k: v for k, v in cited.items() if k != "new"} == before.evidence(one, items)
    assert after.similar("new", 3) is not None
    assert after.batch(build.user_ids[:3], 5)[0].max() < len(build.catalog)


def test_history_may_hold_new_items(build: Artifact) -> None:
    after = Retriever(extend_artifact(build, [NEW]))
    request = RetrievalRequest(user_id=build.user_ids[0], newer=[Interaction("new", "like", 1.0, 99)], count=5)
    retrieved = after.retrieve(request)
    assert not retrieved.warnings
    assert "new" not in [candidate.item.item_id for candidate in retrieved.candidates]


def test_only_new_texts_are_embedded(build: Artifact) -> None:
    letters = Letters()
    extended = extend_artifact(build, [NEW], letters)
    assert letters.embedded == ["Zebra crossing; Zoology"]
    assert extended.embeddings is not None
    wish = Wish(text="zzebra zoo crossing", words="")
    retrieved = Retriever(extended, letters).retrieve(RetrievalRequest(wish=wish, count=5))
    assert "new" in [candidate.item.item_id for candidate in retrieved.candidates]
    letters.fails = True
    failed = extend_artifact(build, [NEW], letters)
    assert failed.embeddings is not None
    assert not failed.embeddings.vectors[-1].any()
    assert np.allclose(failed.embeddings.vectors[:-1].astype(float), np.asarray(build.embeddings.vectors, float))  # type: ignore[union-attr]


def test_nothing_new_changes_nothing(build: Artifact) -> None:
    assert extend_artifact(build, []) is build
    withdrawn = StoredItem("i1", None, withdrawn=True)
    assert extend_artifact(build, [withdrawn]) is build
    assert isinstance(build.catalog.table, pl.DataFrame)


def test_a_build_that_was_fitted_with_the_items_is_left_as_it_is(build: Artifact, tmp_path: Path) -> None:
    item = build.catalog.item(2)
    same = StoredItem(
        item.item_id, item.title, {name: list(v) if isinstance(v, tuple) else v for name, v in item.attributes.items()}
    )
    assert extend_artifact(build, [same]) is build
