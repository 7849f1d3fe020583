"""What is wrong with a request, in its sender's terms: fields as they were sent, and what they may hold.

Pydantic names the members of a union and our classes in its errors, one error for each member that did not fit.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.http.problems import Problem, answer

_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_LONGEST_VALUE = 40
_FEW = 8
"""Names that are all listed even where one is near."""


def install(app: FastAPI) -> None:
    """Makes a problem of every request that does not have the form that its route asks for."""

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        body = getattr(request.scope.get("route"), "body_field", None)
        model = None if body is None else body.field_info.annotation
        return answer(problem_of(error, model))


def problem_of(error: RequestValidationError, model: type[BaseModel] | None) -> Problem:
    """The first thing that is wrong with a request.

    Args:
        error: what FastAPI found.
        model: of the route's body; None where it has none.
    """
    errors = error.errors()
    first = errors[0]
    if first["loc"] == ("body",) and first["type"] == "missing":
        return Problem.of(422, "invalid_field", "is missing", field="body", remedy="Send a JSON object")
    begin = first["loc"][0]
    paths = [_path(one, error.body) for one in errors if one["loc"][0] == begin]
    path = max(paths, key=len)
    at = [one for one, own in zip(errors, paths, strict=False) if own == path]
    return _told(at, path, model if begin == "body" else None)


def _path(error: Mapping[str, Any], body: object) -> tuple[str | int, ...]:
    """The field as it was sent, without what Pydantic adds to tell members of a union apart."""
    place, *parts = error["loc"]
    if place != "body":
        return tuple(parts)
    found: list[str | int] = []
    value = body
    for number, part in enumerate(parts, start=1):
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value = value[part]  # type: ignore[index]
            found.append(part)
        elif number == len(parts) and error["type"] == "missing":
            found.append(part)
    return tuple(found)


def _told(errors: Sequence[Mapping[str, Any]], path: Sequence[str | int], model: type[BaseModel] | None) -> Problem:
    first = next((one for one in errors if one["type"] not in _KINDS), errors[0])
    given, field = first["input"], ".".join(map(str, path)) or "body"
    if first["type"] == "extra_forbidden":
        known = [name for one in _models(model, path[:-1]) for name in _names(one)]
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hints = [f"Did you mean '{near[0]}'?"] if near else []
        if known and (not near or len(known) <= _FEW):
            hints.append(f"There are: {', '.join(known)}")
        return Problem.of(422, "unknown_field", "there is no such field", field=field, remedy=" ".join(hints) or None)
    kinds = list(dict.fromkeys(_KINDS[one["type"]] for one in errors if one["type"] in _KINDS))
    if kinds and first["type"] in _KINDS:
        if kinds == ["text"] and isinstance(given, int | float) and not isinstance(given, bool):
            written = json.dumps(given)[:_LONGEST_VALUE]
            return Problem.of(422, "invalid_field", f'must be a string: quote it, "{written}"', field=field)
        if isinstance(given, str) and set(kinds) <= {"a number", "true or false"} and _plain(given):
            return Problem.of(
                422, "invalid_field", f"must be {' or '.join(kinds)}: write {given} without quotes", field=field
            )
        inner = [name for one in _models(model, path) for name in _names(one)]
        text = f"must be {' or '.join(kinds)}, not {_kind_of(given)}"
        if inner and len(kinds) > 1:  # a plain value, or an object of these
            text = f"must be {', '.join(kinds[:-1])} or an object of {', '.join(inner)}, not {_kind_of(given)}"
        in_list = 'Write {"in": [...]}' if isinstance(given, list) and "in" in inner else None
        return Problem.of(422, "invalid_field", text, field=field, remedy=in_list)
    said = str(first["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    text = "is missing" if first["type"] == "missing" else said
    return Problem.of(422, "invalid_field", text, field=field)


def _plain(text: str) -> bool:
    """Whether a text is a number or a truth as JSON writes it."""
    return len(text) <= _LONGEST_VALUE and bool(re.fullmatch(r"-?\d+(\.\d+)?|true|false", text))


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")


def _names(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _models(annotation: Any, path: Sequence[str | int]) -> Iterator[type[BaseModel]]:
    """The models that may stand at a path below a type: members of unions, of lists and of mappings included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            yield annotation
            return
        for name, info in annotation.model_fields.items():
            if (info.alias or name) == path[0]:
                yield from _models(info.annotation, path[1:])
        return
    arguments = get_args(annotation)
    origin = getattr(annotation, "__origin__", None)
    if origin in (list, dict):
        if path:
            yield from _models(arguments[-1], path[1:])
        return
    for one in arguments:
        yield from _models(one, path)
