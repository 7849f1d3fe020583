"""``whyrank batch`` in its own process."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.api.process import whyrank
from tests.standin import StandIn


def manifest(folder: Path) -> dict[str, object]:
    run = (folder / "out" / "CURRENT").read_text().strip()
    read: dict[str, object] = json.loads((folder / "out" / run / "manifest.json").read_text())
    return read


def rows(folder: Path) -> list[dict[str, object]]:
    run = (folder / "out" / "CURRENT").read_text().strip()
    return pl.read_parquet(folder / "out" / run / "*.parquet").sort("row").to_dicts()


def test_all_users_with_the_llm(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": standin.url}
    done = whyrank("batch", "-o", "out", "-k", "2", "--shard-rows", "10", "--json", folder=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == manifest(tmp_path)
    assert told["rows"] == 24
    assert [shard["rows"] for shard in told["shards"]] == [10, 10, 4]
    assert {row["ranker"] for row in rows(tmp_path)} == {"fused"}


def test_named_users_and_a_second_batch(artifact_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("u3\nu1\n\nu3\n")
    arguments = ("batch", "-o", "out", "--no-llm", "--processes", "1", "--users", "users.txt")
    done = whyrank(*arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0, done.stderr
    assert "1 users more than once" in " ".join(done.stderr.split())
    assert [row["user_id"] for row in rows(tmp_path)] == ["u3", "u1"]
    first = manifest(tmp_path)
    again = whyrank(*arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert again.returncode == 0, again.stderr
    assert manifest(tmp_path)["run"] == first["run"]


def test_requests_of_the_api(artifact_dir: Path, tmp_path: Path) -> None:
    lines = [
        {"request_id": "a", "user_id": "u1", "k": 1},
        {"request_id": "b", "query": "odd kilo", "reasons": False},
        {"request_id": "c", "user_id": "u1", "kk": 1},
        {"request_id": "d", "user_id": "u1", "stream": True},
        {"request_id": 5, "user_id": "u1"},
    ]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nno json\n[]\n")
    arguments = ("batch", "-o", "out", "--no-llm", "--processes", "1", "--requests", "asked.jsonl", "-k", "3")
    done = whyrank(*arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path)
    assert [row["request_id"] for row in found[:2]] == ["a", "b"]
    assert [len(row["items"]) for row in found[:2]] == [1, 3]  # type: ignore[arg-type]
    errors = [str(row["error"]) for row in found[2:]]
    assert [error.split(":")[0] for error in errors] == [f"line {number}" for number in range(3, 8)]
    assert "Did you mean 'k'?" in errors[0]
    assert "stream" in errors[1]
    assert "request_id" in errors[2]
    assert "not JSON" in errors[3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--users", "none.txt"), "--users: none.txt cannot be read"),
        (("--users", "empty.txt"), "--users: empty.txt holds no id"),
        (("--users", "empty.txt", "--changed-since", "2026-01-01"), "exclude one another"),
        (("--changed-since", "yesterday"), "--changed-since: 'yesterday' is no time"),
        (("--changed-since", "2026-01-01"), "--changed-since: there is no finished batch"),
        (("-k", "0"), "k: must be"),
        (("--filter", "["), "--filter: is not JSON"),
    ],
)
def test_wrong_arguments(artifact_dir: Path, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "empty.txt").touch()
    done = whyrank("batch", "-o", "out", "--no-llm", *arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_an_estimate_writes_nothing(artifact_dir: Path, tmp_path: Path) -> None:
    done = whyrank("batch", "-o", "out", "--no-llm", "--estimate", folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0, done.stderr
    assert "24 requests: about" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_batch_without_its_llm_fails_the_check(artifact_dir: Path, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": "http://127.0.0.1:9"}
    done = whyrank("batch", "-o", "out", folder=tmp_path, **environment)
    assert done.returncode == 3
    assert "was not published" in " ".join(done.stderr.split())
    assert not (tmp_path / "out" / "CURRENT").exists()


def test_workers_on_ray(artifact_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "retrieval").mkdir()
    (tmp_path / "retrieval" / "__init__.py").write_text("raise RuntimeError('a folder of ours')")
    arguments = ("batch", "-o", "out", "--no-llm", "--processes", "2", "--engine", "ray", "--shard-rows", "10")
    done = whyrank(*arguments, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path)) == 24
    for wrong, says in (
        (("--address", "ray://localhost:1"), "no Ray cluster answers"),
        (("--engine", "spark"), "spark"),
    ):
        refused = whyrank(*arguments, *wrong, folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
        assert refused.returncode in (1, 2), refused.stderr
        assert says in refused.stderr
        assert "Traceback" not in refused.stderr
    unused = whyrank("batch", "-o", "out", "--address", "auto", folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert unused.returncode == 2
    assert "--engine ray" in unused.stderr
