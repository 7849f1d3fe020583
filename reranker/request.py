"""What a caller may ask of the pipeline, and whether it can be answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prompts import PromptLibrary, PromptTemplate, TemplateError, TemplateReference
from retrieval import RATING, RATING_BEST, Diversify, Filter, InputError, Interaction

MOST_ITEMS = 100
MOST_CANDIDATES = 200
DEFAULT_CANDIDATES = 20
DEFAULT_K = 10
MOST_DEADLINE_MS = 600_000


Task = Literal["rank", "reason"]
TASKS: tuple[Task, ...] = ("rank", "reason")


@dataclass(frozen=True)
class PromptChoice:
    """References of templates: ``name`` (its production version), ``name@3`` or ``name@alias``; None leaves it to the
    locale.
    """

    rank: str | None = None
    reason: str | None = None

    def reference(self, task: Task) -> TemplateReference | None:
        """What is named for a task: what rights are checked for is what is resolved.

        Raises:
            InputError: it cannot be a reference.
        """
        named = self.rank if task == "rank" else self.reason
        try:
            return None if named is None else TemplateReference.parse(named)
        except TemplateError as error:
            raise InputError(error.message, field=f"prompts.{task}", remedy=error.remedy, code=error.code) from error

    def template(self, task: Task, library: PromptLibrary, locale: str) -> PromptTemplate:
        """The template of a task: the one that is named, or the family's for the locale.

        Raises:
            InputError: there is no template of that name, version or alias, it cannot be read, or it is for the other
                task.
        """
        reference = self.reference(task)
        if reference is None:
            return library.find(task, locale)
        try:
            template = library.get(reference)
        except TemplateError as error:
            # What is wrong with a file is for whoever keeps the library, with its path; not for callers.
            told = error.message if error.code == "unknown_template" else f"'{reference}' cannot be used"
            remedy = error.remedy if error.code == "unknown_template" else "Name another version"
            raise InputError(told, field=f"prompts.{task}", remedy=remedy, code=error.code) from error
        if template.meta.task != task:
            raise InputError(
                f"'{template.reference}' is a {template.meta.task} template",
                field=f"prompts.{task}",
                remedy=f"Name a {task} template, such as '{task}'",
                code="wrong_task",
            )
        return template


@dataclass(frozen=True)
class RecommendationRequest:
    """What to recommend, and for whom. See the HTTP reference for each field.

    Args:
        evidence: what reasons rest on: the history items that carry the retrieval score, or those without which the
            LLM's score falls most (some more reads; where the LLM does not tell, the former).
        taste: whether to say what the history tells of the user.
        prompts: which templates; where it names none, the locale chooses within the family.
        diversify: True keeps items of near-equal titles apart, the name of an attribute also items that share its
            value; False does neither.
        deadline_ms: when the answer must be there; stages that would be late are replaced by their fallbacks.
        began: when the deadline began to run, on the clock of ``time.perf_counter``; None: when it is asked.
    """

    user_id: str | None = None
    history: Sequence[Interaction] | None = None
    profile: Mapping[str, str] = field(default_factory=dict)
    query: str | None = None
    candidate_ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] = ()
    filter: Filter = field(default_factory=dict)
    k: int | None = None
    candidate_count: int | None = None
    prompts: PromptChoice = PromptChoice()
    locale: str = "en"
    reasons: bool = True
    evidence: Literal["als", "llm"] = "als"
    taste: bool = False
    diversify: Diversify = True
    deadline_ms: int = 30_000
    began: float | None = None

    def checked_count(self, catalog: int) -> int:
        """How many candidates to search for in a catalog of this size, after checking every number of the request.

        Raises:
            InputError: a field is missing, out of range or in conflict with another.
        """
        if all(given is None for given in (self.user_id, self.history, self.query, self.candidate_ids)):
            raise InputError(
                "nothing says whom or what to recommend for",
                field="user_id",
                remedy="Give user_id, history, query or candidate_ids",
                code="missing",
            )
        if self.candidate_ids is not None and self.candidate_count is not None:
            raise InputError(
                "cannot stand beside candidate_ids",
                field="candidate_count",
                remedy="Give one of the two",
                code="conflict",
            )
        self._check_ratings()
        most = min(MOST_CANDIDATES, catalog)
        in_range("k", 1 if self.k is None else self.k, min(MOST_ITEMS, catalog))
        in_range("deadline_ms", self.deadline_ms, MOST_DEADLINE_MS)
        if self.candidate_ids is not None:
            if len(self.candidate_ids) > MOST_CANDIDATES:
                raise InputError(f"names more than {MOST_CANDIDATES} items", field="candidate_ids", code="out_of_range")
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
        for place, one in enumerate(self.history or ()):
            if one.event == RATING and not 0 <= one.weight <= RATING_BEST:
                raise InputError(
                    f"must be from 0 to {RATING_BEST:g} stars for a rating, not {one.weight:g}",
                    field=f"history.{place}.weight",
                    remedy="Rescale it; the weight of other events is a count",
                    code="out_of_range",
                )


def in_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InputError(f"must be from 1 to {most}, not {value}", field=name, code="out_of_range")
