"""``whyrank demo``: explained recommendations for three users and a wish, without preparation."""

import os
import time
from typing import Annotated

import typer

from api.cli.data import tell_other_data
from api.cli.fit import fit_to
from api.cli.output import console, show, tell_findings
from api.cli.parameters import choose
from api.cli.recommend import ask
from api.cli.serve import serve
from api.cli.stored import with_store
from api.settings.model import Settings, load_settings
from reranker import RecommendationRequest
from retrieval import Artifact, ArtifactError, Retriever, current_build, load, open_embedder, readers

USERS = ("42", "300", "547")
WISH = "a thoughtful war drama from the seventies"


def demo(
    studio: Annotated[
        bool,
        typer.Option("--studio", help="Serve the studio on the same data and LLM instead."),
    ] = False,
) -> None:
    """Show explained recommendations for three users and a wish."""
    settings = load_settings()
    out = console()
    began = time.perf_counter()
    artifact = _load_or_fit(settings)
    tell_other_data(settings, artifact.manifest)
    if studio:
        _serve_studio(settings)
        return
    retriever = Retriever(artifact, open_embedder(settings.embeddings))
    manifest = retriever.manifest
    out.print(
        f"{manifest.dataset}: {manifest.users:,} users, {manifest.items:,} {manifest.noun}, "
        f"{manifest.interactions:,} interactions; ALS with {manifest.parameters.factors} factors",
        markup=False,
    )
    users = USERS if manifest.dataset == "movielens" else retriever.user_ids()[:3]
    requests = [RecommendationRequest(user_id=user, k=5, deadline_ms=settings.deadline_ms) for user in users]
    if manifest.dataset == "movielens":
        requests.append(RecommendationRequest(query=WISH, k=5, deadline_ms=settings.deadline_ms))
    answers = ask(retriever, settings, requests)
    for user, answer in zip(users, answers, strict=False):
        out.print()
        show(answer, heading=f"For user {user}, five out of {max(20, 5)} candidates")
    for answer in answers[len(users) :]:
        out.print()
        show(answer, heading=f"For the wish '{WISH}'")
    out.print()
    out.print(
        f"done in {time.perf_counter() - began:.0f} s; next: 'whyrank recommend 7 -k 5', 'whyrank serve'", markup=False
    )


def _serve_studio(settings: Settings) -> None:
    """Serve, with a folder for prompts beside the artifact unless the settings name one."""
    if settings.prompts_dir is None:
        os.environ["WHYRANK_PROMPTS_DIR"] = str(settings.artifact.parent / "prompts")
    console().print(f"The studio: http://{settings.host}:{settings.port}/ (Ctrl-C ends it)", markup=False)
    serve()


def _load_or_fit(settings: Settings) -> Artifact:
    """Load the artifact; fit one if there is none, or if another version of whyrank wrote it."""
    if current_build(settings.artifact) is not None:
        try:
            return load(settings.artifact)
        except ArtifactError as error:
            if error.code != "artifact_format":
                raise
            console().print(f"{error.message}: fitting a new one", markup=False)
    dataset, findings = readers.read(settings.data)
    tell_findings(findings)
    dataset, mark = with_store(dataset, settings)
    parameters, found = choose(dataset, {}, mark=mark)
    embedder = open_embedder(settings.embeddings)
    fit_to(settings.artifact, dataset, settings.data, parameters, search=found, store=mark, embedder=embedder)
    return load(settings.artifact)
