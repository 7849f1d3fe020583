"""``whyrank recommend``: one user's recommendations on the screen."""

import asyncio
import json as json_module
from typing import Annotated

import typer

from api.cli.output import error_console, show, status
from api.settings import load_settings
from prompts import PromptLibrary
from reranker import (
    Answer,
    Engine,
    EngineSettings,
    LlmSettings,
    RecommendationRequest,
    Recommender,
    find,
    find_or_start,
)
from retrieval import Filter, InputError, Retriever, load


def recommend(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="A user id of the fitted data.")] = None,
    query: Annotated[str | None, typer.Option(help="A wish in words, with or without a user.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help='Such as {"genres": "Drama", "year": {"gte": 1990}}.')
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many items; 10 by default.")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="How many ALS candidates the LLM reranks; 20 or k by default.")
    ] = None,
    reasons: Annotated[bool, typer.Option(help="Write a reason for each item.")] = True,
    llm: Annotated[bool, typer.Option(help="Rerank with the LLM; without, ALS order.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, as the HTTP API gives it.")] = False,
) -> None:
    """Recommend items to a user, with reasons."""
    settings = load_settings()
    wanted = _filter(filter_)
    retriever = Retriever(load(settings.artifact))
    request = RecommendationRequest(
        user_id=user,
        query=query,
        filter=wanted,
        k=k,
        candidate_count=candidates,
        reasons=reasons,
        deadline_ms=settings.deadline_ms,
    )
    library = PromptLibrary(settings.prompts_dir)
    answers = ask(retriever, settings.llm if llm else None, [request], settings=settings.llm, library=library)
    if json:
        typer.echo(answers[0].model_dump_json(indent=2))
    else:
        show(
            answers[0],
            heading=" and ".join(
                part
                for part in (f"For user {user}" if user else "", f"for the wish '{query}'" if query else "")
                if part
            ),
        )


def ask(
    retriever: Retriever,
    llm: LlmSettings | None,
    requests: list[RecommendationRequest],
    *,
    settings: LlmSettings,
    library: PromptLibrary,
) -> list[Answer]:
    """Answers requests with the LLM that the settings name, or one that is started for the call; ``llm`` None:
    without.
    """
    for request in requests:  # a wrong number is told now, not after waiting for an LLM
        request.checked_count(len(retriever.catalog))
    if llm is None:
        return asyncio.run(_answers(retriever, None, requests, settings, library))
    if find(llm) is None:
        error_console().print(
            "No LLM is running; one is started for this call ('whyrank llm' keeps one running).", markup=False
        )
    with status("looking for the LLM") as report, find_or_start(llm, report=report) as engine_settings:
        report("recommending")
        return asyncio.run(_answers(retriever, engine_settings, requests, settings, library))


def _filter(text: str | None) -> Filter:
    if text is None:
        return {}
    try:
        wanted = json_module.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", field="--filter", code="invalid_field") from error
    if not isinstance(wanted, dict):
        raise InputError("is not a JSON object", field="--filter", code="invalid_field")
    return wanted


async def _answers(
    retriever: Retriever,
    engine_settings: EngineSettings | None,
    requests: list[RecommendationRequest],
    settings: LlmSettings,
    library: PromptLibrary,
) -> list[Answer]:
    if engine_settings is None:
        recommender = Recommender(retriever, None, library, settings)
        return [await recommender.recommend(request) for request in requests]
    async with Engine(engine_settings) as engine:
        recommender = Recommender(retriever, engine, library, settings)
        return [await recommender.recommend(request) for request in requests]
