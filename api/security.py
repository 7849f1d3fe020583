"""Who may do what, until there are keys: what an administrator does is for programs on this machine."""

import ipaddress

from fastapi import Depends, Request
from starlette.datastructures import Headers

from api.dependencies import ServiceDep, SettingsDep
from api.problems import Refused
from reranker import PromptChoice
from reranker.request import TASKS
from retrieval import InputError

_FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""A proxy on this machine connects from loopback, too; what it adds to a request gives it away. None of these headers
is ever believed, so nobody gains anything by sending them.
"""


def _refuse_others(request: Request, settings: SettingsDep) -> None:
    if settings.admin == "off":
        raise _refused("administration is switched off", "Set 'admin' to 'loopback' where nothing is forwarded")
    if request.client is None or not _is_loopback(request.client.host):
        raise _refused(
            "only programs on the service's own machine may do this", "Do it there, for example with 'whyrank prompts'"
        )
    if any(name in request.headers for name in _FORWARDING):
        raise _refused("a proxy passed this on, so nobody knows who asks", "Ask the service itself, not the proxy")
    if not _is_loopback(_host_of(request.headers)) or not _is_own_page(request.headers):
        # A page of another site in a browser on this machine, perhaps under a name that it made lead here.
        raise _refused("a page of another site asks for it", "Ask http://localhost or http://127.0.0.1")


AdminOnly = Depends(_refuse_others)
"""Refuses whoever does not connect from this machine."""


def allow_prompts(request: Request, service: ServiceDep, choice: PromptChoice) -> None:
    """Lets anybody name a promoted version; drafts and other versions are tried by administrators.

    Raises:
        Refused: the caller is none.
        InputError: a reference cannot be one.
    """
    named = [reference for task in TASKS if (reference := choice.reference(task)) is not None]
    if not all(map(service.library.is_released, named)):
        _refuse_others(request, service.settings)


def _host_of(headers: Headers) -> str:
    host = headers.get("host", "")
    return host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host


def _is_own_page(headers: Headers) -> bool:
    """Whether no page of another site sent it; programs send no origin."""
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _refused(message: str, remedy: str) -> Refused:
    return Refused(403, InputError(message, remedy=remedy, code="admin_only"))
