"""``/v1/prompts``: read templates, try drafts, save versions, move aliases.

Only administrators, or keys with the scope ``prompts``, may change or try templates (see :mod:`api.http.security`).
"""

import asyncio
import contextlib
from typing import Annotated, Self

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http.dependencies import RecommenderDep, RetrieverDep, ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.models import Id
from api.http.preview import RenderedBody, preview
from api.http.problems import Refused, responses
from api.http.prompt_requests import (
    aliased,
    check_version,
    editor_for,
    etag,
    found,
    refuse_forgotten,
    sample_for,
    saved,
    summary_of,
)
from api.http.security import WithinTokenBudget, allow_prompts, check_scope, needs
from api.http.state import FAMILIES, Service
from api.prompt_summary import PromptSummary
from api.trial import TrialLibrary, TryAnswer, passed, template_of, tried
from prompts import (
    DEFAULT_ALIAS,
    DRAFT,
    KNOWN,
    PromptTemplate,
    TemplateError,
    TemplateReference,
)
from reranker import PromptChoice, RecommendationRequest

CHANGES = needs(KeyScope.prompts, administers=True)
"""Dependency of routes that change templates."""
router = APIRouter(
    prefix="/v1/prompts",
    tags=["prompts"],
    responses=responses(),
    route_class=JsonRoute,
    dependencies=[needs(KeyScope.prompts)],
)

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="a template", examples=["rank"])]
Alias = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="a movable name", examples=["production"])
]
Source = Annotated[str, Field(min_length=1, max_length=100_000, description="the whole file")]
Note = Annotated[str, Field(max_length=1000, description="what changed and why, for the audit log")]
Who = Annotated[
    str,
    Field(max_length=80, description="who changes it, for the audit log; where keys exist, the key's name is added"),
]


class PromptRequest(BaseModel):
    """A body that changes or tries templates."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ListedPrompt(PromptSummary):
    """A template, and what uses it."""

    serves: list[str] = Field(
        description="what uses it without being asked to: `recommendations`, `rerank`, `experiment NAME`; requests may "
        "name any template"
    )


class InputBody(BaseModel):
    """An input that templates may use."""

    name: str
    meaning: str
    example: str = Field(description="how a template shows it")


class PromptPage(BaseModel):
    """All templates, and what they may use."""

    prompts: list[ListedPrompt]
    inputs: list[InputBody]
    writable: bool = Field(description="whether there is a folder for changes (`prompts_dir`)")


class PromptBody(PromptSummary):
    """A template with the source of one version."""

    version: str
    hash: str
    source: str


class NewVersion(PromptRequest):
    """A template to save as the next version of its name."""

    source: Source
    note: Note = ""
    who: Who = ""


class Version(BaseModel):
    """A saved version."""

    name: str
    version: int
    hash: str
    production: bool = Field(description="whether it serves requests now; the first version of a name does")


class AliasTarget(PromptRequest):
    """The version that an alias should name."""

    version: int = Field(ge=1, le=1_000_000)
    note: Note = ""
    who: Who = ""


class AliasBody(BaseModel):
    """The version that an alias names. Its ETag is that number in quotation marks."""

    name: str
    alias: str
    version: int


class _OneOf(PromptRequest):
    prompt: str | None = Field(default=None, min_length=1, max_length=200, examples=["rank"])
    source: Source | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.prompt is None) == (self.source is None):
            raise ValueError("give prompt or source, one of the two")
        return self


class RenderBody(_OneOf):
    """A template, by name or source, and the user to render it for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "rank"}, {"prompt": "rank", "user_id": "42"}]})

    user_id: Id | None = Field(default=None, description="a user of the fitted data; without one an example is used")
    query: str = Field(default="", max_length=2000)


class TryBody(_OneOf):
    """A template, by name or source, to compare with production over the whole pipeline."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "rank-labels", "user_ids": ["42"], "k": 3}]})

    user_ids: list[Id] = Field(min_length=1, max_length=10)
    k: int = Field(default=5, ge=1, le=20)
    query: str | None = Field(default=None, min_length=1, max_length=2000)
    deadline_ms: int = Field(default=30_000, ge=1, le=120_000, description="of each answer")


@router.get("")
def list_prompts(service: ServiceDep) -> PromptPage:
    """List all templates with their versions and aliases."""
    listed = [summary_of(service, name) for name in service.library.names()]
    return PromptPage(
        prompts=[ListedPrompt(**one.model_dump(), serves=_serves(service, one)) for one in listed],
        inputs=[InputBody(name=name, meaning=known.holds, example=known.example) for name, known in KNOWN.items()],
        writable=service.library.own is not None,
    )


def _serves(service: Service, summary: PromptSummary) -> list[str]:
    """Return what uses a template without being asked to."""
    name, found = summary.name, []
    if summary.locale is not None and summary.family in FAMILIES:
        with contextlib.suppress(TemplateError):
            if service.library.find(summary.family, summary.locale).name == name:
                found.append("rerank" if summary.family == "rerank" else "recommendations")
    for experiment, online in service.settings.experiments.items():
        if any(reference.partition("@")[0] == name for reference in online.shares):
            found.append(f"experiment {experiment}")
    return found


@router.post("/render", responses=responses(403))
async def render_prompt(
    body: RenderBody, retriever: RetrieverDep, service: ServiceDep, request: Request
) -> RenderedBody:
    """Render a template as the model would receive it.

    Only administrators may render drafts, templates that they send, and versions without an alias. Where keys exist, a
    `user_id` needs the scope `read-users` as well.
    """
    if body.user_id is not None:
        check_scope(request, service, KeyScope.read_users)
        await refuse_forgotten(service, "user_id", [body.user_id])
    template = await asyncio.to_thread(_template, body, service, request)
    sample = await asyncio.to_thread(sample_for, retriever, body.user_id, body.query, template)
    return await preview(template, sample, service)


@router.post("/try", dependencies=[CHANGES, needs(KeyScope.read_users), WithinTokenBudget], responses=responses(403))
async def try_prompt(body: TryBody, production: RecommenderDep, service: ServiceDep, request: Request) -> TryAnswer:
    """Run the pipeline for sample users, once with the given template and once with production."""
    await refuse_forgotten(service, "user_ids", body.user_ids)
    template = await asyncio.to_thread(_template, body, service, request)
    await passed(template, production.retriever, body.user_ids)
    library = TrialLibrary(service.settings.prompts_dir, template)
    trial = await asyncio.to_thread(service.recommender_of, production.retriever, library, production.fit)
    requests = [
        RecommendationRequest(user_id=user_id, k=body.k, query=body.query, deadline_ms=body.deadline_ms)
        for user_id in body.user_ids
    ]
    answer = await tried(template, trial, production, requests)
    for user in answer.users:
        for one in (user.trial, user.production):
            service.keys.spend(request.state.key, one.usage.prompt_tokens + one.usage.completion_tokens)
    return answer


@router.get("/{name}", responses=responses(403, 404))
def read_prompt(
    name: Name, service: ServiceDep, request: Request, version: Annotated[str, "a"] = "production"
) -> PromptBody:
    """Read a template and the source of one version: a number, an alias, or `draft` (administrators only)."""
    try:
        reference = TemplateReference.parse(f"{name}@{version}")
    except TemplateError as error:
        raise Refused(404, error) from error
    summary = found(service, name)
    allow_prompts(request, service, PromptChoice(rank=f"{name}@{version}"))
    template = saved(service, reference)
    return PromptBody(**summary.model_dump(), version=template.version, hash=template.hash, source=template.source)


@router.post("/{name}", status_code=201, dependencies=[CHANGES], responses=responses(403, 409))
def save_prompt(
    name: Name, body: NewVersion, service: ServiceDep, retriever: RetrieverDep, request: Request
) -> Version:
    """Check a template and save it as the next version of its name.

    The first version of a name serves requests at once, later ones when an alias is moved to them.
    """
    template = editor_for(request, service, body.who, retriever).save(name, body.source, note=body.note)
    version = int(template.version)
    return Version(
        name=name,
        version=version,
        hash=template.hash,
        production=service.library.aliases(name).get(DEFAULT_ALIAS) == version,
    )


@router.get("/{name}/aliases/{alias}", responses=responses(404))
def read_alias(name: Name, alias: Alias, service: ServiceDep, response: Response) -> AliasBody:
    """Read the version that an alias names, with the ETag that moving it requires."""
    version = aliased(service, name, alias)
    response.headers["etag"] = etag(version)
    return AliasBody(name=name, alias=alias, version=version)


@router.put("/{name}/aliases/{alias}", dependencies=[CHANGES], responses=responses(403, 404, 409, 412, 428))
def move_alias(
    name: Name,
    alias: Alias,
    body: AliasTarget,
    service: ServiceDep,
    retriever: RetrieverDep,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(description="the alias's ETag, from reading it")] = None,
    if_none_match: Annotated[str | None, Header(description="`*` to create a new alias")] = None,
) -> AliasBody:
    """Check a saved version and move an alias to it. The next request uses it.

    `If-Match` names the version that the alias had when it was read: 412 if it has changed since, 428 without it.
    """
    current = found(service, name).aliases.get(alias)
    check_version(current, if_match, if_none_match)
    editor_for(request, service, body.who, retriever).promote(
        name, body.version, alias=alias, expected=current, note=body.note
    )
    response.headers["etag"] = etag(body.version)
    return AliasBody(name=name, alias=alias, version=body.version)


def _template(body: _OneOf, service: Service, request: Request) -> PromptTemplate:
    """Return the template that a body names or contains. Only administrators may send one."""
    if body.source is not None:
        allow_prompts(request, service, PromptChoice(rank=f"rank@{DRAFT}"))
        return template_of(body.source)
    allow_prompts(request, service, PromptChoice(rank=body.prompt))
    return service.library.get(TemplateReference.parse(str(body.prompt)))
