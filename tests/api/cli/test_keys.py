"""``whyrank keys``."""

import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from retrieval import Store, split_key
from tests.api.process import whyrank


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHYRANK_STORE__URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    return Store(tmp_path / "store.sqlite")


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def test_a_key_is_printed_once_and_alone(store: Store) -> None:
    made = ran("create", "shop backend", "--scope", "recommend", "--scope", "events", "--expires", "90d")
    assert made.exit_code == 0, made.output
    assert split_key(made.stdout.strip()) is not None
    assert "cannot be shown again" in made.stderr
    (key,) = store.api_keys()
    assert key.scopes == {"recommend", "events"}
    assert abs((key.expires or 0) - time.time() - 90 * 86_400) < 60
    listed = ran("list").stdout
    assert re.search(rf"{key.key_id}  shop backend: events, recommend \(expires .*; never used\)", listed)
    assert made.stdout.strip() not in listed
    assert key.secret_hash not in listed + ran("list", "--json").stdout


def test_json(store: Store) -> None:
    made = json.loads(ran("create", "a", "--scope", "admin", "--requests-per-minute", "60", "--json").stdout)
    assert made["key"].startswith(f"whyrank_{made['key_id']}_")
    (listed,) = json.loads(ran("list", "--json").stdout)
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert listed["requests_per_minute"] == 60


def test_rotating_and_revoking(store: Store) -> None:
    old = json.loads(ran("create", "a", "--scope", "recommend", "--json").stdout)["key_id"]
    new = json.loads(ran("rotate", old, "--overlap", "30m", "--json").stdout)["key_id"]
    keys = {key.key_id: key for key in store.api_keys()}
    assert abs((keys[old].expires or 0) - time.time() - 1800) < 60
    assert "revoked" in ran("revoke", new).stdout
    assert re.search(f"{new}.*revoked 20", ran("list").stdout)
    assert "deleted 2 keys" in ran("revoke", "--delete-all").stdout
    assert "There are no keys" in ran("list").stdout


@pytest.mark.parametrize(
    ("arguments", "field", "remedy"),
    [
        (("create", " ", "--scope", "admin"), "NAME", ""),
        (("create", "a\nb", "--scope", "admin"), "NAME", ""),
        (("create", "a", "--scope", "admin", "--expires", "soon"), "--expires", "90d"),
        (("create", "a", "--scope", "admin", "--expires", "2020-01-01"), "--expires", ""),
        (("create", "a", "--scope", "admin", "--expires", "0d"), "--expires", ""),
        (("rotate", "00000000", "--overlap", "1 day"), "--overlap", "24h"),
        (("rotate", "00000000"), "KEY_ID", "keys list"),
        (("revoke", "00000000"), "KEY_ID", "keys list"),
        (("revoke",), "KEY_ID", ""),
        (("revoke", "00000000", "--delete-all"), "KEY_ID", ""),
    ],
)
def test_wrong_input_is_named(store: Store, arguments: tuple[str, ...], field: str, remedy: str) -> None:
    store.api_keys()
    refused = ran(*arguments)
    error = refused.exception
    assert (getattr(error, "field", None), remedy in (getattr(error, "remedy", None) or "")) == (field, True)


def test_a_scope_is_needed_and_must_exist() -> None:
    assert ran("create", "a").exit_code == 2
    unknown = ran("create", "a", "--scope", "write")
    assert unknown.exit_code == 2
    assert "read-users" in unknown.stderr


def test_an_address_of_other_machines_needs_a_key(artifact_dir: Path, tmp_path: Path) -> None:
    settings = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_STORE__URL": f"sqlite:///{tmp_path / 'store.sqlite'}"}
    address = ("serve", "--host", "0.0.0.0", "--no-llm")  # noqa: S104
    refused = whyrank(*address, folder=tmp_path, **settings)
    assert (refused.returncode, "keys create" in refused.stderr) == (2, True)
