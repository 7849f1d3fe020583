"""One way in for every way of reading."""

from collections.abc import Mapping, Sequence

from prompts import HistoryInput, ItemInput, PromptTemplate, TemplateError
from reranker.engine import Engine
from reranker.scoring.likelihood import LikelihoodScorer
from reranker.scoring.read import Read


class Reader:
    """Reads candidates the way that a template says (``scoring`` in its front matter).

    Args:
        engine: the server to read from.
        history_limit: the most history entries that a prompt shows.
    """

    def __init__(self, engine: Engine, history_limit: int = 30) -> None:
        self._scorers = {"likelihood": LikelihoodScorer(engine, history_limit=history_limit)}

    async def read(
        self,
        template: PromptTemplate,
        inputs: Mapping[str, object],
        history: Sequence[HistoryInput],
        candidates: Sequence[ItemInput],
        *,
        with_prior: bool = False,
    ) -> Read:
        """A score for every candidate.

        Args:
            template: a rank template.
            inputs: what the template uses besides history and candidates.
            history: oldest first; the oldest blocks are left out where they do not fit the model's context.
            candidates: at least one, in retrieval's order; :class:`~prompts.CandidateInput` where the template shows
                its place.
            with_prior: read likelihoods without the history, too.

        Raises:
            LLMError: the server failed, or answered what cannot be.
            BudgetError: the prompt does not fit even without a history.
            TemplateError: the template does not render, or ranks nothing.
        """
        scorer = self._scorers.get(template.meta.scoring or "")
        if scorer is None:
            raise TemplateError(
                f"template {template.reference} ranks nothing that can be read",
                field="scoring",
                code="template_invalid",
            )
        return await scorer.read(template, inputs, history, candidates, with_prior=with_prior)
