"""Comparisons of prompts over HTTP. tests/live runs a whole one; here is what surrounds it."""

import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.settings.model import Settings
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn

URL = "/v1/experiments"
WANTED = {"baseline": "rank@1", "candidate": "rank@2", "users": 10}


@pytest.fixture
def admin(settings: Settings, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    # The comparison runs in a process of its own, with the service's environment.
    monkeypatch.setenv("WHYRANK_ARTIFACT", str(settings.artifact))
    monkeypatch.setenv("WHYRANK_LLM__URL", standin.url)
    with client_of(settings, standin) as client:
        yield client


def ended(admin: TestClient, name: str) -> dict[str, object]:
    until = time.monotonic() + 120
    while (found := admin.get(f"{URL}/{name}").json())["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.2)
    return dict(found)


@pytest.mark.parametrize(
    ("changed", "field", "problem"),
    [
        ({"candidate": "rank@99"}, "candidate", "unknown-template"),
        ({"baseline": "nosuch"}, "baseline", "unknown-template"),
        ({"candidate": "reason"}, "candidate", "wrong-task"),
        ({"candidate": "rank@1"}, "candidate", "same-prompt"),
        ({"users": 3}, "users", "invalid-field"),
        ({"margin": 2}, "margin", "invalid-field"),
        ({"surprise": 1}, "surprise", "unknown-field"),
    ],
)
def test_wrong_input_starts_nothing(admin: TestClient, changed: dict[str, object], field: str, problem: str) -> None:
    refused = admin.post(URL, json=WANTED | changed)
    assert refused.status_code == 422
    assert refused.json()["type"] == f"/problems/{problem}#{field}"
    assert admin.get(URL).json() == {"experiments": []}


def test_a_comparison_that_fails_says_why(admin: TestClient) -> None:
    started = admin.post(URL, json=WANTED)
    assert started.status_code == 201
    name = started.json()["id"]
    assert started.json()["state"] == "running"
    assert started.json()["asked"] == WANTED | {"candidates": 20, "margin": 0.02, "fused": False, "max_minutes": None}
    second = admin.post(URL, json=WANTED)
    assert (second.status_code, second.json()["type"]) == (409, "/problems/experiment-running")
    found = ended(admin, name)  # the checkerboard has too few users to hold any out
    assert found["state"] == "failed"
    assert "whyrank:" in str(found["problem"])
    assert admin.get(f"{URL}/{name}/report").json()["type"] == "/problems/not-done#experiment_id"
    assert admin.get(f"{URL}/{name}/page").status_code == 404
    assert [one["id"] for one in admin.get(URL).json()["experiments"]] == [name]


def test_a_comparison_can_be_stopped(admin: TestClient) -> None:
    name = admin.post(URL, json=WANTED).json()["id"]
    stopped = admin.post(f"{URL}/{name}/stop")
    assert stopped.json()["state"] == "stopped"
    assert stopped.json()["problem"] is None
    assert admin.post(URL, json=WANTED).status_code == 201, "another one may run"


def test_several_processes_of_the_service_see_one_comparison(
    admin: TestClient, settings: Settings, standin: StandIn
) -> None:
    name = admin.post(URL, json=WANTED).json()["id"]
    with client_of(settings, standin) as other:
        assert other.get(f"{URL}/{name}").json()["state"] == "running"
        assert other.post(URL, json=WANTED).status_code == 409
        assert other.post(f"{URL}/{name}/stop").json()["state"] == "stopped"
    assert admin.get(f"{URL}/{name}").json()["state"] == "stopped"


@pytest.mark.parametrize("name", ["nosuch", "20260101-000000-abcdef", "..%2f..%2fetc", "20260101-000000-abcdef%2f.."])
def test_there_is_nothing_of_another_name(admin: TestClient, name: str) -> None:
    assert admin.get(f"{URL}/{name}").status_code == 404
    assert admin.get(f"{URL}/{name}/report").status_code == 404
    assert admin.post(f"{URL}/{name}/stop").status_code in (404, 405)
