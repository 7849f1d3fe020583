"""Whether the LLM ranks a request, and why."""

from enum import StrEnum

from reranker.client.engine import EngineState
from reranker.fusion import Gain
from reranker.settings import LlmSettings

_ROOM = 0.5


class LlmWhy(StrEnum):
    """Why the LLM was asked to rank, or was not."""

    always = "always"
    """Asked: the settings say so."""
    no_fit = "no_fit"
    """Asked: no weights were fitted on these data, so that its gain is not known."""
    helps = "helps"
    """Asked: the whole interval of the gain that was measured for such requests is above zero."""
    may_help = "may_help"
    """Asked: the mean gain is above zero, and there was room."""
    new_items = "new_items"
    """Asked, about the new items alone."""
    busy = "busy"
    """Not asked: only the mean gain is above zero, and there was no room."""
    harms = "harms"
    """Not asked: the mean gain is not above zero."""
    off = "off"
    """Not asked: there is no LLM, or the settings say so."""
    wish = "wish"
    """Not asked: the rank prompt does not show the wish, or its gain for wishes was not measured."""
    no_history = "no_history"
    """Not asked: there is no history to read."""


ASKED = frozenset({LlmWhy.always, LlmWhy.no_fit, LlmWhy.helps, LlmWhy.may_help})


def has_room(state: EngineState, most: int) -> bool:
    """Return whether there is room for reads that may help: nothing waits, and at most half of ``most`` requests are in
    flight.
    """
    return state.waiting == 0 and state.in_flight < most * _ROOM


def choose_llm(settings: LlmSettings, gain: Gain | None, *, room: bool) -> LlmWhy:
    """Decide whether the LLM ranks, from the gain that was measured for such requests.

    Args:
        gain: None if it was not measured on the data that are served.
        room: whether the LLM has room; see :func:`has_room`.
    """
    if settings.rank == "never" or settings.weight <= 0:
        return LlmWhy.off
    if settings.rank == "always":
        return LlmWhy.always
    if gain is None:
        return LlmWhy.no_fit
    if gain.low > 0:
        return LlmWhy.helps
    if gain.mean <= 0:
        return LlmWhy.harms
    return LlmWhy.may_help if room else LlmWhy.busy
