"""A blind choice over HTTP: the sides are random, and nothing tells which is which before the choice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.settings.model import Settings
from reranker import LlmSettings
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn

URL = "/v1/choices"
BOTH = {"first": "reason@2", "second": "reason@3"}


@pytest.fixture
def admin(artifact_dir: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        artifact=artifact_dir, prompts_dir=tmp_path / "prompts", llm=LlmSettings(cache_dir=tmp_path), runs=tmp_path
    )
    with StandIn() as standin, client_of(settings, standin) as client:
        # Without this the two templates write the same: what the stand-in writes does not depend on the prompt.
        source = client.get("/v1/prompts/reason").json()["source"].replace("As you", "Seeing that you")
        client.post("/v1/prompts/reason", json={"source": source})
        yield client


def test_a_choice_is_counted_and_then_the_sides_are_told(admin: TestClient) -> None:
    pair = admin.post(f"{URL}/pairs", json={**BOTH, "user_id": "u0"}).json()
    assert set(pair) == {"pair_id", "history", "items"}
    assert pair["history"]
    for item in pair["items"]:
        assert set(item) == {"title", "left", "right"}
        assert item["left"] != item["right"]
    chosen = admin.post(URL, json={"pair_id": pair["pair_id"], "choice": "left", "who": "Ann"}).json()
    assert {chosen["left"], chosen["right"]} == set(BOTH.values())
    counted = chosen["tally"]["first" if chosen["left"] == BOTH["first"] else "second"]
    assert counted == 1
    assert admin.get(URL, params=BOTH).json() == chosen["tally"]
    again = admin.post(URL, json={"pair_id": pair["pair_id"], "choice": "left"})
    assert (again.status_code, again.json()["type"]) == (404, "/problems/unknown-pair#pair_id")


def test_both_sides_occur(admin: TestClient) -> None:
    lefts = set()
    for _ in range(20):
        pair = admin.post(f"{URL}/pairs", json={**BOTH, "k": 1}).json()
        lefts.add(admin.post(URL, json={"pair_id": pair["pair_id"], "choice": "none"}).json()["left"])
    assert lefts == set(BOTH.values())
    assert admin.get(URL, params=BOTH).json()["ties"] == 20


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"second": "rank"}, "wrong-task#second"),
        ({"second": "reason@99"}, "unknown-template#second"),
        ({"second": "reason@2"}, "same-prompt#second"),
        ({"user_id": "nobody"}, "unknown-user#user_id"),
    ],
)
def test_wrong_input_is_refused(admin: TestClient, changed: dict[str, str], problem: str) -> None:
    refused = admin.post(f"{URL}/pairs", json=BOTH | changed)
    assert refused.status_code in (404, 422)
    assert refused.json()["type"] == f"/problems/{problem}"
