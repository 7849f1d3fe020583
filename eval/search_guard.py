"""Whether a search for parameters saw what ``eval`` judges on."""

from eval.protocol import HoldoutProtocol, Part, make_fold
from retrieval import HELD_BACK, Dataset, Search

_INSIDE_LATEST = frozenset({HoldoutProtocol.per_user_temporal, HoldoutProtocol.leave_one_out})
"""Protocols whose test part lies inside each user's latest 20 % of interactions."""


def parameters_saw_test(search: Search, protocol: HoldoutProtocol) -> bool:
    """Whether the search looked at interactions of the protocol's test part."""
    return not (search.held_back == HELD_BACK and protocol in _INSIDE_LATEST)


def training_part(dataset: Dataset, protocol: HoldoutProtocol) -> Dataset:
    """Everything before the test part of the protocol.

    Raises:
        InputError: the data cannot be split so.
    """
    return make_fold(dataset, protocol, Part.test).train
