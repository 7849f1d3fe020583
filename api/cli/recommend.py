"""``whyrank recommend``: print a user's recommendations."""

import asyncio
import json as json_module
from contextlib import closing, nullcontext
from typing import Annotated

import typer

from api.cli.data import tell_other_data
from api.cli.output import error_console, show, status
from api.settings.model import Settings, load_settings
from prompts import PromptLibrary
from reranker import (
    Answer,
    Engine,
    EngineSettings,
    Memory,
    RecommendationRequest,
    Recommender,
    find_or_start_server,
    find_server,
    load_fit,
)
from retrieval import Filter, InputError, Retriever, load, open_embedder


def recommend(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="User id in the fitted data.")] = None,
    query: Annotated[str | None, typer.Option(help="Wish in words, with or without a user.")] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="JSON", help='Conditions, such as {"genres": "Drama", "year": {"gte": 1990}}.'
        ),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Number of items; 10 by default.")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Number of candidates the LLM reranks; 20 or k by default.")
    ] = None,
    reasons: Annotated[bool, typer.Option(help="Write a reason for each item.")] = True,
    diversify: Annotated[
        str | None,
        typer.Option(metavar="ATTRIBUTE", help="Keep items with the same value apart; 'no' turns diversity off."),
    ] = None,
    llm: Annotated[bool, typer.Option(help="Rerank with the LLM; --no-llm keeps retrieval's order.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the JSON answer of the HTTP API.")] = False,
) -> None:
    """Recommend items to a user, with reasons."""
    settings = load_settings()
    wanted = parse_filter(filter_)
    artifact = load(settings.artifact)
    tell_other_data(settings, artifact.manifest)
    retriever = Retriever(artifact, open_embedder(settings.embeddings))
    request = RecommendationRequest(
        user_id=user,
        query=query,
        filter=wanted,
        k=k,
        candidate_count=candidates,
        reasons=reasons,
        diversify=True if diversify is None else False if diversify == "no" else diversify,
        deadline_ms=settings.deadline_ms,
    )
    answers = ask(retriever, settings, [request], llm=llm)
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
    retriever: Retriever, settings: Settings, requests: list[RecommendationRequest], *, llm: bool = True
) -> list[Answer]:
    """Answer requests. Start an LLM for the call if none is running."""
    for request in requests:  # report a wrong number before waiting for an LLM
        request.checked_count(len(retriever.catalog))
    library, weights = PromptLibrary(settings.prompts_dir), load_fit(settings.artifact)

    async def answers(engine_settings: EngineSettings | None) -> list[Answer]:
        engine = Engine(engine_settings) if engine_settings else None
        async with engine or nullcontext():
            with closing(Memory(settings.llm.memory)) as memory:
                recommender = Recommender(retriever, engine, library, settings.llm, memory, weights)
                return [await recommender.recommend(request) for request in requests]

    if not llm:
        return asyncio.run(answers(None))
    if find_server(settings.llm) is None:
        error_console().print(
            "No LLM is running: starting one for this call ('whyrank llm' keeps one running).", markup=False
        )
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine_settings:
        report("recommending")
        return asyncio.run(answers(engine_settings))


def parse_filter(text: str | None) -> Filter:
    """Parse the option ``--filter``.

    Raises:
        InputError: If it is not a JSON object.
    """
    if text is None:
        return {}
    try:
        wanted = json_module.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", field="--filter", code="invalid_field") from error
    if not isinstance(wanted, dict):
        raise InputError("is not a JSON object", field="--filter", code="invalid_field")
    return wanted
