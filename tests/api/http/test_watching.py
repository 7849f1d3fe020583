"""Background tasks continue after an error in one round, and report it."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from api.http.state import Service
from api.http.watching import Watching
from retrieval import current_build
from tests.api.http.test_reload import mine, refit, reloading
from tests.api.process import wait_for

__all__ = ["mine", "reloading"]  # fixtures

URL = "/v1/recommendations"


def state(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def problems(client: TestClient) -> list[str]:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    found: list[str] = answer.json()["problems"]
    return found


class Panic(BaseException):
    """An error as native code raises it."""


@pytest.mark.parametrize("raised", [RuntimeError, MemoryError, StopIteration, UnicodeDecodeError, Panic])
def test_an_unforeseen_error_is_counted_logged_once_and_shown_until_a_round_succeeds(raised: type) -> None:
    counted: list[str] = []
    watching = Watching(counted.append)
    error = raised("utf-8", b"", 0, 1, "secret") if raised is UnicodeDecodeError else raised("secret")

    def one_round(*, fail: bool) -> None:
        with watching.round("artifact"):
            if fail:
                raise error

    with capture_logs() as logged:
        for _ in range(500):
            one_round(fail=True)
    assert counted == ["artifact"] * 500
    assert [entry["event"] for entry in logged] == ["watch_error"]
    assert any("test_watching.py" in place for place in logged[0]["places"])
    assert "secret" not in str(logged)
    assert raised.__name__ in watching.problems()[0]
    one_round(fail=False)
    assert watching.problems() == []


@pytest.mark.parametrize("ends", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_a_watcher_ends_it(ends: type[BaseException]) -> None:
    watching = Watching()
    with pytest.raises(ends), watching.round("artifact"):
        raise ends
    assert watching.problems() == []


def test_the_artifact_watcher_survives_what_nobody_foresaw(
    reloading: TestClient, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, went_wrong = state(reloading), threading.Event()

    def fail() -> None:
        went_wrong.set()
        raise RuntimeError

    monkeypatch.setattr(service, "_newest", fail)
    wait_for(lambda: any("RuntimeError" in problem for problem in problems(reloading)))
    assert went_wrong.is_set()
    assert 'whyrank_watch_errors_total{watcher="artifact"}' in reloading.get("/metrics").text
    monkeypatch.undo()
    refit(mine, "songs")
    wait_for(lambda: service.recommender.retriever.manifest.noun == "songs")
    wait_for(lambda: problems(reloading) == [])


@pytest.mark.parametrize("content", [b"", b"../../etc", b"\xff\xfe", b"build-0123456789abcdef", b"x" * 100_000])
def test_a_broken_pointer_is_told_and_the_next_fit_is_taken_up(
    reloading: TestClient, mine: Path, content: bytes
) -> None:
    (mine / "CURRENT").write_bytes(content)
    wait_for(lambda: any("an older artifact is in use" in problem for problem in problems(reloading)))
    assert reloading.post(URL, json={"user_id": "u0", "k": 1}).status_code == 200
    refit(mine, "songs")
    wait_for(lambda: problems(reloading) == [])
    assert state(reloading).recommender.retriever.manifest.noun == "songs"


def test_a_build_that_is_overwritten_in_place_is_told_and_goes_on_serving(reloading: TestClient, mine: Path) -> None:
    before = reloading.post(URL, json={"user_id": "u0", "k": 5}).json()["items"]
    folder = mine / str(current_build(mine))
    contents = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for file in contents:
        os.truncate(file, 0)
    wait_for(lambda: any("have changed on disk" in problem for problem in problems(reloading)))
    for user in ("u0", "u1", "nobody"):
        assert reloading.post(URL, json={"user_id": user, "k": 5, "query": "story"}).status_code == 200
    assert reloading.post(URL, json={"user_id": "u0", "k": 5}).json()["items"] == before
    for file, content in contents.items():
        file.write_bytes(content)
    wait_for(lambda: problems(reloading) == [])


def test_readiness_survives_a_probe_that_fails(reloading: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    service = state(reloading)

    async def fail() -> bool:
        raise RuntimeError

    assert service.engine is not None
    monkeypatch.setattr(service.engine, "healthy", fail)
    monkeypatch.setattr(service.library, "problems", lambda: 1 / 0)
    answer = reloading.get("/health/ready")
    assert (answer.status_code, answer.json()["llm"]) == (200, "down")
    assert any("readiness" in problem for problem in problems(reloading))
    assert any("prompts" in problem for problem in problems(reloading))
