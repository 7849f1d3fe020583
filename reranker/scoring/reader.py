"""One way in for every way of reading."""

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
"""The family of templates that is read where another must not be."""
_OWN_ROUNDS = 4
"""How often a request's own candidates are read in two orders where nobody has measured before."""


class Reader:
    """Reads candidates the way that a template says (``scoring`` in its front matter), if the model can be read so.

    Whether it can is measured once for a model and a template (:meth:`prepare`, or the first request that needs it) and
    remembered. Where it cannot, likelihoods are read with the template of family ``rank``, and ``notices`` says so.

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
        calibration: how label reads are corrected.
        memory: where priors and measurements are kept; without, as long as the process runs.
        library: where the template of family ``rank`` is found; without, among the shipped.
        refuse: whether a model that reads positions is kept from being read so; False for whoever measures it.
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
        """A score for every candidate.

        Args:
            template: a rank template.
            shown: at least one candidate; the oldest blocks of the history are left out where they do not fit the
                model's context.
            with_prior: read likelihoods without the history, too; other ways of reading have no such prior.

        Raises:
            LLMError: the server failed, or answered what cannot be.
            BudgetError: the prompt does not fit even without a history.
            TemplateError: the template does not render, or ranks nothing.
        """
        scoring = template.meta.scoring
        if scoring is None:
            raise TemplateError(
                f"template {template.reference} ranks nothing that can be read",
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
        # A likelihood template whatever the team promotes: the library lets no other serve under this name.
        instead = self._library.find(FALLBACK, template.meta.locale)
        read = await self._scorers["likelihood"].read(instead, shown, with_prior=with_prior)
        message = f"{template.reference} was not read but {instead.reference}, by likelihood: {objection}"
        return replace(read, notices=(*read.notices, Notice("label_read_refused", message)), instead=instead)

    async def prepare(
        self, template: PromptTemplate, samples: Sequence[RankInputs], rng: np.random.Generator | None = None
    ) -> StabilityReport:
        """Measures whether the model can be read with this template, and remembers what it found.

        Raises:
            LLMError: the server failed.
            InputError: no sample has enough candidates.
        """
        report = await measure_stability(
            self._engine, template, samples, rng or np.random.default_rng(0), history_limit=self._history_limit
        )
        await self._memory.keep({await self._slot(template): report.model_dump_json()}, replace=True)
        return report

    async def report(self, template: PromptTemplate) -> StabilityReport | None:
        """What was found for the served model and this template; None where nobody has measured."""
        slot = await self._slot(template)
        kept = await self._memory.get([slot])
        try:
            return StabilityReport.model_validate_json(kept[slot]) if kept else None
        except ValidationError:  # of another version, or damaged
            return None

    async def _slot(self, template: PromptTemplate) -> bytes:
        model = await self._engine.info()
        weights = await self._memory.model(model.name, model.root, await self._engine.fingerprint())
        return key("stability", weights, template.hash)

    async def _objection(self, template: PromptTemplate, shown: RankInputs) -> tuple[str | None, float | None]:
        """Why this model must not be read with this template, None if it may; and its order stability, where known."""
        report = await self.report(template)
        if report is None and len(shown.candidates) < LEAST_CANDIDATES and template.meta.scoring == "listwise":
            least = f"which takes {LEAST_CANDIDATES} candidates"
            return f"whether the model reads positions has not been measured, {least}", None
        try:
            if report is None:
                async with self._measuring:
                    report = await self.report(template) or await self.prepare(template, [shown] * _OWN_ROUNDS)
        except LLMRefused as error:  # such as no letters that are one token
            return error.message, None
        return report.reason, report.order_stability
