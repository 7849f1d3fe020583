import sqlite3
import subprocess
import sys
from pathlib import Path

from reranker import Memory
from reranker.memory import key


def test_the_first_value_stays_for_every_process(tmp_path: Path) -> None:
    one, other = Memory(tmp_path / "reads.sqlite"), Memory(tmp_path / "reads.sqlite")
    assert one.keep({b"a": "1"}) == {b"a": "1"}
    assert other.keep({b"a": "2", b"b": "3"}) == {b"a": "1", b"b": "3"}
    assert one.get([b"a", b"b", b"c"]) == {b"a": "1", b"b": "3"}
    assert one.keep({b"a": "4"}, replace=True) == {b"a": "4"}


def test_many_keys(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    many = {key(number): str(number) for number in range(2000)}
    assert memory.keep(many) == many


def test_a_process_that_is_killed_while_it_writes_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "reads.sqlite"
    script = """
import os, signal
import sys
from pathlib import Path
from reranker import Memory
memory = Memory(Path(sys.argv[1]))
memory.keep({b"kept": "1"})
memory._connection.execute("INSERT INTO known (key, value) VALUES (?, ?)", (b"torn", "2"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert Memory(path).get([b"kept", b"torn"]) == {b"kept": "1"}


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "reads.sqlite"
    path.write_bytes(b"this is no database, and has never been one" * 100)
    memory = Memory(path)
    assert memory.keep({b"a": "1"}) == {b"a": "1"}
    assert (tmp_path / "reads.damaged").exists()
    assert Memory(path).get([b"a"]) == {b"a": "1"}


def test_a_folder_that_cannot_be_written_is_a_memory_that_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file" / "reads.sqlite")
    assert memory.keep({b"a": "1"}) == {b"a": "1"}


def test_a_locked_file_fails_no_read(tmp_path: Path) -> None:
    path = tmp_path / "reads.sqlite"
    memory = Memory(path)
    memory._connection.execute("PRAGMA busy_timeout=10")
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert memory.keep({b"a": "1"}) == {b"a": "1"}
    assert memory.get([b"a"]) == {}


def test_new_weights_under_an_old_name_are_noticed(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    first = memory.model("m", "/models/m", (-1.0, -2.0, -3.0))
    assert memory.model("m", "/models/m", (-1.02, -1.97, -3.03)) == first, "rounding"
    second = memory.model("m", "/models/m", (-1.5, -2.6, -2.0))
    assert second != first
    assert Memory(tmp_path / "reads.sqlite").model("m", "/models/m", (-1.5, -2.6, -2.01)) == second
    assert memory.model("other", "/models/m", (-1.0, -2.0, -3.0)) not in (first, second)


def test_nothing_that_was_asked_can_be_read_in_the_file(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "reads.sqlite")
    memory.keep({key("weights", "A secret history", "A secret title"): "-1.0"})
    memory.close()
    assert b"secret" not in (tmp_path / "reads.sqlite").read_bytes()
