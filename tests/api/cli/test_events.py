"""``whyrank events``: exports can be imported, and every row that cannot be stored is named."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.cli.main import app
from retrieval import EVENTS, Store, UserEvent

Command = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, artifact_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The configured store with two events of ``web``, one of ``app`` and an impression."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(artifact_dir))
    monkeypatch.setenv("WHYRANK_STORE__URL", f"sqlite:///{tmp_path / 'store.sqlite'}")
    store = Store(tmp_path / "store.sqlite")
    store.put_events(
        "web", [UserEvent("e1", "u", "like", "i1", timestamp=5), UserEvent("e2", "u", "search", text="茶")]
    )
    store.put_events("app", [UserEvent("e1", "v", "rating", "i2", 4.5, 6), UserEvent("s", "v", "impression", "i3")])
    yield store
    store.close()


def _run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["events", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.mark.parametrize("name", ["events.parquet", "events.jsonl"])
def test_an_export_is_imported_once(store: Store, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "4 events" in _run("export", name)
    assert "4 duplicate" in _run("import", name)
    monkeypatch.setenv("WHYRANK_STORE__URL", f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert json.loads(_run("import", name, "--json")) == {"accepted": 4, "duplicate": 0, "conflict": 0, "invalid": 0}
    other = Store(tmp_path / "other.sqlite")
    [original], [copied] = list(store.event_batches()), list(other.event_batches())
    assert copied.sort("source", "event_id").equals(original.sort("source", "event_id"))
    assert original.schema == EVENTS
    other.close()


def test_an_export_of_nothing_is_a_table_without_rows(store: Store) -> None:
    store.forget("u")
    store.forget("v")
    _run("export", "none.parquet")
    assert pl.read_parquet("none.parquet").schema == EVENTS


def test_rows_that_cannot_be_stored_are_named_and_the_others_are_stored(store: Store) -> None:
    rows = [
        json.dumps({"event_id": "n1", "user_id": "u", "event": "like", "item_id": "i3", "text": None}),
        json.dumps({"event_id": "n2", "user_id": 7, "item_id": "i3"}),
        "{",
        "[]",
        "",
        json.dumps({"event_id": "n3", "user_id": "u", "item_id": "gone"}),
        json.dumps({"event_id": "n4", "user_id": "u", "item_id": "i1", "source": "a b"}),
        json.dumps({"event_id": "e1", "user_id": "u", "item_id": "i9", "source": "web"}),
    ]
    Path("rows.jsonl").write_text("\n".join(rows))
    told = _run("import", "rows.jsonl", code=3)
    assert "7 events: 1 accepted, 1 conflict, 5 invalid" in told
    for number, word in (
        (2, "user_id"),
        (3, "JSON"),
        (4, "object"),
        (6, "item_id"),
        (7, "source"),
        (8, "another event"),
    ):
        assert [line for line in told.splitlines() if f"row {number}:" in line and word in line], (number, told)
    assert store.count_events() == 5


def test_a_column_of_numbers_is_read_as_ids(store: Store) -> None:
    table = pl.DataFrame({"event_id": [1], "user_id": [42], "item_id": ["i1"], "event": ["view"], "timestamp": [9]})
    table.write_parquet("numbers.parquet")
    _run("import", "numbers.parquet")
    assert [one.item_id for one in store.user_state("42").newer] == ["i1"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["export", "events.csv"], "ending"),
        (["import", "missing.jsonl"], "cannot be read"),
        (["export", "missing/events.jsonl"], "cannot be written"),
        (["prune"], "--days"),
    ],
)
def test_wrong_use_is_told(store: Store, words: list[str], problem: str) -> None:
    done = CliRunner().invoke(app, ["events", *words])
    assert done.exit_code == 1
    assert problem in str(done.exception)
    assert [path.name for path in Path().iterdir() if "unfinished" in path.name] == []


def test_a_torn_file_is_an_error(store: Store) -> None:
    Path("torn.parquet").write_bytes(b"PAR1 and nothing more")
    done = CliRunner().invoke(app, ["events", "import", "torn.parquet"])
    assert "'torn.parquet' cannot be read" in str(done.exception)


def test_old_events_are_deleted_and_a_replay_brings_nothing_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Store(tmp_path / "store.sqlite", clock=lambda: time.time() - 10 * 86_400)
    event = UserEvent("old", "a-user-of-old", "like", "i1")
    old.put_events("web", [event])
    old.close()
    assert "deleted 0 events" in _run("prune", "--days", "11")
    monkeypatch.setenv("WHYRANK_STORE__RETENTION_DAYS", "9")
    assert "deleted 1 events" in _run("prune")
    assert store.put_events("web", [event]) == ["duplicate"]
    assert store.count_events() == 4
    held = [path for path in tmp_path.iterdir() if path.is_file() and b"a-user-of-old" in path.read_bytes()]
    assert held == []
