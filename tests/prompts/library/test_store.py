import json
import os
from pathlib import Path

import pytest

from prompts.library import store
from prompts.library.store import Change, changes, file_stamp, log, now, read_table, write_atomically, write_table


def change(name: str) -> Change:
    return Change.model_validate({"when": now(), "who": "ann", "action": "save", "name": name, "from": 1, "to": 2})


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jinja"
    write_atomically(file, "one\r\n")
    before = file_stamp(file)
    write_atomically(file, "two\r\n")
    assert file.read_bytes() == b"two\r\n"
    assert file_stamp(file) != before
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jinja"
    write_atomically(file, "one")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(file, "two")
    assert file.read_text() == "one"
    assert list(tmp_path.iterdir()) == [file]


def test_tables_round_trip_and_an_absent_one_is_empty(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", {"b": {"production": 2}, "a": {}})
    assert read_table(tmp_path / "t.json") == {"a": {}, "b": {"production": 2}}
    assert read_table(tmp_path / "none.json") == {}
    assert file_stamp(tmp_path / "none.json") is None


def test_the_log_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    log(tmp_path, change("one"))
    with (tmp_path / store.AUDIT).open("a") as stream:
        stream.write('{"when": "2026')
    log(tmp_path, change("two"))
    assert [one.name for one in changes(tmp_path)] == ["one", "two"]
    last = json.loads((tmp_path / store.AUDIT).read_text().splitlines()[-1])
    assert (last["who"], last["action"], last["from"], last["to"]) == ("ann", "save", 1, 2)
    assert last["when"].endswith("Z")


def test_no_log_is_no_change(tmp_path: Path) -> None:
    assert changes(tmp_path) == []
