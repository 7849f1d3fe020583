"""The last minutes of the service."""

from pathlib import Path

from api.settings.model import Settings
from reranker import LlmSettings
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn


def test_the_last_minutes_are_counted(artifact_dir: Path, tmp_path: Path, standin: StandIn) -> None:
    store = {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"}
    settings = Settings.model_validate(
        {"artifact": artifact_dir, "llm": LlmSettings(weight=1.0, cache_dir=tmp_path), "store": store}
    )
    with client_of(settings, standin) as client:
        quiet = client.get("/v1/status").json()
        assert quiet["minutes"] == []
        assert quiet["llm"]["model"]
        assert quiet["prompts"]["rank"] >= 1
        assert client.post("/v1/recommendations", json={"user_id": "u0", "k": 2}).status_code == 200
        event = {"event_id": "1", "user_id": "u0", "event": "like", "item_id": "i0"}
        assert client.post("/v1/events", json={"events": [event]}).json()["counts"]["accepted"] == 1
        minutes = client.get("/v1/status").json()["minutes"]
        assert sum(one["answers"] for one in minutes) == 1
        assert sum(one["events"] for one in minutes) == 1
        assert sum(one["degraded"] for one in minutes) == 0
        answered = next(one for one in minutes if one["answers"])
        assert answered["p50_ms"] > 0
        assert answered["prompt_tokens"] > 0
    with client_of(settings, None) as client:
        assert client.get("/v1/status").json()["llm"] is None
