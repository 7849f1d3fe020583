"""Errors as problem+json (RFC 9457), with a stable ``type`` and the field it is about."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from retrieval import InputError


class Problem(BaseModel):
    """An error page."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    remedy: str | None = None


RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for code, text in (
        (413, "The body is too large."),
        (422, "A field cannot be used; it is named."),
        (429, "The service answers as many requests as it can; `Retry-After` says when to try again."),
        (500, "A fault of the service."),
    )
}


def problem(
    status: int, code: str, detail: str, *, field: str | None = None, remedy: str | None = None
) -> JSONResponse:
    """Builds the answer; ``type`` is ``/problems/<code>`` and, where there is a field, ``#<field>``."""
    body = Problem(
        type=f"/problems/{code.replace('_', '-')}" + (f"#{field}" if field else ""),
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        field=field,
        remedy=remedy,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem."""

    @app.exception_handler(InputError)
    async def _input(_: Request, error: InputError) -> JSONResponse:
        return problem(422, error.code, error.message, field=error.field, remedy=error.remedy)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        code = "unknown_field" if first["type"] == "extra_forbidden" else "invalid_field"
        return problem(422, code, str(first["msg"]), field=field)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "http")
        answer = problem(error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer
