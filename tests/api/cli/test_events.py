"""``whyrank events``: exports can be imported, and every row that cannot be stored is named."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.cli.main import app
from eval.rankings_log import user_key
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


def test_a_user_is_forgotten_everywhere(
    store: Store, artifact_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: events, a batch, rankings and a report, two fits; then no file holds the id or its hash."""
    user, key = "u1", user_key("u1")
    data = tmp_path / "data"
    shutil.copytree(artifact_dir, data / "artifact")
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(data / "artifact"))
    monkeypatch.setenv("WHYRANK_STORE__URL", f"sqlite:///{data / 'store.sqlite'}")
    kept = Store(data / "store.sqlite")
    kept.put_events("web", [UserEvent("e", user, "like", "i1"), UserEvent("e2", "other", "like", "i1")])
    run = CliRunner().invoke(app, ["batch", "--no-llm", "--output", str(data / "nightly"), "-k", "2"])
    assert run.exit_code == 0, run.output
    log = data / "runs" / "r" / "rankings.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(
        f'{{"arm":"als","user":"{key}","ranking":[]}}\n{{"arm":"als","user":"{user_key("u2")}","ranking":[]}}\n'
    )
    (log.parent / "report").mkdir()
    for name in ("report.json", "report.html", "users.csv"):
        (log.parent / "report" / name).write_text(f"user {key}")
    told = _run("forget", user, "--in", str(data / "nightly"), "--in", str(data / "runs"))
    assert "store: 1 events" in told
    assert "1 batch rows" in told
    assert "1 logged rankings and 1 reports removed" in told
    assert "awaiting" in told
    rows = pl.read_parquet(next((data / "nightly").glob("run-*/*.parquet")))
    assert (rows["user_id"] == user).sum() == 0
    assert rows.height > 0
    manifest = json.loads(next((data / "nightly").glob("run-*/manifest.json")).read_text())
    assert manifest["rows"] == sum(shard["rows"] for shard in manifest["shards"]) == rows.height
    assert log.read_text().count("\n") == 1
    again = CliRunner().invoke(app, ["batch", "--no-llm", "--output", str(data / "nightly"), "-k", "2"])
    assert again.exit_code == 0, again.output
    kept.close()
    assert key.encode() not in b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    assert user not in {
        row for file in (data / "nightly").rglob("*.parquet") for row in pl.read_parquet(file)["user_id"]
    }


def test_a_fit_after_forgetting_removes_earlier_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"user{who},{(who + step) % 12},purchase,{1000 + step}" for who in range(30) for step in range(6)]
    (tmp_path / "did.csv").write_text("\n".join(["user_id,item_id,event,timestamp", *rows, "canary-81f3,1,purchase,1"]))
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *(f"{item},Thing {item}" for item in range(12))]))
    fit = ["fit", "--interactions", "did.csv", "--items", "items.csv", "--no-search", "--out", "artifact"]
    monkeypatch.setenv("WHYRANK_ARTIFACT", "artifact")

    def fitted(*more: str) -> str:
        done = CliRunner().invoke(app, [*fit, *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    def holding() -> list[Path]:
        files = [file for file in (tmp_path / "artifact").rglob("*") if file.is_file()]
        return [file for file in files if b"canary-81f3" in file.read_bytes()]

    fitted("--factors", "4")
    fitted("--factors", "5")
    assert len(list((tmp_path / "artifact").glob("build-*"))) == 2
    assert holding()
    assert "awaiting" in _run("forget", "canary-81f3")
    assert "earlier builds were removed" in fitted("--factors", "6")
    assert not holding()
    assert len(list((tmp_path / "artifact").glob("build-*"))) == 1
    assert "earlier builds" not in fitted("--factors", "7")
    assert len(list((tmp_path / "artifact").glob("build-*"))) == 2


def test_wrong_input_to_forget_is_named(store: Store, tmp_path: Path) -> None:
    for words, field in ((("forget", " "), "USER_ID"), (("forget", "u", "--in", "nowhere"), "--in")):
        error = CliRunner().invoke(app, ["events", *words]).exception
        assert getattr(error, "field", None) == field
    assert store.user_state("u").newer, "nothing was forgotten"


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
