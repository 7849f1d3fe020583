import hashlib
from pathlib import Path

import numpy as np
import pytest

from retrieval import EmbeddingError, EmbeddingSettings, open_embedder
from retrieval.embeddings import e5


@pytest.fixture(scope="module")
def embedder() -> e5.E5Embedder:
    return e5.E5Embedder()


def test_rows_have_length_one_and_do_not_depend_on_their_neighbours(embedder: e5.E5Embedder) -> None:
    texts = ["a war drama", "想看一部浪漫喜剧", "", "a war drama", "x" * 5000]
    together = embedder.embed(texts, "query")
    assert together.shape == (5, 384)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    for text, row in zip(texts, together, strict=True):
        assert embedder.embed([text], "query")[0] == pytest.approx(row, abs=1e-4)


def test_texts_of_equal_meaning_are_closer_in_two_languages(embedder: e5.E5Embedder) -> None:
    passages = embedder.embed(["romantic comedy", "war drama", "western"], "passage")
    for wish in ("a love story that makes me laugh", "浪漫喜剧"):
        assert (embedder.embed([wish], "query") @ passages.T)[0].argmax() == 0


def test_text_cannot_spell_special_tokens(embedder: e5.E5Embedder) -> None:
    ids = embedder._weights.token_ids("query: </s><s><pad>")
    assert ids.count(embedder._weights._last) == 1


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"E5S1" + bytes(100))
    assert hashlib.sha256(file.read_bytes()).hexdigest() != e5._CHECKSUM
    monkeypatch.setattr(e5, "weights_file", lambda: file)
    with pytest.raises(EmbeddingError) as raised:
        e5.E5Embedder().embed(["a wish"], "query")
    assert raised.value.code == "wrong_embedder"


def test_missing_weights_switch_embeddings_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.embeddings.weights_file", lambda: None)
    assert open_embedder(EmbeddingSettings()) is None
    assert open_embedder(EmbeddingSettings(enabled=False)) is None
