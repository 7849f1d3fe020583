"""SASRec (Kang and McAuley 2018) with a softmax over the whole catalog, as a baseline.

With this loss in place of sampled negatives it is among the strongest sequential models (Klenitskiy and Vasilev 2023).
"""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retrieval import EncodedDataset

_LENGTH = 100
"""Latest items of a history that are read."""
_POSITIONS = 32
"""Positions of a sequence whose next item is predicted in one step; bounds the size of the softmax."""
_DIMENSIONS, _LAYERS, _HEADS, _DROPOUT = 64, 2, 2, 0.3
_BATCH, _RATE, _DECAY = 32, 1e-3, 1e-4
_MOST_EPOCHS, _PATIENCE = 100, 8
_LEAST_HELD_OUT = 20
"""Users whose last item decides when training ends; with fewer it ends after :data:`_FEW_EPOCHS`."""
_FEW_EPOCHS = 30


class SasRec(nn.Module):
    """Predicts the next item of a sequence.

    Args:
        items: number of items; 0 stands for padding, so that items are counted from 1.
    """

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, _DIMENSIONS, padding_idx=0)
        self.places = nn.Embedding(_LENGTH, _DIMENSIONS)
        layer = nn.TransformerEncoderLayer(
            _DIMENSIONS, _HEADS, 2 * _DIMENSIONS, _DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_DIMENSIONS), enable_nested_tensor=False)
        self.dropout = nn.Dropout(_DROPOUT)
        for weights in (self.items, self.places):
            nn.init.normal_(weights.weight, std=0.02)

    def forward(self, sequences: Tensor) -> Tensor:
        """States after each item, shape (sequences, places, dimensions); sequences are padded on the left."""
        length = sequences.shape[1]
        states = self.items(sequences) * math.sqrt(_DIMENSIONS) + self.places.weight[-length:]
        causal = torch.ones(length, length, dtype=torch.bool).triu(1)
        # A padded place may look at itself, since a row without any place would give no number.
        padded = (sequences == 0)[:, None, :] & ~torch.eye(length, dtype=torch.bool)
        mask = (causal | padded).repeat_interleave(_HEADS, dim=0)
        found: Tensor = self.layers(self.dropout(states), mask=mask)
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Scores of all items, shape (..., items + 1)."""
        return states @ self.items.weight.T


@dataclass(frozen=True)
class SequentialScores:
    """A fitted model and the sequences of all users."""

    model: SasRec
    sequences: Sequence[NDArray[np.int64]]

    def __call__(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of all items after the users' histories, shape (users, items)."""
        self.model.eval()
        with torch.no_grad():
            batch = _padded([self.sequences[user][-_LENGTH:] for user in users.tolist()])
            scores: NDArray[np.float32] = self.model.logits(self.model(batch)[:, -1])[:, 1:].numpy()
        return scores


def fit_sasrec(known: EncodedDataset, *, seed: int = 0) -> SequentialScores:
    """Fit on the positively meant items of each user in order; the users' last items decide when training ends."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sequences = _sequences(known)
    inner = [one[:-1] for one in sequences]
    judged = [user for user, one in enumerate(sequences) if len(one) > 2]
    if len(judged) < _LEAST_HELD_OUT:
        model = SasRec(len(known.item_ids))
        _train(model, sequences, _FEW_EPOCHS, rng)
        return SequentialScores(model, sequences)
    model = SasRec(len(known.item_ids))
    wanted = torch.tensor([sequences[user][-1] for user in judged])
    best, epochs, state = math.inf, 0, deepcopy(model.state_dict())
    for epoch, _ in enumerate(_epochs(model, inner, rng), start=1):
        loss = _held_out_loss(SequentialScores(model, inner), judged, wanted)
        if loss < best:
            best, epochs, state = loss, epoch, deepcopy(model.state_dict())
        if epoch - epochs >= _PATIENCE or epoch == _MOST_EPOCHS:
            break
    model.load_state_dict(state)
    _train(model, sequences, max(epochs // 10, 1), rng)  # what was held out is learned at the end
    return SequentialScores(model, sequences)


def _held_out_loss(scores: SequentialScores, judged: Sequence[int], wanted: Tensor) -> float:
    total = 0.0
    for start in range(0, len(judged), 256):
        some = np.array(judged[start : start + 256])
        logits = torch.from_numpy(scores(some))
        total += float(nn.functional.cross_entropy(logits, wanted[start : start + 256] - 1, reduction="sum"))
    return total / len(judged)


def _train(model: SasRec, sequences: Sequence[NDArray[np.int64]], epochs: int, rng: np.random.Generator) -> None:
    for _, _ in zip(range(epochs), _epochs(model, sequences, rng), strict=False):
        pass


def _epochs(model: SasRec, sequences: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> Iterator[None]:
    """Train for ever; yield after each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    useful = np.array([user for user, one in enumerate(sequences) if len(one) > 1], dtype=np.int64)
    while True:
        model.train()
        order = rng.permutation(useful)
        for start in range(0, len(order), _BATCH):
            batch = _padded([_window(sequences[user], rng) for user in order[start : start + _BATCH].tolist()])
            states, following = model(batch[:, :-1]), batch[:, 1:]
            rows, places = torch.nonzero(following * batch[:, :-1], as_tuple=True)
            most = _POSITIONS * len(batch)
            if len(rows) > most:
                kept = torch.from_numpy(rng.permutation(len(rows))[:most])
                rows, places = rows[kept], places[kept]
            loss = nn.functional.cross_entropy(model.logits(states[rows, places]), following[rows, places])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        yield


def _window(sequence: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random part of a long sequence, so that earlier items are learned as well."""
    spare = len(sequence) - (_LENGTH + 1)
    start = int(rng.integers(0, spare + 1)) if spare > 0 else 0
    return sequence[start : start + _LENGTH + 1]


def _padded(sequences: Sequence[NDArray[np.int64]]) -> Tensor:
    """Sequences of the same length, padded on the left."""
    longest = max(2, *(min(len(one), _LENGTH + 1) for one in sequences))
    table = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, one in zip(table, sequences, strict=True):
        last = one[-longest:]
        row[longest - len(last) :] = last
    return torch.from_numpy(table)


def _sequences(known: EncodedDataset) -> list[NDArray[np.int64]]:
    """Items of each user with positive confidence, in the order of their last event, counted from 1."""
    found = []
    for user in range(len(known.user_ids)):
        log = known.log.of(user)
        liked = set(known.user_items[user].indices[known.user_items[user].data > 0].tolist())
        latest = {item: None for item in reversed(log.items.tolist()) if item in liked}
        found.append(np.array([item + 1 for item in reversed(latest)], dtype=np.int64))
    return found
