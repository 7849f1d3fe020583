"""Online experiments: stable assignment, in the answer and in the events' report."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api import Settings, create_app
from api.cli.main import app
from api.http.experiments import assign, assigned_prompt
from api.settings.experiments import OnlineExperiment
from reranker import EngineSettings, LlmSettings, PromptChoice
from retrieval import StoreSettings
from tests.api.process import wait_for
from tests.standin import StandIn

URL = "/v1/recommendations"
HALVES = {"reason@production": 0.5, "reason-zh@production": 0.5}
REASONS = OnlineExperiment(task="reason", shares=HALVES)


@pytest.fixture
def served(artifact_dir: Path, tmp_path: Path, standin: StandIn) -> Iterator[TestClient]:
    settings = Settings(
        artifact=artifact_dir,
        store=StoreSettings(url=f"sqlite:///{tmp_path / 'store.sqlite'}"),
        llm=LlmSettings(weight=1.0, cache_dir=tmp_path),
        experiments={"reasons": REASONS},
    )
    with TestClient(create_app(settings, EngineSettings(url=standin.url))) as client:
        yield client


def test_users_keep_their_version_and_shares_hold() -> None:
    given = [assigned_prompt("reasons", REASONS, f"user {number}") for number in range(4000)]
    assert Counter(given)["reason@production"] == pytest.approx(2000, abs=150)
    assert given[:50] == [assigned_prompt("reasons", REASONS, f"user {number}") for number in range(50)]
    uneven = OnlineExperiment(task="reason", shares={"reason@production": 0.9, "reason-zh@production": 0.1})
    moved = [assigned_prompt("reasons", uneven, f"user {number}") for number in range(4000)]
    assert not any(a == "reason@production" != b for a, b in zip(given, moved, strict=True)), (
        "none leaves the larger share"
    )
    other = [assigned_prompt("another", REASONS, f"user {number}") for number in range(4000)]
    agree = sum(a == b for a, b in zip(given, other, strict=True))
    assert agree == pytest.approx(2000, abs=150), "experiments are independent"
    none = OnlineExperiment(task="reason", shares={"reason@production": 1.0, "reason-zh@production": 0.0})
    assert {assigned_prompt("x", none, f"{number}") for number in range(500)} == {"reason@production"}


def test_who_is_not_part() -> None:
    experiments = {"reasons": REASONS}
    assert assign(experiments, None, PromptChoice()) == (PromptChoice(), {})
    named = PromptChoice(reason="reason@1")
    assert assign(experiments, "u", named) == (named, {})
    chosen, assigned = assign(experiments, "u", PromptChoice(rank="rank@1"))
    assert chosen == PromptChoice(rank="rank@1", reason=assigned["reasons"])


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        ({"task": "reason", "shares": {"reason@1": 0.5, "reason@2": 0.6}}, "sum to 1.1"),
        ({"task": "reason", "shares": {"reason@1": 1.0}}, "at least 2"),
        ({"task": "reason", "shares": {"reason@1": 0.5, "reason@draft": 0.5}}, "save it as a version"),
        ({"task": "reason", "shares": {"reason@1": -0.5, "reason@2": 1.5}}, "from 0 to 1"),
        ({"task": "reason", "shares": {"reason@1": 0.5, "../x": 0.5}}, "../x"),
        ({"task": "write", "shares": HALVES}, "reason"),
    ],
)
def test_wrong_experiments_are_refused(experiment: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate({"experiments": {"x": experiment}})


def test_two_experiments_for_one_prompt_are_refused() -> None:
    with pytest.raises(ValidationError, match="a and b both choose the reason prompt"):
        Settings(experiments={"a": REASONS, "b": REASONS})


def test_the_assignment_is_in_the_answer_and_in_the_report(
    served: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for user in ("u0", "u1", "u2", "u3", "u4", "u5"):
        event = {"event_id": f"v{user}", "user_id": user, "event": "view", "item_id": "i0"}
        served.post("/v1/events", json={"events": [event]})
        answer = served.post(URL, json={"user_id": user, "k": 2}).json()
        assert answer["experiments"]["reasons"].partition("@")[0] == answer["prompts"]["reason"]["name"]
        seen.add(answer["prompts"]["reason"]["name"])
        click = {
            "event_id": user,
            "user_id": user,
            "event": "click",
            "item_id": answer["items"][0]["item_id"],
            "recommendation_id": answer["recommendation_id"],
        }
        assert served.post("/v1/events", json={"events": [click]}).json()["counts"]["accepted"] == 1
    assert seen == {"reason", "reason-zh"}
    assert served.post(URL, json={"history": [], "k": 1}).json()["experiments"] == {}
    streamed = served.post(URL, json={"user_id": "u0", "k": 1, "stream": True}).text
    first = json.loads(next(line for line in streamed.splitlines() if line.startswith("data: "))[6:])
    assert set(first["experiments"]) == {"reasons"}
    monkeypatch.setenv("WHYRANK_STORE__URL", f"sqlite:///{tmp_path / 'store.sqlite'}")

    def reported() -> Any:
        return json.loads(CliRunner().invoke(app, ["events", "report", "--json"]).stdout)

    wait_for(lambda: reported()["answers"] >= 6)
    rows = {row["value"]: row for row in reported()["rows"] if row["by"] == "experiment"}
    assert set(rows) == {f"reasons: {prompt}" for prompt in HALVES}
    assert sum(row["users"] for row in rows.values()) >= 6
    assert all(row["clicks"]["rate"] > 0 for row in rows.values())
    text = CliRunner().invoke(app, ["events", "report"]).stdout
    assert "reasons: reason@production" in text
    assert not any(user in text for user in ("u0 ", "u1 "))
