"""Compare a draft with the production version on real users, over the whole pipeline."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from prompts import DRAFT, PromptLibrary, PromptTemplate, TemplateReference, check_template, user_sample
from reranker import Answer, PromptChoice, RecommendationRequest, Recommender
from retrieval import InputError, Retriever

TRIAL = "trial"
"""Name of a template that was sent. No saved template has the reference ``trial@draft``."""


class TrialLibrary(PromptLibrary):
    """A library with one additional, unsaved template."""

    def __init__(self, own: Path | None, template: PromptTemplate) -> None:
        super().__init__(own)
        self._template = template

    def get(self, reference: str | TemplateReference) -> PromptTemplate:
        """Get a template, which may be the unsaved one."""
        return self._template if str(reference) == self._template.reference else super().get(reference)


def template_of(source: str) -> PromptTemplate:
    """Parse the source of a template.

    Raises:
        TemplateError: If it is invalid.
    """
    return PromptTemplate(source, name=TRIAL, version=DRAFT)


async def passed(template: PromptTemplate, retriever: Retriever, user_ids: Sequence[str]) -> None:
    """Run the checks for saving a template, on these users and the fixed examples.

    Raises:
        InputError: If a user is unknown.
        TemplateError: If a check fails.
    """

    def check_all() -> None:
        for number, user_id in enumerate(user_ids, start=1):
            if not retriever.has_user(user_id):
                raise InputError(f"user {number} of the list does not exist", field="user_ids", code="unknown_user")
        check_template(template, [user_sample(retriever, user_id, locale=template.meta.locale) for user_id in user_ids])

    await asyncio.to_thread(check_all)  # renders in subprocesses, which takes about a second


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
    """Answer each user's request with the template and with production. Requests run one at a time, so that a trial
    does not crowd out the service's own requests.
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
