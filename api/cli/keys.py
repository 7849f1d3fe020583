"""``whyrank keys``: make, list, replace and revoke API keys."""

import json
import re
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from api.cli.output import console, error_console, printable
from api.cli.stored import opened
from api.http.keys import KeyScope
from api.settings.model import load_settings
from retrieval import ApiKey, InputError

app = typer.Typer(help="Make, list, replace and revoke API keys of the HTTP service.", no_args_is_help=True)

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Id of a key, from 'whyrank keys list'.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, such as 'shop backend'.")],
    scope: Annotated[list[KeyScope], typer.Option(help="What the key may do; may be repeated. admin includes all.")],
    expires: Annotated[str | None, typer.Option(help="When the key ends: 12h, 90d, or a date like 2027-01-31.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Limit of requests.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Limit of the LLM's tokens.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once. From the first key on, the service answers only requests with a key."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise InputError("must be 1 to 200 printable characters", field="NAME", code="bad_name")
    with closing(opened(load_settings(), create=True)) as store:
        key, text = store.create_key(
            name,
            frozenset(scope),
            expires=None if expires is None else _time_of(expires),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    _show_once(key, text, as_json)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, without their secrets."""
    with closing(opened(load_settings(), create=True)) as store:
        keys = store.api_keys()
    if as_json:
        console().print_json(json.dumps([_public(key) for key in keys]))
        return
    if not keys:
        console().print("There are no keys: the service answers programs on its own machine.")
    for key in keys:
        limits = [
            f"{limit:,} {unit}/min"
            for limit, unit in ((key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens"))
            if limit is not None
        ]
        facts = [_state(key), f"used {_shown(key.last_used)}" if key.last_used else "never used", *limits]
        line = f"{key.key_id}  {key.name}: {', '.join(sorted(key.scopes))} ({'; '.join(facts)})"
        console().print(printable(line), markup=False, highlight=False, soft_wrap=True)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on working: 30m, 24h, 7d.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make a successor with the same scopes and limits; the old key ends after the overlap."""
    seconds = _duration(overlap, "--overlap").total_seconds()
    with closing(opened(load_settings())) as store:
        key, text = store.rotate_key(key_id, overlap_s=int(seconds))
    _show_once(key, text, as_json)


@app.command()
def revoke(
    key_id: Annotated[str | None, typer.Argument(metavar="[KEY_ID]", help="Id of the key.")] = None,
    delete_all: Annotated[
        bool, typer.Option("--delete-all", help="Delete all keys instead: the service then needs none.")
    ] = False,
) -> None:
    """End a key. Running services stop to take it within a few seconds (setting reload_s).

    A revoked key stays in the list, and the service goes on asking for keys.
    """
    if delete_all == (key_id is not None):
        raise InputError("give a key's id or --delete-all, one of the two", field="KEY_ID", code="missing")
    with closing(opened(load_settings())) as store:
        if key_id is None:
            console().print(f"deleted {store.delete_keys():,} keys; the service needs none now")
            return
        key = store.revoke_key(key_id)
    console().print(printable(f"revoked {key.key_id} ({key.name})"), markup=False, highlight=False)


def _show_once(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        console().print_json(json.dumps(_public(key) | {"key": text}))
        return
    typer.echo(text)
    message = f"Keep it: it cannot be shown again. Id {key.key_id}, {', '.join(sorted(key.scopes))}, {_state(key)}."
    error_console().print(message, markup=False, highlight=False)


def _public(key: ApiKey) -> dict[str, Any]:
    return {name: value for name, value in key.to_json().items() if name != "secret_hash"}


def _state(key: ApiKey) -> str:
    if key.revoked is not None:
        return f"revoked {_shown(key.revoked)}"
    if key.expires is None:
        return "does not expire"
    return f"{'expires' if key.valid(time.time()) else 'expired'} {_shown(key.expires)}"


def _shown(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _time_of(text: str) -> int:
    """Return the time that a duration from now, or a date, means.

    Raises:
        InputError: If it is neither, or lies in the past.
    """
    now = datetime.now(UTC)
    try:
        ends = datetime.fromisoformat(text)
    except ValueError:
        ends = now + _duration(text, "--expires")
    ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
    if ends <= now:
        raise InputError(f"'{text}' is in the past", field="--expires", code="bad_time")
    return int(ends.timestamp())


def _duration(text: str, field: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text.strip())
    if found is None:
        raise InputError(
            f"'{text[:40]}' is no duration", field=field, remedy="Write 30m, 24h, 90d or a date", code="bad_time"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
