"""Errors as problem+json (RFC 9457), with a stable ``type`` and the field it is about."""

import difflib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from prompts import TemplateError
from reranker import LLMError
from retrieval import InputError, WhyrankError


class Problem(BaseModel):
    """An error page."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    remedy: str | None = None

    @classmethod
    def of(
        cls, status: int, code: str, detail: str, *, field: str | None = None, remedy: str | None = None
    ) -> "Problem":
        """A problem whose ``type`` is ``/problems/<code>`` and, where there is a field, ``#<field>``."""
        return cls(
            type=f"/problems/{code.replace('_', '-')}" + (f"#{field}" if field else ""),
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            field=field,
            remedy=remedy,
        )


FAULT = Problem.of(500, "fault", "The service failed on this request; its log says more")
"""What is said of an error that nobody foresaw."""


class Refused(Exception):
    """Ends a request with a problem of this status.

    Args:
        error: what is wrong, in words.
    """

    def __init__(self, status: int, error: WhyrankError) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error


_STATUSES = {
    400: "The body is not what it says it is.",
    403: "Only programs on the service's own machine may do this.",
    404: "There is none of that name.",
    409: "The service's settings do not allow it.",
    412: "Somebody changed it meanwhile.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "A field cannot be used; it is named.",
    428: "The request must say which state it is about to change.",
    429: "The service answers as many requests as it can; `Retry-After` says when to try again.",
    500: "A fault of the service.",
    503: "The LLM does not answer, and without it there is no answer.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of a route's problems: these, and those that any route has."""
    return {
        status: {
            "description": _STATUSES[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 400, 413, 415, 422, 429, 500})
    }


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as an answer."""
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, headers, media_type="application/problem+json")


_OF_CODE = {
    "library_read_only": 409,
    "alias_moved": 412,
    "library_damaged": 500,
    "library_not_writable": 500,
    "template_edited": 500,
}
"""Statuses of errors that are not about what was sent."""


def _of(error: WhyrankError, status: int) -> Problem:
    return Problem.of(status, error.code, error.message, field=error.field, remedy=error.remedy)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem, and says in its OpenAPI page what a problem is."""
    page_of = app.openapi

    def with_problem() -> dict[str, Any]:
        page = page_of()
        page["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return page

    app.openapi = with_problem  # type: ignore[method-assign]

    @app.exception_handler(WhyrankError)
    async def _known(_: Request, error: WhyrankError) -> JSONResponse:
        return answer(
            _of(error, _OF_CODE.get(error.code, 422 if isinstance(error, InputError | TemplateError) else 500))
        )

    @app.exception_handler(LLMError)
    async def _llm(_: Request, error: LLMError) -> JSONResponse:
        return answer(_of(error, 503), {"retry-after": "1"})

    @app.exception_handler(Refused)
    async def _refused(_: Request, refused: Refused) -> JSONResponse:
        return answer(_of(refused.error, refused.status))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "http")
        detail, remedy = str(error.detail), None
        if error.status_code == 400:  # FastAPI says no more of a body that the JSON parser does not take
            code, detail = "invalid_json", "The body is no JSON in UTF-8, or too deeply nested"
        elif error.status_code == 404:
            paths = [path for route in app.routes if (path := getattr(route, "path_format", None))]
            near = difflib.get_close_matches(request.url.path, paths, n=1)
            detail = "There is no such path"
            remedy = f"Did you mean {near[0]}? GET / lists what there is" if near else "GET / lists what there is"
        elif error.status_code == 405:
            allowed = Headers(error.headers).get("allow")
            detail, remedy = "This path does not take this method", f"Use {allowed}" if allowed else None
        return answer(Problem.of(error.status_code, code, detail, remedy=remedy), error.headers)
