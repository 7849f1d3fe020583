"""Reject unknown query parameters, like unknown fields of a body."""

from collections import Counter

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from api.http.problems import Refused
from api.settings.text import nearest
from retrieval import InputError


async def _refuse_unknown(request: Request) -> None:
    given = request.query_params
    if not given:
        return
    known = _known(request.scope["route"])
    for name, times in Counter(name for name, _ in given.multi_items()).items():
        if name not in known:
            near = nearest(name[:100], known)
            offered = f"There are: {', '.join(known)}" if known else "This path takes none"
            remedy = f"Did you mean '{near}'?" if near else offered
            raise _refused("is no query parameter of this path", name, remedy, "unknown_parameter")
        if times > 1:
            raise _refused("is given more than once", name, "Give it once", "duplicate_parameter")


KnownParametersOnly = Depends(_refuse_unknown)


def _known(route: APIRoute) -> tuple[str, ...]:
    return tuple(parameter.alias for parameter in get_flat_dependant(route.dependant).query_params)


def _refused(problem: str, name: str, remedy: str, code: str) -> Refused:
    return Refused(422, InputError(problem, field=name or "?", remedy=remedy, code=code))
