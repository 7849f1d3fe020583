"""Who may do what, until there are keys: the service is its machine's, and what an administrator does is for programs
on it.

A page of another site, in a browser on this machine, is kept from reading: under its own name by ``Origin``, and under
a name that it made lead here (DNS rebinding) by ``Host``.
"""

import ipaddress

from fastapi import Depends, Request
from starlette.datastructures import Headers

from api.http.dependencies import ServiceDep, SettingsDep
from api.http.problems import Refused
from api.settings.model import Settings
from reranker import TASKS, PromptChoice
from retrieval import InputError

_FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""A proxy on this machine connects from loopback, too; what it adds to a request gives it away. None of these headers
is ever believed, so nobody gains anything by sending them.
"""


def check_binding(settings: Settings) -> None:
    """Returns if the service may listen on the address of its settings.

    Raises:
        InputError: others could reach it, and nothing says that they may.
    """
    if not settings.allow_open and not _is_loopback(settings.host):
        raise InputError(
            f"'{settings.host}' is reached by other machines, whose users could read every history, as there are no "
            "keys",
            field="host",
            remedy="Listen on 127.0.0.1, behind a proxy that knows who asks; 'allow_open' (--allow-open) says that "
            "everybody may ask",
            code="open_host",
        )


def check_reader(headers: Headers, settings: Settings) -> None:
    """Returns if a caller may ask for data: under a name of this machine, or one that the settings allow.

    Raises:
        Refused: it may not.
    """
    allowed = {_host_name(one) for one in settings.allowed_hosts}
    if settings.allow_open and not allowed:
        return
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not (_is_loopback(_host_name(hosts[0])) or _host_name(hosts[0]) in allowed):
        raise _foreign(
            "the request names a host that is not this machine",
            "Ask http://localhost or http://127.0.0.1, or add the host to 'allowed_hosts' in the settings",
            field="host",
        )
    if not _is_own_page(headers) and _host_name(headers["origin"].partition("://")[2]) not in allowed:
        raise _foreign(
            "a page of another site asks for it",
            "Ask from a program, or add the site's host to 'allowed_hosts' in the settings",
            field="origin",
        )


def _refuse_others(request: Request, settings: SettingsDep) -> None:
    if settings.admin == "off":
        raise _refused("administration is switched off", "Set 'admin' to 'loopback' where nothing is forwarded")
    if request.client is None or not _is_loopback(request.client.host):
        raise _refused(
            "only programs on the service's own machine may do this", "Do it there, for example with 'whyrank prompts'"
        )
    if any(name in request.headers for name in _FORWARDING):
        raise _refused("a proxy passed this on, so nobody knows who asks", "Ask the service itself, not the proxy")
    if not _is_loopback(_host_name(request.headers.get("host", ""))) or not _is_own_page(request.headers):
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


def _host_name(host: str) -> str:
    """A ``Host`` without its port."""
    name = host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host
    return name.lower().removesuffix(".")


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


def _foreign(message: str, remedy: str, *, field: str) -> Refused:
    return Refused(403, InputError(message, field=field, remedy=remedy, code="foreign_host"))


def _refused(message: str, remedy: str) -> Refused:
    return Refused(403, InputError(message, remedy=remedy, code="admin_only"))
