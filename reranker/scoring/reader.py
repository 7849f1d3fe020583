"""Entry point for all ways of reading."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import ValidationError

from prompts import PromptLibrary, PromptTemplate, Scoring, TemplateError
from reranker.client.engine import Engine
from reranker.errors import LLMRefused
from reranker.scoring.calibration import Calibration
from reranker.scoring.inputs import RankInputs
from reranker.scoring.likelihood import LikelihoodScorer
from reranker.scoring.listwise import ListwiseScorer
from reranker.scoring.permutation import PermutationScorer
from reranker.scoring.pointwise import PointwiseScorer
from reranker.scoring.prompts import Scorer
from reranker.scoring.read import Read
from reranker.scoring.stability import LEAST_CANDIDATES, MEASURED_ONLY, StabilityReport, measure_stability
from reranker.scoring.store import Memory, key
from retrieval import Notice

FALLBACK = "rank"
"""Template family that replaces a refused template."""
_OWN_ROUNDS = 4
"""Number of times a request's own candidates are read in two orders when no measurement is stored."""


class Reader:
    """Reads candidates in the way that a template names (``scoring`` in its front matter), if it works for the model.

    Whether it works is measured once per model and template (:meth:`prepare`, or the first request) and stored. If it
    does not, likelihoods are read with the template of family ``rank``, and ``notices`` say so.

    Args:
        engine: client of the LLM server.
        history_limit: maximum number of history entries in a prompt.
        calibration: corrections of label reads.
        memory: stores priors and measurements; by default they last as long as the process.
        library: holds the template of family ``rank``; by default the shipped library.
        refuse: whether to replace reads that do not work for the model, and written orders; False for measurements.
    """

    def __init__(
        self,
        engine: Engine,
        history_limit: int = 30,
        *,
        calibration: Calibration | None = None,
        memory: Memory | None = None,
        library: PromptLibrary | None = None,
        refuse: bool = True,
    ) -> None:
        self._engine = engine
        self._history_limit = history_limit
        self._memory = memory or Memory()
        self._library = library or PromptLibrary()
        self._refuse = refuse
        self._measuring = asyncio.Lock()
        calibration = calibration or Calibration()
        self._scorers: dict[Scoring, Scorer] = {
            "likelihood": LikelihoodScorer(engine, history_limit, self._memory),
            "listwise": ListwiseScorer(engine, history_limit, self._memory, calibration),
            "pointwise": PointwiseScorer(engine, history_limit),
        }
        if not refuse:
            self._scorers["permutation"] = PermutationScorer(engine, history_limit, calibration)

    async def read(self, template: PromptTemplate, shown: RankInputs, *, with_prior: bool = False) -> Read:
        """Score every candidate.

        Args:
            template: a rank template.
            shown: inputs with at least one candidate; the oldest history entries are left out if the prompt does not
                fit the context.
            with_prior: read likelihoods without the history as well; other scorings have no prior.

        Raises:
            LLMError: If the server fails, or its answer is invalid.
            BudgetError: If the prompt does not fit even without a history.
            TemplateError: If the template does not render, or is not a rank template.
        """
        scoring = template.meta.scoring
        if scoring is None:
            raise TemplateError(
                f"template {template.reference} has no scoring",
                field="scoring",
                code="template_invalid",
            )
        objection, stability = None, None
        if scoring not in self._scorers:
            objection = MEASURED_ONLY
        elif self._refuse and scoring in ("listwise", "pointwise"):
            objection, stability = await self._objection(template, shown)
        if objection is None:
            read = await self._scorers[scoring].read(template, shown, with_prior=with_prior)
            return replace(read, order_stability=stability)
        # Always a likelihood template: the library lets no other be promoted in this family.
        instead = self._library.find(FALLBACK, template.meta.locale)
        read = await self._scorers["likelihood"].read(instead, shown, with_prior=with_prior)
        message = f"{instead.reference} was read by likelihood instead of {template.reference}: {objection}"
        return replace(read, notices=(*read.notices, Notice("label_read_refused", message)), instead=instead)

    async def prepare(
        self, template: PromptTemplate, samples: Sequence[RankInputs], rng: np.random.Generator | None = None
    ) -> StabilityReport:
        """Measure whether the model can be read with this template, and store the report.

        Raises:
            LLMError: If the server fails.
            InputError: If no sample has enough candidates.
        """
        report = await measure_stability(
            self._engine, template, samples, rng or np.random.default_rng(0), history_limit=self._history_limit
        )
        await self._memory.keep({await self._slot(template): report.model_dump_json()}, replace=True)
        return report

    async def report(self, template: PromptTemplate) -> StabilityReport | None:
        """Return the stored report for the served model and this template; None if there is none."""
        slot = await self._slot(template)
        kept = await self._memory.get([slot])
        try:
            return StabilityReport.model_validate_json(kept[slot]) if kept else None
        except ValidationError:  # from another version, or damaged
            return None

    async def _slot(self, template: PromptTemplate) -> bytes:
        model = await self._engine.info()
        weights = await self._memory.model(model.name, model.root, await self._engine.fingerprint())
        return key("stability", weights, template.hash)

    async def _objection(self, template: PromptTemplate, shown: RankInputs) -> tuple[str | None, float | None]:
        """Return why the model must not be read with this template, or None; and its order stability, if known."""
        report = await self.report(template)
        if report is None and len(shown.candidates) < LEAST_CANDIDATES and template.meta.scoring == "listwise":
            return (
                f"it is not known whether the model reads positions; measuring takes {LEAST_CANDIDATES} candidates",
                None,
            )
        try:
            if report is None:
                async with self._measuring:
                    report = await self.report(template) or await self.prepare(template, [shown] * _OWN_ROUNDS)
        except LLMRefused as error:  # such as too few single-token letters
            return error.message, None
        return report.reason, report.order_stability
