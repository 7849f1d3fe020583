"""Whether a search for parameters saw what ``eval`` judges on."""

from eval.protocol import Part, Protocol, fold
from retrieval import HELD_BACK, Dataset, Search

_INSIDE_LATEST = frozenset({Protocol.per_user_temporal, Protocol.leave_one_out})
"""Protocols whose test part lies inside each user's latest 20 % of interactions."""


def parameters_saw_test(search: Search, protocol: Protocol) -> bool:
    """Whether the search looked at interactions of the protocol's test part."""
    return not (search.held_back == HELD_BACK and protocol in _INSIDE_LATEST)


def training_part(dataset: Dataset, protocol: Protocol) -> Dataset:
    """Everything before the test part of the protocol.

    Raises:
        InputError: the data cannot be split so.
    """
    return fold(dataset, protocol, Part.test).train
