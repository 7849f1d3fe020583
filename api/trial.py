"""A draft on real users beside the production version: the whole pipeline, once with each."""

import asyncio
import dataclasses
from pathlib import Path

from prompts import PromptLibrary, PromptTemplate, TemplateReference, check, user_sample
from prompts.names import DRAFT
from reranker import Answer, PromptChoice, RecommendationRequest, Recommender
from retrieval import InputError, Retriever

TRIAL = "trial"
"""What a draft that was sent is called; its reference ``trial@draft`` is that of no saved template."""


class TrialLibrary(PromptLibrary):
    """A library with one more template, which nobody has saved."""

    def __init__(self, own: Path | None, template: PromptTemplate) -> None:
        super().__init__(own)
        self._template = template

    def get(self, reference: str | TemplateReference) -> PromptTemplate:
        """As the library's; and the draft."""
        return self._template if str(reference) == self._template.reference else super().get(reference)


def template_of(source: str) -> PromptTemplate:
    """A template that was sent.

    Raises:
        TemplateError: it cannot be one.
    """
    return PromptTemplate(source, name=TRIAL, version=DRAFT)


async def passed(template: PromptTemplate, retriever: Retriever, user_ids: list[str]) -> None:
    """Returns if a template passes what a saved one has passed, with these users besides the fixed examples.

    Raises:
        InputError: a user is unknown.
        TemplateError: it does not pass.
    """
    known = retriever.user_ids()
    for user_id in user_ids:
        if user_id not in known:
            raise InputError(f"there is no user '{user_id[:80]}'", field="user_ids", code="unknown_user")
    samples = [user_sample(retriever, user_id, locale=template.meta.locale) for user_id in user_ids]
    await asyncio.to_thread(check, template, samples)  # renders in processes of their own, a second in all


async def side_by_side(
    template: PromptTemplate, draft: Recommender, production: Recommender, request: RecommendationRequest
) -> tuple[Answer, Answer]:
    """One request's answer with the template, and with what production answers it now."""
    choice = PromptChoice(**{template.meta.task: template.reference})
    return (
        await draft.recommend(dataclasses.replace(request, prompts=choice)),
        await production.recommend(request),
    )
