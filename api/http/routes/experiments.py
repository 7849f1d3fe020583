"""``/v1/experiments``: compare two rank prompts on held-out users, and read the report."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.http.comparisons import Comparison, ComparisonRequest
from api.http.dependencies import ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.problems import Refused, responses
from api.http.prompt_requests import template_for
from api.http.routes.prompts import CHANGES
from api.http.security import needs
from api.http.state import Service
from eval import AbReport
from retrieval import InputError, NotFoundError

router = APIRouter(
    prefix="/v1/experiments",
    tags=["experiments"],
    responses=responses(),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.prompts)],
)

_PAGE_POLICY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox",
    "x-frame-options": "SAMEORIGIN",
}
_HISTORIES = needs(KeyScope.read_users)
"""Reports quote the titles of histories."""
ExperimentId = Annotated[str, Path(max_length=40, description="id of a comparison")]


class ExperimentPage(BaseModel):
    """All comparisons, latest first."""

    experiments: list[Comparison]


@router.get("")
async def list_experiments(service: ServiceDep) -> ExperimentPage:
    """List the comparisons that were started here."""
    return ExperimentPage(experiments=await asyncio.to_thread(service.comparisons.all))


@router.post("", status_code=201, dependencies=[CHANGES], responses=responses(403, 409))
async def start_experiment(body: ComparisonRequest, service: ServiceDep) -> Comparison:
    """Start a comparison, as `whyrank ab` does. It runs in its own process and shares the LLM with the service's
    requests. One runs at a time.
    """
    if service.engine is None:
        raise Refused(
            409, InputError("the service runs without an LLM", remedy="Start it with one", code="missing_llm")
        )
    await asyncio.to_thread(_check_prompts, service, body)
    return await asyncio.to_thread(service.comparisons.start, body, service.engine.settings.url)


@router.get("/{experiment_id}", responses=responses(404))
async def read_experiment(experiment_id: ExperimentId, service: ServiceDep) -> Comparison:
    """Read the state of a comparison."""
    return await asyncio.to_thread(_known, service, experiment_id)


@router.get("/{experiment_id}/report", dependencies=[_HISTORIES], responses=responses(403, 404))
async def read_report(experiment_id: ExperimentId, service: ServiceDep) -> AbReport:
    """Read the report of a finished comparison."""
    await asyncio.to_thread(_known, service, experiment_id)
    report = await asyncio.to_thread(service.comparisons.report, experiment_id)
    if report is None:
        raise _not_done()
    return report


@router.get(
    "/{experiment_id}/page",
    response_class=FileResponse,
    dependencies=[_HISTORIES],
    responses=responses(403, 404),
)
async def read_report_page(experiment_id: ExperimentId, service: ServiceDep) -> Response:
    """Read the report as a page."""
    await asyncio.to_thread(_known, service, experiment_id)
    page = service.comparisons.page(experiment_id)
    if not await asyncio.to_thread(page.is_file):
        raise _not_done()
    return FileResponse(page, media_type="text/html", headers=_PAGE_POLICY)


@router.post("/{experiment_id}/stop", dependencies=[CHANGES], responses=responses(403, 404))
async def stop_experiment(experiment_id: ExperimentId, service: ServiceDep) -> Comparison:
    """Stop a comparison. Its answers are kept, so that the same comparison goes on where it was."""
    await asyncio.to_thread(_known, service, experiment_id)
    await asyncio.to_thread(service.comparisons.stop, experiment_id)
    return await asyncio.to_thread(_known, service, experiment_id)


def _check_prompts(service: Service, body: ComparisonRequest) -> None:
    """Check that both are rank prompts, before a process starts.

    Raises:
        InputError: If one is not.
    """
    for field, reference in (("baseline", body.baseline), ("candidate", body.candidate)):
        template_for(service, "rank", field, reference.partition(",")[0])
    if body.baseline == body.candidate:
        raise InputError(
            "is compared with itself", field="candidate", remedy="Name another version", code="same_prompt"
        )


def _known(service: Service, experiment_id: str) -> Comparison:
    try:
        return service.comparisons.read(experiment_id)
    except KeyError as error:
        message = NotFoundError("there is no such comparison", field="experiment_id", code="unknown_experiment")
        raise Refused(404, message) from error


def _not_done() -> Refused:
    message = NotFoundError("the comparison has no report yet", field="experiment_id", code="not_done")
    return Refused(404, message)
