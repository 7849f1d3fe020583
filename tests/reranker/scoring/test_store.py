import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from reranker import Memory
from reranker.scoring.store import kept_number, key


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Write lock of another process."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_first_value_stays_for_all_processes(tmp_path: Path) -> None:
    one, other = Memory(tmp_path / "reads.sqlite"), Memory(tmp_path / "reads.sqlite")
    assert await one.keep({b"a": "1"}) == {b"a": "1"}
    assert await other.keep({b"a": "2", b"b": "3"}) == {b"a": "1", b"b": "3"}
    assert await one.get([b"a", b"b", b"c"]) == {b"a": "1", b"b": "3"}
    assert await one.keep({b"a": "4"}, replace=True) == {b"a": "4"}
    assert await other.get([b"a"]) == {b"a": "4"}


async def test_first_value_stays_without_file() -> None:
    memory = Memory()
    assert await memory.keep({b"a": "1"}) == {b"a": "1"}
    assert await memory.keep({b"a": "2"}) == {b"a": "1"}
    assert await memory.keep({b"a": "3"}, replace=True) == {b"a": "3"}
    assert await memory.get([b"a", b"b"]) == {b"a": "3"}


async def test_many_keys(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    many = {key(number): str(number) for number in range(2000)}
    assert await memory.keep(many) == many


async def test_concurrent_writers_agree_on_the_first(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    answers = await asyncio.gather(*(memory.keep({b"a": str(number)}) for number in range(50)))
    assert {answer[b"a"] for answer in answers} == {"0"}


async def test_kill_during_write_leaves_file_intact(tmp_path: Path) -> None:
    path = tmp_path / "reads.sqlite"
    script = """
import asyncio, os, signal, sys
from pathlib import Path
from reranker import Memory
memory = Memory(Path(sys.argv[1]))
asyncio.run(memory.keep({b"kept": "1"}))
memory._file._connection.execute("INSERT INTO known (key, value) VALUES (?, ?)", (b"torn", "2"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert await Memory(path).get([b"kept", b"torn"]) == {b"kept": "1"}


@pytest.mark.parametrize("opened", [False, True], ids=["before it is opened", "while it is in use"])
async def test_damaged_file_is_moved_aside(tmp_path: Path, opened: bool) -> None:
    path = tmp_path / "reads.sqlite"
    memory = Memory(path)
    if opened:
        await memory.keep({key(number): "1" * 100 for number in range(2000)})
        memory.close()
        memory = Memory(path)
        await memory.get([key(0)])
    path.write_bytes(b"this is no database, and has never been one" * 10_000)
    for _ in range(2):
        await memory.keep({b"a": "1"})
        await memory.get([key(number) for number in range(2000)])
        memory._paused = -60.0
    assert await memory.keep({b"a": "1"}) == {b"a": "1"}
    assert (tmp_path / "reads.damaged").exists()
    assert await Memory(path).get([b"a"]) == {b"a": "1"}


async def test_read_only_folder_behaves_as_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file" / "reads.sqlite")
    assert await memory.keep({b"a": "1"}) == {b"a": "1"}
    assert await memory.get([b"a"]) == {}
    assert memory.failures == 2


async def test_locked_file_is_counted_and_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reads.sqlite"
    memory = Memory(path)
    await memory.keep({b"b": "2"})
    threads: set[int] = set()
    file = memory._file
    assert file is not None
    keep = file.keep

    def noted(values: Mapping[bytes, str], *, replace: bool) -> dict[bytes, str]:
        threads.add(threading.get_ident())
        return keep(values, replace=replace)

    monkeypatch.setattr(file, "keep", noted)
    with locked(path):
        for _ in range(20):
            assert await memory.keep({b"a": "1"}) == {b"a": "1"}
        assert await memory.get([b"b"]) == {b"b": "2"}, "reading goes on"
    assert memory.failures >= 1
    assert threads
    assert threading.get_ident() not in threads
    memory._paused = -60.0
    assert await memory.get([b"a"]) == {}
    assert await memory.keep({b"a": "1"}) == {b"a": "1"}
    assert await memory.get([b"a"]) == {b"a": "1"}, "and so does writing, afterwards"


async def test_file_locked_at_start_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "reads.sqlite"
    first = Memory(path)
    await first.keep({b"a": "1"})
    first.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    memory = Memory(path)
    assert await memory.get([b"a"]) == {}
    other.execute("ROLLBACK")
    other.close()
    assert await memory.get([b"a"]) == {b"a": "1"}
    assert not (tmp_path / "reads.damaged").exists()


async def test_closed_memory_is_empty(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    await memory.keep({b"a": "1"})
    memory.close()
    assert await memory.get([b"a"]) == {}


async def test_new_weights_under_old_name_are_noticed(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    first = await memory.model("m", "/models/m", (-1.0, -2.0, -3.0))
    assert await memory.model("m", "/models/m", (-1.02, -1.97, -3.03)) == first, "rounding"
    second = await memory.model("m", "/models/m", (-1.5, -2.6, -2.0))
    assert second != first
    assert await Memory(tmp_path / "reads.sqlite").model("m", "/models/m", (-1.5, -2.6, -2.01)) == second
    assert await memory.model("other", "/models/m", (-1.0, -2.0, -3.0)) not in (first, second)


async def test_fingerprints_of_unstable_server_are_bounded(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    for number in range(120):
        await memory.model("m", "m", (-float(number), -1.0))
    kept = await memory.get([key("weights", "m", "m")])
    assert len(kept[key("weights", "m", "m")]) < 2000
    assert len(memory._models) <= 50


async def test_invalid_fingerprints_are_ignored(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    await memory.keep({key("weights", "m", "m"): "[1, {}"})
    assert await memory.model("m", "m", (-1.0,)) == await memory.model("m", "m", (-1.0,))


def test_stored_numbers_are_parsed() -> None:
    assert kept_number("-1.5") == -1.5
    for text in ("", "x", "nan", "-inf", "1e999"):
        assert kept_number(text) is None


async def test_file_reveals_no_prompts(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    await memory.keep({key("weights", "A secret history", "A secret title"): "-1.0"})
    memory.close()
    assert b"secret" not in (tmp_path / "reads.sqlite").read_bytes()
