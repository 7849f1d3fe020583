"""``/plain``: edit prompts without JavaScript, in a plain text area: preview, keep as draft, save."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

from api.http.dependencies import RetrieverDep, ServiceDep
from api.http.keys import KeyScope
from api.http.preview import preview
from api.http.problems import without_folders
from api.http.prompt_requests import editor_for, refuse_forgotten, sample_for
from api.http.routes.prompts import CHANGES
from api.http.security import check_scope
from api.http.state import Service
from api.trial import template_of
from prompts import DEFAULT_ALIAS, DRAFT, TemplateError, TemplateReference, draft_hash, read_source
from retrieval import Retriever, WhyrankError

router = APIRouter(include_in_schema=False, dependencies=[CHANGES])

_POLICY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
}
"""Without a referrer policy of its own the page's forms would be sent with the origin "null", as other sites' are."""
_FIELDS = ("name", "source", "draft", "user", "note", "who", "action")
_PAGE = Environment(loader=PackageLoader("api", "studio/templates"), autoescape=True).get_template("plain.html.jinja")


@router.get("/plain")
async def show(service: ServiceDep, name: str = "rank") -> HTMLResponse:
    """Show the draft of a template, or its production version."""
    return await asyncio.to_thread(_shown, service, name)


@router.post("/plain")
async def change(service: ServiceDep, retriever: RetrieverDep, request: Request) -> HTMLResponse:
    """Do what the button says, and show the page again with the text that was sent."""
    sent = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20))
    fields = {field: sent.get(field, "") for field in _FIELDS}
    fields["source"] = fields["source"].replace("\r\n", "\n")  # as forms send line ends
    try:
        done = await _do(service, retriever, request, fields)
    except WhyrankError as error:
        return _page(service, fields, {"problem": without_folders(str(error))}, status=422)
    return _page(service, fields, done)


async def _do(service: Service, retriever: Retriever, request: Request, fields: dict[str, str]) -> dict[str, Any]:
    name, source = fields["name"], fields["source"]
    if fields["action"] == "keep":
        editor = editor_for(request, service, fields["who"])
        fields["draft"] = await asyncio.to_thread(editor.save_draft, name, source, expected=fields["draft"] or None)
        return {"told": "The draft is kept."}
    if fields["action"] == "save":
        editor = await asyncio.to_thread(editor_for, request, service, fields["who"], retriever)
        saved = await asyncio.to_thread(editor.save, name, source, note=fields["note"])
        return {"told": f"Saved as version {saved.version}."}
    template = await asyncio.to_thread(template_of, source)
    if fields["user"]:
        check_scope(request, service, KeyScope.read_users)
        await refuse_forgotten(service, "user_id", [fields["user"]])
    sample = await asyncio.to_thread(sample_for, retriever, fields["user"] or None, "", template)
    return {"preview": await preview(template, sample, service)}


def _shown(service: Service, name: str) -> HTMLResponse:
    fields = dict.fromkeys(_FIELDS, "") | {"name": name}
    try:
        reference = TemplateReference.parse(name)
        path = service.library.draft(name) if reference.which == DEFAULT_ALIAS else None
        if path is not None:
            fields["source"] = read_source(path, told=f"{name}/{DRAFT}.jinja")
            fields["draft"] = draft_hash(fields["source"])
            return _page(service, fields, {"origin": "draft"})
        fields["source"] = service.library.get(reference).source
    except TemplateError as error:
        return _page(service, fields, {"problem": without_folders(str(error))}, status=404)
    return _page(service, fields, {"origin": "production"})


def _page(service: Service, fields: dict[str, str], more: dict[str, Any], *, status: int = 200) -> HTMLResponse:
    page = _PAGE.render(names=service.library.names(), **fields, **more)
    return HTMLResponse(page, status, headers=_POLICY)
