"""A draft on real users beside the production version: the whole pipeline, once with each."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from prompts import DRAFT, PromptLibrary, PromptTemplate, TemplateReference, check_template, user_sample
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


async def passed(template: PromptTemplate, retriever: Retriever, user_ids: Sequence[str]) -> None:
    """Returns if a template passes what a saved one has passed, with these users besides the fixed examples.

    Raises:
        InputError: a user is unknown.
        TemplateError: it does not pass.
    """

    def check_all() -> None:
        for user_id in user_ids:
            if not retriever.has_user(user_id):
                raise InputError(f"there is no user '{user_id[:80]}'", field="user_ids", code="unknown_user")
        check_template(template, [user_sample(retriever, user_id, locale=template.meta.locale) for user_id in user_ids])

    await asyncio.to_thread(check_all)  # renders in processes of their own, a second in all


class TriedUser(BaseModel):
    """One user's answers."""

    user_id: str
    trial: Answer
    production: Answer


class TryAnswer(BaseModel):
    """Both answers for every user."""

    prompt: str
    hash: str
    users: list[TriedUser]


async def tried(
    template: PromptTemplate,
    trial: Recommender,
    production: Recommender,
    requests: Sequence[RecommendationRequest],
) -> TryAnswer:
    """Each request's answer with the template, and with what production answers it now; each is for a user. One after
    the other: a trial must not crowd out the service's own requests.
    """
    choice = PromptChoice(**{template.meta.task: template.reference})
    users = [
        TriedUser(
            user_id=request.user_id or "",
            trial=await trial.recommend(dataclasses.replace(request, prompts=choice)),
            production=await production.recommend(request),
        )
        for request in requests
    ]
    return TryAnswer(prompt=template.reference, hash=template.hash, users=users)
