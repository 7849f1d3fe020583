"""The same batch on Ray: a real cluster of one node, with two CPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from reranker import BatchError, BatchFolder, BatchJob, BatchOutcome, LocalPool, RayPool, users_scope
from reranker.batch.executors import Pool
from retrieval import Artifact
from tests.reranker.batch.test_batch import ASKED, artifact, folder, job, rows, run

__all__ = ["artifact", "folder", "job"]


def facts(folder: BatchFolder, outcome: BatchOutcome) -> pl.DataFrame:
    """The rows of a finished batch, without times."""
    table = rows(folder, outcome)
    return table.drop([name for name in table.columns if name.endswith("_ms") or name == "request_id"])


def test_the_same_rows_as_the_local_pool(job: BatchJob, artifact: Artifact, tmp_path: Path) -> None:
    scope = users_scope(artifact.user_ids[:12], ASKED)
    pools: dict[str, Pool] = {"local": LocalPool(1), "ray": RayPool(2)}
    tables = []
    for name, pool in pools.items():
        own = BatchFolder(tmp_path / name)
        outcome = run(own, job, scope, artifact, pool)
        assert outcome.manifest is not None
        tables.append(facts(own, outcome).sort("user_id"))
    assert tables[0].equals(tables[1])


def test_a_worker_that_is_killed_loses_nothing(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    killed = list[int]()

    def kill_one(done: int) -> None:
        if done and not killed:
            found = subprocess.run(["pgrep", "-f", "ray::_Worker"], capture_output=True, text=True, check=False)  # noqa: S607
            for pid in map(int, found.stdout.split()):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    scope = users_scope(artifact.user_ids[:12], ASKED)
    outcome = run(folder, job, scope, artifact, RayPool(2), progress=kill_one)
    assert killed
    assert rows(folder, outcome)["user_id"].to_list() == list(artifact.user_ids[:12])
    assert outcome.manifest is not None


def test_it_stops_between_shards(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:12], ASKED)
    stopped = run(folder, job, scope, artifact, RayPool(2), max_seconds=0)
    assert (stopped.rows, stopped.manifest) == (0, None)
    assert run(folder, job, scope, artifact, RayPool(2)).manifest is not None


def test_an_address_that_is_none(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:4], ASKED)
    with pytest.raises(BatchError, match="no Ray cluster answers at 'nonsense'") as raised:
        run(folder, job, scope, artifact, RayPool(1, "nonsense"))
    assert raised.value.field == "--address"


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BatchError, match="not installed") as raised:
        RayPool(1)
    assert raised.value.remedy == "Install it: pip install 'whyrank[ray]'"
