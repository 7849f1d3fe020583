"""``/v1/prompts/NAME/...``: drafts, differences, the audit log, and going back."""

import difflib
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from api.http.dependencies import ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.problems import Refused, responses
from api.http.prompt_requests import aliased, check_version, editor_for, etag, found, missing_precondition, saved
from api.http.prompt_use import PromptScore, ReasonCounts
from api.http.routes.prompts import (
    CHANGES,
    Alias,
    AliasBody,
    Name,
    Note,
    PromptRequest,
    Who,
)
from api.http.security import allow_prompts, needs
from api.http.state import Service
from prompts import DRAFT, TemplateError, TemplateReference, draft_hash, read_source
from reranker import PromptChoice
from retrieval import InputError, NotFoundError

router = APIRouter(
    prefix="/v1/prompts/{name}",
    tags=["prompts"],
    responses=responses(404),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.prompts)],
)


class ChangeBody(BaseModel):
    """One entry of the audit log."""

    when: datetime
    who: str
    action: str
    alias: str | None
    before: int | None = Field(description="version that the alias named before")
    after: int | None = Field(description="version that was saved, or that the alias names since")
    note: str


class ChangePage(BaseModel):
    """The audit log of a template, latest first. Shipped templates have none."""

    changes: list[ChangeBody]


class DifferenceBody(BaseModel):
    """Difference between two versions, as a unified diff."""

    before: str
    after: str
    diff: str


class DraftBody(BaseModel):
    """A draft. Its ETag names this text."""

    source: str
    problem: str | None = Field(description="why it cannot be used yet")
    line: int | None
    column: int | None


class NewDraft(PromptRequest):
    """The text of a draft. It is stored as it is, faults included."""

    source: Annotated[str, Field(max_length=100_000)]
    who: Who = ""


class RollbackBody(PromptRequest):
    """Why an alias goes back."""

    note: Note = ""
    who: Who = ""


class VersionBody(BaseModel):
    """A saved version, and how it did."""

    version: int
    hash: str | None = Field(description="null if the version cannot be read")
    saved: datetime | None = Field(description="null for shipped versions")
    who: str | None
    note: str
    aliases: list[str]
    answers: int = Field(description="recommendations that used it since the service started")
    reasons: ReasonCounts | None = Field(description="of a reason template, since the service started")
    scores: list[PromptScore] = Field(description="finished comparisons, latest first, and the fit of the fusion")


class VersionPage(BaseModel):
    """All versions of a template, latest first."""

    versions: list[VersionBody]


@router.get("/changes")
def read_changes(name: Name, service: ServiceDep) -> ChangePage:
    """Read who changed what in a template, and why."""
    found(service, name)
    changes = [ChangeBody(**change.model_dump(exclude={"name"})) for change in service.library.changes(name)]
    return ChangePage(changes=changes[::-1])


@router.get("/versions")
def list_versions(name: Name, service: ServiceDep) -> VersionPage:
    """List the versions with their use and their scores."""
    summary = found(service, name)
    scores = service.prompt_use.scores(name)
    changes = {change.after: change for change in service.library.changes(name) if change.action == "save"}

    def version(number: int) -> VersionBody:
        try:
            template = service.library.get(TemplateReference(name, number))
        except TemplateError:
            template = None
        change = changes.get(number)
        return VersionBody(
            version=number,
            hash=template.hash if template else None,
            saved=change.when if change else None,
            who=change.who if change else None,
            note=change.note if change else "",
            aliases=[alias for alias, named in summary.aliases.items() if named == number],
            answers=service.prompt_use.answers(name, str(number)),
            reasons=service.prompt_use.reasons(name, str(number)),
            scores=[score for score in scores if template is not None and score.hash == template.hash],
        )

    return VersionPage(versions=[version(number) for number in summary.versions[::-1]])


@router.get("/diff", responses=responses(403))
def read_difference(
    name: Name,
    service: ServiceDep,
    request: Request,
    before: Annotated[str, Query(min_length=1, max_length=64, description="a version, an alias, or `draft`")],
    after: Annotated[str, Query(min_length=1, max_length=64, description="another one")] = "production",
) -> DifferenceBody:
    """Compare two versions of a template. Drafts, and versions without an alias, are for administrators."""
    found(service, name)
    texts = []
    for field, which in (("before", before), ("after", after)):
        try:
            reference = TemplateReference.parse(f"{name}@{which}")
        except TemplateError as error:
            raise InputError(error.message, field=field, remedy=error.remedy, code=error.code) from error
        allow_prompts(request, service, PromptChoice(rank=f"{name}@{which}"))
        source = _draft(service, name) if reference.is_draft else saved(service, reference).source
        texts.append(source.splitlines())
    lines = difflib.unified_diff(texts[0], texts[1], before, after, lineterm="")
    return DifferenceBody(before=before, after=after, diff="\n".join(lines))


@router.get("/draft", dependencies=[CHANGES], responses=responses(403))
def read_draft(name: Name, service: ServiceDep, response: Response) -> DraftBody:
    """Read the draft, with the ETag that changing it requires."""
    source = _draft(service, name)
    response.headers["etag"] = etag(draft_hash(source))
    return _draft_body(service, name, source)


@router.put("/draft", dependencies=[CHANGES], responses=responses(403, 409, 412, 428))
def write_draft(
    name: Name,
    body: NewDraft,
    service: ServiceDep,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(description="the draft's ETag, from reading it")] = None,
    if_none_match: Annotated[str | None, Header(description="`*` if there is no draft yet")] = None,
) -> DraftBody:
    """Write the draft. If somebody changed it since it was read, nothing is written (412)."""
    expected = _expected(if_match, if_none_match)
    editor_for(request, service, body.who).save_draft(name, body.source, expected=expected)
    response.headers["etag"] = etag(draft_hash(body.source))
    return _draft_body(service, name, body.source)


@router.delete("/draft", status_code=204, dependencies=[CHANGES], responses=responses(403, 409, 412, 428))
def discard_draft(
    name: Name,
    service: ServiceDep,
    request: Request,
    if_match: Annotated[str | None, Header(description="the draft's ETag, from reading it")] = None,
) -> None:
    """Delete the draft."""
    expected = _expected(if_match, None)
    editor_for(request, service, "").discard_draft(name, expected=expected or "")


@router.post("/aliases/{alias}/rollback", dependencies=[CHANGES], responses=responses(403, 409, 412, 428))
def roll_back(
    name: Name,
    alias: Alias,
    body: RollbackBody,
    service: ServiceDep,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(description="the alias's ETag, from reading it")] = None,
) -> AliasBody:
    """Move an alias back to the version that it named before the current one was first promoted. The next request uses
    it. Repeated calls go back further.
    """
    current = aliased(service, name, alias)
    check_version(current, if_match)
    _, version = editor_for(request, service, body.who).rollback(name, alias=alias, expected=current, note=body.note)
    response.headers["etag"] = etag(version)
    return AliasBody(name=name, alias=alias, version=version)


def _draft(service: Service, name: str) -> str:
    """Return the text of a draft.

    Raises:
        Refused: If there is none (404).
    """
    path = service.library.draft(name)
    if path is None:
        raise Refused(404, NotFoundError(f"'{name}' has no draft", field="name", code="unknown_template"))
    return read_source(path, told=f"{name}/{DRAFT}.jinja")


def _draft_body(service: Service, name: str, source: str) -> DraftBody:
    try:
        service.library.read(TemplateReference(name, DRAFT))
    except TemplateError as error:
        return DraftBody(source=source, problem=str(error), line=error.line, column=error.column)
    return DraftBody(source=source, problem=None, line=None, column=None)


def _expected(if_match: str | None, if_none_match: str | None) -> str | None:
    """Return the hash of the draft that a request replaces; None if it says that there is none.

    Raises:
        Refused: If the request does not say (428).
    """
    if if_match is not None:
        return if_match.strip().strip('"')
    if if_none_match is not None and if_none_match.strip() == "*":
        return None
    raise missing_precondition("draft")
