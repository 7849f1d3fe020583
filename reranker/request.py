"""Requests to the pipeline, and their validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prompts import PromptLibrary, PromptTemplate, TemplateError, TemplateReference
from retrieval import RATING, RATING_BEST, Diversify, Filter, InputError, Interaction

MAX_ITEMS = 100
MAX_CANDIDATES = 200
DEFAULT_CANDIDATES = 20
DEFAULT_K = 10
DEFAULT_NEW_ITEMS = 0.1
WISH_FAMILY = "rank-wish"
"""Family of the rank templates that show a wish."""
MAX_DEADLINE_MS = 600_000


Task = Literal["rank", "reason"]
TASKS: tuple[Task, ...] = ("rank", "reason")


@dataclass(frozen=True)
class PromptChoice:
    """References of templates: ``name`` (its production version), ``name@3`` or ``name@alias``.

    None chooses by locale.
    """

    rank: str | None = None
    reason: str | None = None

    def reference(self, task: Task) -> TemplateReference | None:
        """Parse the reference for a task. Permissions are checked on the same reference that is resolved.

        Raises:
            InputError: If the reference is malformed.
        """
        named = self.rank if task == "rank" else self.reason
        try:
            return None if named is None else TemplateReference.parse(named)
        except TemplateError as error:
            raise InputError(error.message, field=f"prompts.{task}", remedy=error.remedy, code=error.code) from error

    def template(self, task: Task, library: PromptLibrary, locale: str) -> PromptTemplate:
        """Return the template for a task: the named one, or the task's own family in the locale's language.

        Raises:
            InputError: If the template does not exist, cannot be read, or is for another task.
        """
        reference = self.reference(task)
        if reference is None:
            return library.find(task, locale)
        try:
            template = library.get(reference)
        except TemplateError as error:
            # Other messages name paths and belong in the log, not in an answer.
            message = error.message if error.code == "unknown_template" else f"'{reference}' cannot be used"
            remedy = error.remedy if error.code == "unknown_template" else "Name another version"
            raise InputError(message, field=f"prompts.{task}", remedy=remedy, code=error.code) from error
        if template.meta.task != task:
            raise InputError(
                f"'{template.reference}' is a {template.meta.task} template",
                field=f"prompts.{task}",
                remedy=f"Name a {task} template, such as '{task}'",
                code="wrong_task",
            )
        return template


def wish_template(library: PromptLibrary, locale: str) -> PromptTemplate:
    """Return the rank template for requests with a wish: the production one if it shows the wish, else one of the
    family :data:`WISH_FAMILY`.
    """
    own = library.find("rank", locale)
    return own if "query" in own.meta.inputs else library.find(WISH_FAMILY, locale)


@dataclass(frozen=True)
class RecommendationRequest:
    """Whom to recommend for, and how. See the HTTP reference for each field.

    Args:
        evidence: how to choose the history items that support a reason. ``als``: those that contribute most to the
            retrieval score. ``llm``: those whose removal lowers the LLM's score most, at the cost of more reads; falls
            back to ``als``.
        newer: what the user did since the data were fitted, in addition to the stored history or ``history``.
        stored_history: whether to count the history of the fitted data; False for a user who was forgotten since.
        withdrawn: items that are no longer offered.
        understand: whether to read titles and conditions from the query; False searches its words as they are.
        taste: whether to describe the user's taste.
        prompts: references of templates; by default the locale chooses.
        diversify: True keeps items with near-equal titles apart; the name of an attribute also keeps items apart that
            share its value; False does neither.
        new_items: share of the list, from 0 to 1, that may be items which nobody has touched yet.
        deadline_ms: time limit; stages that would exceed it are replaced by their fallbacks.
        began: start of the time limit on the clock of ``time.perf_counter``; None for the call itself.
        request_id: identifies the request in the answer; None for a random id.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    newer: Sequence[Interaction] = ()
    stored_history: bool = True
    profile: Mapping[str, str] = field(default_factory=dict)
    query: str | None = None
    understand: bool = True
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    withdrawn: frozenset[str] = frozenset()
    filter: Filter = field(default_factory=dict)
    k: int | None = None
    candidate_count: int | None = None
    prompts: PromptChoice = PromptChoice()
    locale: str = "en"
    reasons: bool = True
    evidence: Literal["als", "llm"] = "als"
    taste: bool = False
    diversify: Diversify = True
    new_items: float = DEFAULT_NEW_ITEMS
    deadline_ms: int = 30_000
    began: float | None = None
    request_id: str | None = None

    @property
    def has_wish(self) -> bool:
        """Whether there is a wish in words to be understood."""
        return self.query is not None and self.understand

    def checked_count(self, catalog: int) -> int:
        """Validate the request's numbers and return how many candidates to retrieve.

        Args:
            catalog: number of items in the catalog.

        Raises:
            InputError: If a field is missing, out of range or in conflict with another.
        """
        if all(given is None for given in (self.user_id, self.history, self.query, self.candidate_ids)):
            raise InputError(
                "one of user_id, history, query and candidate_ids is required",
                field="user_id",
                remedy="Give user_id, history, query or candidate_ids",
                code="missing",
            )
        if self.candidate_ids is not None and self.candidate_count is not None:
            raise InputError(
                "cannot be combined with candidate_ids",
                field="candidate_count",
                remedy="Give one of the two",
                code="conflict",
            )
        self._check_ratings()
        most = min(MAX_CANDIDATES, catalog)
        in_range("k", 1 if self.k is None else self.k, min(MAX_ITEMS, catalog))
        in_range("deadline_ms", self.deadline_ms, MAX_DEADLINE_MS)
        if not 0 <= self.new_items <= 1:
            raise InputError(f"must be from 0 to 1, not {self.new_items}", field="new_items", code="out_of_range")
        if self.candidate_ids is not None:
            if len(self.candidate_ids) > MAX_CANDIDATES:
                raise InputError(f"names more than {MAX_CANDIDATES} items", field="candidate_ids", code="out_of_range")
            return 1
        if self.candidate_count is None:
            return min(max(DEFAULT_CANDIDATES, self.k or 0), most)
        in_range("candidate_count", self.candidate_count, most)
        if (self.k or 0) > self.candidate_count:
            raise InputError(
                f"is {self.k}, more than the {self.candidate_count} candidates",
                field="k",
                remedy="Raise candidate_count",
                code="out_of_range",
            )
        return self.candidate_count

    def _check_ratings(self) -> None:
        given = [("history", index, interaction) for index, interaction in enumerate(self.history or ())]
        given += [("newer", index, interaction) for index, interaction in enumerate(self.newer)]
        for name, index, interaction in given:
            if interaction.event == RATING and not 0 <= interaction.weight <= RATING_BEST:
                raise InputError(
                    f"must be from 0 to {RATING_BEST:g} stars for a rating, not {interaction.weight:g}",
                    field=f"{name}.{index}.weight",
                    remedy="Rescale the rating; the weight of other events is a count",
                    code="out_of_range",
                )


def in_range(name: str, value: int, most: int) -> None:
    """Check that a field is from 1 to ``most``.

    Raises:
        InputError: If it is not.
    """
    if not 1 <= value <= most:
        raise InputError(f"must be from 1 to {most}, not {value}", field=name, code="out_of_range")
