"""Batches: every request gets a row, finished shards are kept, and a run is published as a whole or not at all."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from prompts import PromptLibrary
from reranker import (
    BatchError,
    BatchFolder,
    BatchJob,
    BatchOutcome,
    EngineSettings,
    LlmSettings,
    LocalPool,
    RecommendationRequest,
    Recommender,
    Scope,
    changed_users,
    estimate_batch,
    pin_prompts,
    requests_scope,
    run_batch,
    users_scope,
)
from reranker.batch.executors import Partition, Pool
from reranker.batch.worker import PartitionWorker
from retrieval import Artifact, InputError, Retriever, load
from tests.standin import StandIn

ASKED = RecommendationRequest(user_id="user", k=3, deadline_ms=60_000)


class OneProcess:
    """Answers partitions in this process, and may stop after some of them as a killed batch does."""

    def __init__(self, die_after: int | None = None) -> None:
        self.answered = list[int]()
        self._die_after = die_after

    def run(
        self, job: BatchJob, partitions: Iterable[Partition], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        with PartitionWorker(job) as worker:
            for number, entries in partitions:
                if stop() or len(self.answered) == self._die_after:
                    return
                self.answered.append(number)
                yield number, worker(entries)


@pytest.fixture(scope="module")
def artifact(artifact_dir: Path) -> Artifact:
    return load(artifact_dir)


@pytest.fixture
def job(artifact_dir: Path, artifact: Artifact, tmp_path: Path) -> BatchJob:
    return BatchJob(
        artifact=artifact_dir,
        build=artifact.manifest.name,
        fit=None,
        prompts_dir=None,
        llm=LlmSettings(cache_dir=tmp_path / "cache"),
        engine=None,
        concurrency=4,
    )


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    return BatchFolder(tmp_path / "out")


def run(
    folder: BatchFolder, job: BatchJob, scope: Scope, artifact: Artifact, pool: Pool, **more: object
) -> BatchOutcome:
    with folder.locked():
        return run_batch(folder, job, scope, artifact, pool, shard_rows=2, **more)  # type: ignore[arg-type]


def rows(folder: BatchFolder, outcome: BatchOutcome) -> pl.DataFrame:
    return pl.read_parquet(folder.path / outcome.run / "*.parquet").sort("row")


def test_every_user_gets_the_answer_of_the_pipeline(
    folder: BatchFolder, job: BatchJob, artifact: Artifact, tmp_path: Path
) -> None:
    users = artifact.user_ids[:5]
    outcome = run(folder, job, users_scope(users, ASKED), artifact, OneProcess())
    assert outcome.manifest is not None
    assert folder.current() == outcome.manifest
    assert outcome.manifest.rows == 5
    recommender = Recommender(Retriever(artifact), None, PromptLibrary(), job.llm)
    for user, row in zip(users, rows(folder, outcome).iter_rows(named=True), strict=True):
        answer = asyncio.run(recommender.recommend(replace(ASKED, user_id=user)))
        assert row["user_id"] == user
        assert [item["item_id"] for item in row["items"]] == [item.item_id for item in answer.items]
        assert [item["reason"] for item in row["items"]] == [item.reason and item.reason.text for item in answer.items]
        assert row["artifact"] == artifact.manifest.name


def test_an_unknown_user_gets_popular_items_and_a_notice(
    folder: BatchFolder, job: BatchJob, artifact: Artifact
) -> None:
    scope = users_scope([artifact.user_ids[0], "nobody"], ASKED)
    outcome = run(folder, job, scope, artifact, OneProcess())
    known, unknown = rows(folder, outcome).iter_rows(named=True)
    assert known["notices"] == []
    assert unknown["notices"] == ["unknown_user"]
    assert unknown["ranker"] == "popular"
    assert outcome.counts.notices == {"unknown_user": 1}


def test_a_request_that_cannot_be_answered_is_a_row_with_an_error(
    folder: BatchFolder, job: BatchJob, artifact: Artifact
) -> None:
    scope = users_scope(artifact.user_ids[:2], replace(ASKED, filter={"no such attribute": "x"}))
    outcome = run(folder, job, scope, artifact, OneProcess())
    assert set(rows(folder, outcome)["error_code"]) == set(outcome.counts.errors)
    assert sum(outcome.counts.errors.values()) == 2
    assert all("no such attribute" in message for message in rows(folder, outcome)["error"])


def test_a_batch_goes_on_where_it_was_stopped(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:6], ASKED)
    first = OneProcess(die_after=1)
    stopped = run(folder, job, scope, artifact, first)
    assert stopped.manifest is None
    assert folder.current() is None
    second = OneProcess()
    outcome = run(folder, job, scope, artifact, second)
    assert (first.answered, second.answered) == ([0], [1, 2])
    assert rows(folder, outcome)["user_id"].to_list() == list(artifact.user_ids[:6])


def test_a_shard_that_cannot_be_read_is_written_anew(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:4], ASKED)
    stopped = run(folder, job, scope, artifact, OneProcess(die_after=1))
    (folder.path / stopped.run / "shard-00000.parquet").write_bytes(b"PAR1")
    outcome = run(folder, job, scope, artifact, OneProcess())
    assert rows(folder, outcome)["user_id"].to_list() == list(artifact.user_ids[:4])


def test_other_requests_are_another_run_and_the_two_newest_runs_are_kept(
    folder: BatchFolder, job: BatchJob, artifact: Artifact
) -> None:
    runs = [
        run(folder, job, users_scope(artifact.user_ids[:2], replace(ASKED, k=k)), artifact, OneProcess()).run
        for k in (1, 2, 3)
    ]
    assert len(set(runs)) == 3
    assert {path.name for path in folder.path.glob("run-*")} == set(runs[1:])


def test_a_time_limit_keeps_what_is_finished(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:4], ASKED)
    outcome = run(folder, job, scope, artifact, OneProcess(), max_seconds=0)
    assert (outcome.rows, outcome.total, outcome.manifest) == (0, 4, None)


def test_a_worker_that_is_killed_loses_nothing(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    killed = list[int]()

    def kill_one(done: int) -> None:
        if done and not killed:
            victim = multiprocessing.active_children()[0]
            victim.kill()
            killed.append(victim.pid or 0)

    scope = users_scope(artifact.user_ids[:8], ASKED)
    outcome = run(folder, job, scope, artifact, LocalPool(1), progress=kill_one)
    assert killed
    assert rows(folder, outcome)["user_id"].to_list() == list(artifact.user_ids[:8])
    assert outcome.manifest is not None


def test_a_batch_without_its_llm_is_not_published(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    scope = users_scope(artifact.user_ids[:4], ASKED)
    dead = job.model_copy(update={"engine": EngineSettings(url="http://127.0.0.1:9", retries=0)})
    outcome = run(folder, dead, scope, artifact, OneProcess(), max_degraded=0.1)
    assert outcome.manifest is None
    assert outcome.counts.degraded_rows == 4
    assert "rank:llm_unavailable" in outcome.counts.degraded
    assert folder.shards(outcome.run) == {}
    accepted = run(folder, dead, scope, artifact, OneProcess(), max_degraded=1.0)
    assert accepted.manifest is not None


def test_the_llm_ranks_and_writes(folder: BatchFolder, job: BatchJob, artifact: Artifact, standin: StandIn) -> None:
    with_llm = job.model_copy(update={"engine": EngineSettings(url=standin.url)})
    scope = users_scope(artifact.user_ids[:4], pin_prompts(ASKED, PromptLibrary()))
    outcome = run(folder, with_llm, scope, artifact, OneProcess())
    table = rows(folder, outcome)
    assert set(table["ranker"]) == {"fused"}
    assert outcome.counts.prompt_tokens > 0
    assert outcome.counts.degraded_rows == 0
    production = PromptLibrary().get("rank").reference
    assert set(table["rank_prompt"]) == {production}
    estimate = estimate_batch(with_llm, scope, measured=2, workers=1)
    assert (estimate.rows, estimate.measured) == (4, 2)
    assert estimate.seconds > 0


def test_users_without_new_events_keep_their_rows(folder: BatchFolder, job: BatchJob, artifact: Artifact) -> None:
    users = artifact.user_ids[:5]
    before = run(folder, job, users_scope(users, ASKED), artifact, OneProcess())
    old = rows(folder, before)
    newer = users_scope(users[:2], replace(ASKED, k=1), kind="changed")
    outcome = run(folder, job, newer, artifact, OneProcess(), changed_since=1)
    table = rows(folder, outcome).sort("user_id")
    assert table["user_id"].to_list() == sorted(users)
    assert outcome.manifest is not None
    assert (outcome.manifest.rows, outcome.manifest.carried) == (2, 3)
    counts = {row["user_id"]: len(row["items"]) for row in table.iter_rows(named=True)}
    expected = {row["user_id"]: len(row["items"]) for row in old.iter_rows(named=True)}
    assert counts == expected | dict.fromkeys(users[:2], 1)


def test_forgotten_users_and_withdrawn_items_are_left_out(
    folder: BatchFolder, job: BatchJob, artifact: Artifact
) -> None:
    users = artifact.user_ids[:3]
    before = run(folder, job, users_scope(users, ASKED), artifact, OneProcess())
    shown = {item["item_id"] for row in rows(folder, before).iter_rows(named=True) for item in row["items"]}
    hidden = frozenset(sorted(shown)[:2])
    asked = users_scope(users[:2], replace(ASKED, withdrawn=hidden), forgotten={users[0]})
    outcome = run(folder, job, asked, artifact, OneProcess(), changed_since=1, forgotten={users[2]})
    found = {row["user_id"]: row for row in rows(folder, outcome).iter_rows(named=True)}
    assert set(found) == set(users[:2])
    assert found[users[0]]["ranker"] == "popular"
    assert not hidden & {item["item_id"] for row in found.values() for item in row["items"]}


def test_users_with_newer_events_are_found(artifact: Artifact) -> None:
    times = np.arange(len(artifact.log.timestamps)) + 1000  # the log is grouped by user
    with_times = replace(artifact, log=replace(artifact.log, timestamps=times))
    last = int(artifact.log.indptr[-2])
    assert changed_users(with_times, 1000) == list(artifact.user_ids)
    assert changed_users(with_times, 1000 + last) == [artifact.user_ids[-1]]
    assert changed_users(with_times, 1000 + last - 1) == list(artifact.user_ids[-2:])
    without = replace(artifact, log=replace(artifact.log, timestamps=np.zeros_like(times)))
    with pytest.raises(InputError, match="no times"):
        changed_users(without, 0)


def test_a_line_that_cannot_be_read_is_a_row_with_an_error(
    folder: BatchFolder, job: BatchJob, artifact: Artifact, tmp_path: Path
) -> None:
    def parse(line: bytes) -> tuple[str | None, RecommendationRequest]:
        if line == b"bad":
            raise InputError("is bad", field="k", code="invalid_field")
        return line.decode(), replace(ASKED, user_id=line.decode())

    file = tmp_path / "requests.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + artifact.user_ids[0].encode() + b"\r\n\nbad\n" + artifact.user_ids[1].encode())
    outcome = run(folder, job, requests_scope(file, parse, default=ASKED), artifact, OneProcess())
    first, bad, last = rows(folder, outcome).iter_rows(named=True)
    assert (first["request_id"], last["request_id"]) == tuple(artifact.user_ids[:2])
    assert bad["error_code"] == "invalid_field"
    assert bad["error"].startswith("line 3: ")


@pytest.mark.parametrize("content", [b"", b"\n\n", None])
def test_a_file_without_requests_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "requests.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        requests_scope(file, lambda line: (None, ASKED), default=ASKED)
    assert refused.value.field == "--requests"


def test_a_folder_with_other_files_is_refused(folder: BatchFolder) -> None:
    folder.path.mkdir()
    (folder.path / "sales.parquet").touch()
    with pytest.raises(BatchError, match=r"sales\.parquet"), folder.locked():
        pass


def test_two_batches_do_not_share_a_folder(folder: BatchFolder) -> None:
    with folder.locked(), pytest.raises(BatchError, match="another batch"), BatchFolder(folder.path).locked():
        pass


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(BatchError, match="cannot be written"), BatchFolder(tmp_path / "out").locked():
        pass
