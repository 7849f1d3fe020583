"""Access control. Without API keys the service belongs to its machine, and administration is for programs on it; with
keys each route needs a scope.

Checking ``Origin`` stops pages of other sites in a local browser; checking ``Host`` stops DNS rebinding.
"""

import ipaddress

from fastapi import Depends, Request, params
from starlette.datastructures import Headers

from api.http.dependencies import ServiceDep
from api.http.keys import KeyScope, allows
from api.http.problems import Refused
from api.settings.model import Settings
from reranker import TASKS, PromptChoice
from retrieval import InputError

_FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that reveal a proxy on this machine, which also connects from loopback. Their values are never trusted, so
sending them gains nothing.
"""
_OPEN = ("/", "/docs", "/openapi.json", "/health/live", "/health/ready")
"""Paths that never need a key; they tell nothing of users and items."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of responses that have none of their own: answers are no pages."""


def needs_key(path: str) -> bool:
    """Return whether a path needs a key where keys exist: all but the documentation and the probes."""
    return path not in _OPEN and not path.startswith(("/static/", "/studio/"))


def check_binding(settings: Settings, *, keys: bool) -> None:
    """Check that the service may listen on its configured address.

    Args:
        keys: whether requests need an API key.

    Raises:
        InputError: If other machines could reach it, there are no keys, and ``allow_open`` is not set.
    """
    if not keys and not _may_be_keyless(settings):
        raise InputError(
            f"'{settings.host}' is reached by other machines, whose users could read every history, as there are no "
            "keys",
            field="host",
            remedy="Make a key with 'whyrank keys create', or listen on 127.0.0.1, behind a proxy that knows who asks; "
            "'allow_open' (--allow-open) says that everybody may ask",
            code="open_host",
        )


def _may_be_keyless(settings: Settings) -> bool:
    return settings.allow_open or _is_loopback(settings.host)


def check_still_closed(settings: Settings) -> None:
    """Check that requests without keys may be answered: the keys may have been deleted while the service runs.

    Raises:
        Refused: If other machines can reach the service (401).
    """
    if not _may_be_keyless(settings):
        message = "the service has no API keys any more, and other machines reach it"
        error = InputError(message, remedy="Make one with 'whyrank keys create'", code="key_missing")
        raise Refused(401, error, {"www-authenticate": "Bearer"})


def check_reader(headers: Headers, settings: Settings, *, key: bool) -> None:
    """Check that a request uses a host name of this machine or of ``allowed_hosts``.

    Args:
        key: whether the request has a valid API key. It may use any host name if the service listens on an address
            that other machines reach and ``allowed_hosts`` is not set: a browser does not send keys by itself.

    Raises:
        Refused: If it uses another host name or comes from a page of another site (403).
    """
    allowed = {_host_name(host) for host in settings.allowed_hosts}
    if settings.allow_open and not allowed:
        return
    any_host = key and not allowed and not _is_loopback(settings.host)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not (any_host or _is_loopback(_host_name(hosts[0])) or _host_name(hosts[0]) in allowed):
        raise _foreign(
            "the request names a host that is not this machine",
            "Ask http://localhost or http://127.0.0.1, or add the host to 'allowed_hosts' in the settings",
            field="host",
        )
    if (
        not _is_own_page(headers)
        and headers["origin"] not in settings.cors_origins
        and _host_name(headers["origin"].partition("://")[2]) not in allowed
    ):
        raise _foreign(
            "a page of another site asks for it",
            "Ask from a program, or add the site's host to 'allowed_hosts' in the settings, or its origin to "
            "'cors_origins'",
            field="origin",
        )


def needs(scope: KeyScope, *, administers: bool = False) -> params.Depends:
    """Create a dependency that rejects callers who may not use a route (403).

    Args:
        scope: what a key must allow, where keys exist.
        administers: whether the route changes or tries what others use. Without keys, only programs on this machine
            may do so.
    """

    async def check(request: Request, service: ServiceDep) -> None:
        check_scope(request, service, scope, administers=administers)

    dependency: params.Depends = Depends(check)
    return dependency


def check_scope(request: Request, service: ServiceDep, scope: KeyScope, *, administers: bool = False) -> None:
    """Reject callers as a dependency that :func:`needs` creates does.

    Raises:
        Refused: If the caller may not (403).
    """
    settings = service.settings
    if administers and settings.admin == "off":
        raise _refused("administration is switched off", "Set 'admin' to 'loopback' in the settings")
    if service.keys.exist:
        key = request.state.key
        if key is None or not allows(key, scope):
            raise Refused(
                403,
                InputError(
                    f"the API key lacks the scope '{scope}'",
                    field="authorization",
                    remedy=f"Use a key that was made with --scope {scope}",
                    code="scope_missing",
                ),
            )
    elif administers:
        _refuse_others(request)


def _refuse_others(request: Request) -> None:
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


async def _check_tokens(request: Request, service: ServiceDep) -> None:
    service.keys.check_tokens(request.state.key)


WithinTokenBudget = Depends(_check_tokens)
"""Dependency of routes that ask the LLM: rejects callers whose key has no tokens left (429)."""


def allow_prompts(request: Request, service: ServiceDep, choice: PromptChoice) -> None:
    """Allow promoted versions for everyone; drafts and other versions only for those who may change prompts.

    Raises:
        Refused: If the caller may not (403).
        InputError: If a reference is invalid.
    """
    named = [reference for task in TASKS if (reference := choice.reference(task)) is not None]
    if not all(map(service.library.is_released, named)):
        check_scope(request, service, KeyScope.prompts, administers=True)


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
