"""Access control without keys: the service belongs to its machine, and administration is for programs on it.

Checking ``Origin`` stops pages of other sites in a local browser; checking ``Host`` stops DNS rebinding.
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
"""Headers that reveal a proxy on this machine, which also connects from loopback. Their values are never trusted, so
sending them gains nothing.
"""


def check_binding(settings: Settings) -> None:
    """Check that the service may listen on its configured address.

    Raises:
        InputError: If other machines could reach it and ``allow_open`` is not set.
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
    """Check that a request uses a host name of this machine or of ``allowed_hosts``.

    Raises:
        Refused: If it uses another host name or comes from a page of another site (403).
    """
    allowed = {_host_name(host) for host in settings.allowed_hosts}
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
        raise _refused(
            "a proxy forwarded the request, so its sender is unknown",
            "Send the request to the service itself, not to the proxy",
        )
    if not _is_loopback(_host_name(request.headers.get("host", ""))) or not _is_own_page(request.headers):
        # A page of another site in a local browser, possibly by DNS rebinding.
        raise _refused("a page of another site asks for it", "Ask http://localhost or http://127.0.0.1")


AdminOnly = Depends(_refuse_others)
"""Dependency that rejects callers on other machines."""


def allow_prompts(request: Request, service: ServiceDep, choice: PromptChoice) -> None:
    """Allow promoted versions for everyone; drafts and other versions only for administrators.

    Raises:
        Refused: If the caller is not an administrator (403).
        InputError: If a reference is invalid.
    """
    named = [reference for task in TASKS if (reference := choice.reference(task)) is not None]
    if not all(map(service.library.is_released, named)):
        _refuse_others(request, service.settings)


def _host_name(host: str) -> str:
    """Return a ``Host`` without its port."""
    name = host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host
    return name.lower().removesuffix(".")


def _is_own_page(headers: Headers) -> bool:
    """Return whether the origin is this service. Programs send no origin."""
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
