"""Errors as problem+json (RFC 9457), with a stable ``type`` and the field that is wrong."""

import difflib
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from prompts import TemplateError
from reranker import LLMError
from retrieval import InputError, StoreError, WhyrankError

_LONGEST_FIELD = 200
_LONGEST_TEXT = 2000
_PATH = re.compile(
    r"""(?<=['"])/[^'"\n]*/(?=[^/'"\n]+['"])|(?<![\w:/.~])(?:~|/(?!v[12]/))(?:[^\s/'"]*+/)++(?=[^\s/'"])"""
)
"""Matches the folders of a file system path, but not those of a URL or a route."""


def without_folders(text: str) -> str:
    """Reduce file system paths in a text to file names, so that callers do not learn this machine's folders."""
    return _PATH.sub("", text)


def _bounded(text: str, most: int) -> str:
    whole = text if len(text) <= most else f"{text[: most - 3]}..."
    return whole.encode("utf-8", "backslashreplace").decode()


class Problem(BaseModel):
    """An error response (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    remedy: str | None = None
    line: int | None = None
    column: int | None = None

    @classmethod
    def of(
        cls,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> "Problem":
        """Create a problem of type ``/problems/<code>``, followed by ``#<field>`` if there is a field.

        The texts may contain input: they are truncated, and invalid Unicode is escaped.
        """
        field = field and _bounded(field, _LONGEST_FIELD)
        return cls(
            type=f"/problems/{code.replace('_', '-')}" + (f"#{field}" if field else ""),
            title=HTTPStatus(status).phrase,
            status=status,
            detail=_bounded(detail, _LONGEST_TEXT),
            field=field,
            remedy=remedy and _bounded(remedy, _LONGEST_TEXT),
            line=line,
            column=column,
        )


FAULT = Problem.of(500, "fault", "The service failed on this request; its log says more")
"""Response to an unexpected error."""


class Refused(Exception):
    """Ends a request with an error response.

    Args:
        status: HTTP status.
        error: the cause, whose message is shown to the caller.
    """

    def __init__(self, status: int, error: WhyrankError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


RETRY_AFTER_S = "1"
_HEADERS = {408: {"connection": "close"}, 429: {"retry-after": RETRY_AFTER_S}, 503: {"retry-after": RETRY_AFTER_S}}
"""Extra headers by status."""
_STATUSES = {
    400: "The body is not JSON, or the request is not valid HTTP.",
    401: "There are API keys, and the request has no valid one.",
    403: "The caller may not do this.",
    404: "There is nothing of that name.",
    408: "The body did not arrive in time.",
    409: "The service's settings do not allow it.",
    412: "It has changed in the meantime.",
    413: "The body is too large.",
    415: "The headers do not declare JSON in UTF-8.",
    422: "A field is invalid; `field` names it.",
    428: "The request must name the state that it changes (`If-Match`).",
    429: "The service is at its limit of requests in flight, or the API key is at its own limit; retry after "
    "`Retry-After` seconds.",
    500: "An internal error.",
    503: "The LLM or the store is unavailable, and this route has no fallback. Nothing was stored.",
}

_API_KEY = {"type": "http", "scheme": "bearer", "description": "needed once `whyrank keys create` has made a key"}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route: the given statuses and those that every route has."""
    return {
        status: {
            "description": _STATUSES[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 400, 401, 403, 408, 413, 415, 422, 429, 500})
    }


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Create the response for a problem."""
    content = problem.model_dump(exclude_none=True)
    headers = {**_HEADERS.get(problem.status, {}), **(headers or {})}
    return JSONResponse(content, problem.status, headers, media_type="application/problem+json")


_OF_CODE = {
    "library_read_only": 409,
    "alias_moved": 412,
    "draft_changed": 412,
    "nothing_to_roll_back": 409,
    "experiment_running": 409,
    "library_damaged": 500,
    "library_not_writable": 500,
    "template_edited": 500,
}
"""Status by error code, for errors that are not caused by the input."""


def _of(error: WhyrankError, status: int) -> Problem:
    line, column = (error.line, error.column) if isinstance(error, TemplateError) else (None, None)
    return Problem.of(
        status,
        error.code,
        without_folders(error.message),
        field=error.field,
        remedy=error.remedy and without_folders(error.remedy),
        line=line,
        column=column,
    )


def refusal(refused: Refused) -> JSONResponse:
    """Create the response for a rejected request."""
    return answer(_of(refused.error, refused.status), refused.headers)


def install(app: FastAPI) -> None:
    """Turn every error of the app into a problem, and add the schema and API keys to its OpenAPI page."""
    page_of = app.openapi

    def with_problem() -> dict[str, Any]:
        page = page_of()
        page["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        page["components"]["securitySchemes"] = {"ApiKey": _API_KEY}
        page["security"] = [{"ApiKey": []}, {}]  # a key is optional until there is one
        return page

    app.openapi = with_problem  # type: ignore[method-assign]

    @app.exception_handler(WhyrankError)
    async def _known(_: Request, error: WhyrankError) -> JSONResponse:
        return answer(
            _of(error, _OF_CODE.get(error.code, 422 if isinstance(error, InputError | TemplateError) else 500))
        )

    @app.exception_handler(LLMError)
    async def _llm(_: Request, error: LLMError) -> JSONResponse:
        return answer(_of(error, 503))

    @app.exception_handler(StoreError)
    async def _store(_: Request, error: StoreError) -> JSONResponse:
        return answer(_of(error, 503))

    @app.exception_handler(Refused)
    async def _refused(_: Request, refused: Refused) -> JSONResponse:
        return refusal(refused)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(_of_http(error, request), error.headers)


def _of_http(error: HTTPException, request: Request) -> Problem:
    """Convert an error of the framework."""
    if error.status_code == 404:
        paths = [path for route in request.app.routes if (path := getattr(route, "path_format", None))]
        near = difflib.get_close_matches(request.url.path[:_LONGEST_FIELD], paths, n=1)
        remedy = f"Did you mean {near[0]}? See /docs for what there is" if near else "See /docs for what there is"
        return Problem.of(404, "not_found", "There is nothing at this path", remedy=remedy)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return Problem.of(405, "method_not_allowed", "This path has no such method", remedy=f"Use {allowed}; see /docs")
    return Problem.of(error.status_code, "http", str(error.detail))
