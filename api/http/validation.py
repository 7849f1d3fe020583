"""Convert validation errors to the sender's terms: the fields as they were sent, and their valid values.

Pydantic's errors name union members and our classes, with one error for each member that does not match.
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
"""Up to this many names are listed even if one is similar."""


def install(app: FastAPI) -> None:
    """Turn validation errors of requests into problems."""

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        body = getattr(request.scope.get("route"), "body_field", None)
        model = None if body is None else body.field_info.annotation
        return answer(problem_of(error, model))


def problem_of(error: RequestValidationError, model: type[BaseModel] | None) -> Problem:
    """Describe the first error in a request.

    Args:
        error: FastAPI's validation error.
        model: model of the route's body, None if it has none.
    """
    errors = error.errors()
    first = errors[0]
    if first["loc"] == ("body",) and first["type"] == "missing":
        return Problem.of(422, "invalid_field", "is missing", field="body", remedy="Send a JSON object")
    begin = first["loc"][0]
    paths = [_path(entry, error.body) for entry in errors if entry["loc"][0] == begin]
    path = max(paths, key=len)
    at = [entry for entry, own in zip(errors, paths, strict=False) if own == path]
    return _told(at, path, model if begin == "body" else None)


def _path(error: Mapping[str, Any], body: object) -> tuple[str | int, ...]:
    """Return the field as it was sent, without the parts that Pydantic adds for members of a union."""
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
    first = next((entry for entry in errors if entry["type"] not in _KINDS), errors[0])
    given, field = first["input"], ".".join(map(str, path)) or "body"
    if first["type"] == "extra_forbidden":
        known = [name for candidate in _models(model, path[:-1]) for name in _names(candidate)]
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hints = [f"Did you mean '{near[0]}'?"] if near else []
        if known and (not near or len(known) <= _FEW):
            hints.append(f"There are: {', '.join(known)}")
        return Problem.of(422, "unknown_field", "there is no such field", field=field, remedy=" ".join(hints) or None)
    kinds = list(dict.fromkeys(_KINDS[entry["type"]] for entry in errors if entry["type"] in _KINDS))
    if kinds and first["type"] in _KINDS:
        if kinds == ["text"] and isinstance(given, int | float) and not isinstance(given, bool):
            written = json.dumps(given)[:_LONGEST_VALUE]
            return Problem.of(422, "invalid_field", f'must be a string: quote it, "{written}"', field=field)
        if isinstance(given, str) and set(kinds) <= {"a number", "true or false"} and _plain(given):
            return Problem.of(
                422, "invalid_field", f"must be {' or '.join(kinds)}: write {given} without quotes", field=field
            )
        inner = [name for candidate in _models(model, path) for name in _names(candidate)]
        text = f"must be {' or '.join(kinds)}, not {_kind_of(given)}"
        if inner and len(kinds) > 1:  # a plain value, or an object of these
            text = f"must be {', '.join(kinds[:-1])} or an object of {', '.join(inner)}, not {_kind_of(given)}"
        in_list = 'Write {"in": [...]}' if isinstance(given, list) and "in" in inner else None
        return Problem.of(422, "invalid_field", text, field=field, remedy=in_list)
    said = str(first["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    text = "is missing" if first["type"] == "missing" else said
    return Problem.of(422, "invalid_field", text, field=field)


def _plain(text: str) -> bool:
    """Return whether a text is a JSON number or boolean."""
    return len(text) <= _LONGEST_VALUE and bool(re.fullmatch(r"-?\d+(\.\d+)?|true|false", text))


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "text"), (list, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")


def _names(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _models(annotation: Any, path: Sequence[str | int]) -> Iterator[type[BaseModel]]:
    """Yield the models at a path below a type, through unions, lists and mappings."""
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
    for argument in arguments:
        yield from _models(argument, path)
