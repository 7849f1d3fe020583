"""Describe settings and errors in them, without secrets."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, SecretStr, ValidationError

from retrieval import InputError

_MASK = "**********"
_SECRET_FLAG = re.compile(r"^--?[\w-]*(key|token|secret|password)[\w-]*$", re.IGNORECASE)
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LONGEST_VALUE = 80


def explain(tree: type[BaseModel], error: ValidationError) -> InputError:
    """Describe the first error: the setting's name and, if one is close, the name that was probably meant."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    above = _section(tree, path[:-1])
    remedy: str | None = None
    if first["type"] == "extra_forbidden" and above is not None:
        known = list(above.model_fields)
        near = nearest(path[-1], known)
        remedy = f"Did you mean '{'.'.join([*path[:-1], near])}'?" if near else f"There are: {', '.join(known)}"
        return InputError("there is no such setting", field=".".join(path), remedy=remedy, code="bad_settings")
    if first["type"] in ("literal_error", "enum"):
        near = nearest(str(first["input"]), re.findall(r"'([^']*)'", first["ctx"]["expected"]))
        remedy = near and f"Did you mean '{near}'?"
    got = "" if _is_secret(tree, path) or not isinstance(first["input"], str | int | float) else _got(first["input"])
    return InputError(f"{first['msg']}{got}", field=".".join(path), remedy=remedy, code="bad_settings")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the most similar known name, or None."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def show(settings: BaseModel) -> str:
    """Return all effective settings as TOML that can be saved as ``whyrank.toml``. Secrets are masked."""
    return "\n".join(_lines(settings, ())) + "\n"


def _lines(tree: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(path)}]"
    tables: dict[str, dict[str, Any]] = {}
    for name, value in tree:
        if isinstance(value, SecretStr):
            yield f'# {name} = "{_MASK}"'
        elif value is None:
            yield f"# {name} is not set"
        elif isinstance(value, Mapping):
            tables[name] = {key: _plain(entry) for key, entry in value.items()}
        elif not isinstance(value, BaseModel):
            yield tomli_w.dumps({name: _plain(value)}).rstrip()
    for name, table in tables.items():
        nested: dict[str, Any] = {name: table}
        for above in reversed(path):
            nested = {above: nested}
        yield "\n" + tomli_w.dumps(nested).rstrip()
    for name, value in tree:
        if isinstance(value, BaseModel):
            yield from _lines(value, (*path, name))


def _plain(value: object) -> Any:
    """Convert a setting to a type that TOML has, without secrets."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return list(_without_secrets([str(entry) for entry in value]))
    return _USER_OF_URL.sub(_MASK, str(value))


def _without_secrets(arguments: list[str]) -> Iterator[str]:
    """Mask the values of flags such as ``--api-key`` in a list of arguments."""
    masked = False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        secret = bool(_SECRET_FLAG.match(flag))
        yield f"{flag}={_MASK}" if secret and equals else _MASK if masked and not argument.startswith("-") else argument
        masked = secret and not equals


def _got(value: object) -> str:
    return f" (got {_USER_OF_URL.sub(_MASK, str(value))[:_LONGEST_VALUE]!r})"


def _section(tree: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """Return the model at a path, or None."""
    found: type[BaseModel] | None = tree
    for name in path:
        field = found.model_fields.get(name) if found else None
        kinds = _kinds(field.annotation) if field else ()
        found = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return found


def _is_secret(tree: type[BaseModel], path: Sequence[str]) -> bool:
    above = _section(tree, path[:-1])
    field = above.model_fields.get(path[-1]) if above else None
    return field is None or SecretStr in _kinds(field.annotation)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    return get_args(annotation) or (annotation,)
