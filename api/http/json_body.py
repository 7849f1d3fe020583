"""Decode JSON bodies within limits, so that the cost of a body stays proportional to its size.

The number of values is checked before decoding. Depth, lists, keys, numbers and text are checked before validation by
pydantic, which creates an error object for every invalid entry.
"""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.http.problems import Refused
from retrieval import InputError

MOST_VALUES = 100_000
MOST_ENTRIES = 10_000
MOST_KEYS = 200
MOST_DEPTH = 16
_LARGEST = 2**63 - 1
_LONGEST_NUMBER = 20
"""Characters of the largest integer, with its sign."""
_LARGE_BYTES = 2**16
"""Larger bodies are decoded in a thread."""
_LONGEST_TYPE = 200
_CHARSETS = ("utf-8", "utf8", "us-ascii")


class JsonRoute(APIRoute):
    """A route whose body is decoded by :func:`decode`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler so that it gets the decoded body."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def decoded(request: Request) -> Response:
            raw = await request.body()
            if raw:
                check_encoding(request.headers.get("content-encoding"))
                check_type(request.headers.get("content-type"))
                large = len(raw) > _LARGE_BYTES
                request._json = await asyncio.to_thread(decode, raw) if large else decode(raw)  # where Starlette looks
            return await handler(request)

        return decoded


def check_type(content_type: str | None) -> None:
    """Check that a ``Content-Type`` is JSON in UTF-8.

    Raises:
        Refused: If it is missing or something else (415).
    """
    message = Message()
    # Parsing the parameters takes quadratic time, here and in FastAPI.
    message["content-type"] = content_type if content_type and len(content_type) <= _LONGEST_TYPE else "none/none"
    subtype = message.get_content_subtype()
    if message.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
        problem = "is missing" if content_type is None else "is not JSON"
        raise _unsupported(problem, "content-type", "Send 'Content-Type: application/json'")
    if str(message.get_param("charset", "utf-8")).lower() not in _CHARSETS:
        raise _unsupported("names another charset than UTF-8", "content-type", "Send JSON in UTF-8")


def check_encoding(content_encoding: str | None) -> None:
    """Check that a body is not compressed.

    Raises:
        Refused: If it is compressed (415).
    """
    if (content_encoding or "identity").strip().lower() != "identity":
        raise _unsupported("names a compression", "content-encoding", "Send the body without compression")


def _unsupported(problem: str, field: str, remedy: str) -> Refused:
    return Refused(415, InputError(problem, field=field, remedy=remedy, code="unsupported_media_type"))


def decode(raw: bytes) -> Any:
    """Decode a body.

    Raises:
        Refused: If it is not JSON in UTF-8 (400), or a field exceeds a limit (422).
    """
    _check_values(raw)
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer, parse_constant=_not_finite
        )
    except UnicodeDecodeError as error:
        raise _not_json(f"is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        remedy = "Send it without a byte order mark" if raw.startswith(b"\xef\xbb\xbf") else None
        raise _not_json(f"is not JSON: {error.msg.partition(' (')[0]} ({where})", remedy) from error
    except RecursionError as error:
        raise _too_deep() from error
    _check(value)
    return value


def _check_values(raw: bytes) -> None:
    """Count values by the punctuation outside strings, which is as fast as searching for a byte."""
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # every remaining quotation mark starts or ends a string
    if bare.count(b'"') <= 4 * MOST_VALUES:
        outside = b"".join(bare.split(b'"')[::2])
        if sum(outside.count(mark) for mark in (b",", b"[", b"{")) <= MOST_VALUES:
            return
    raise _out_of_bounds("body", f"holds more than {MOST_VALUES:,} values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Refused(422, InputError("is given twice", field=twice, remedy="Give it once", code="duplicate_field"))
    return known


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


def _not_finite(_: str) -> float:
    return math.nan


def _check(value: Any) -> None:
    """Check every value once, and reject the first one that exceeds a limit."""
    left: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while left:
        found, path = left.pop()
        if isinstance(found, str):
            _check_text(found, path)
        elif isinstance(found, int | float):
            if not math.isfinite(found):
                raise _out_of_bounds(_name(path), "is not a number that can be used", "Give a finite number")
            if isinstance(found, int) and abs(found) > _LARGEST:
                raise _out_of_bounds(_name(path), "is too large a number")
        elif isinstance(found, list | dict):
            if len(path) >= MOST_DEPTH:
                raise _too_deep()
            most, what = (MOST_ENTRIES, "entries") if isinstance(found, list) else (MOST_KEYS, "fields")
            if len(found) > most:
                raise _out_of_bounds(_name(path), f"has more than {most:,} {what}")
            pairs = enumerate(found) if isinstance(found, list) else found.items()
            for key, inner in pairs:
                if isinstance(key, str):
                    _check_text(key, (*path, key))
                left.append((inner, (*path, key)))


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _out_of_bounds(
            _name(path), "holds half of a character (a lone surrogate)", "Send valid Unicode"
        ) from error


def _name(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path)) or "body"


def _not_json(problem: str, remedy: str | None = None) -> Refused:
    return Refused(400, InputError(problem, field="body", remedy=remedy or "Send JSON in UTF-8", code="invalid_json"))


def _too_deep() -> Refused:
    return _out_of_bounds("body", f"is nested more than {MOST_DEPTH} deep")


def _out_of_bounds(field: str, problem: str, remedy: str = "Send less") -> Refused:
    return Refused(422, InputError(problem, field=field, remedy=remedy, code="invalid_field"))
