"""Planted ids, e-mail addresses and keys reach no prompt, log, metric, report or error."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from retrieval import Store
from tests.api.process import serving, wait_for, whyrank
from tests.standin import StandIn

USER = "canary-user-81f3@mail.example"
VISITOR = "canary-visitor-5a90"
EVENT = "canary-event-77c1"
CANARIES = (USER, VISITOR, EVENT, "canary")


def sent_to_the_llm(standin: StandIn) -> str:
    """Everything that the LLM was sent, token ids as the texts that they stand for."""
    told = []
    for _, body in standin.requests:
        prompt = body.get("prompt", [])
        if isinstance(prompt, list):
            flat = [one for part in prompt for one in (part if isinstance(part, list) else [part])]
            told.append("".join(chr(one) for one in flat if isinstance(one, int) and one < 0x110000))
        told.append(json.dumps(body, ensure_ascii=False))
    return "\n".join(told)


@pytest.fixture
def asked(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> dict[str, Any]:
    """A service that was sent canaries in every place where ids go, rightly and wrongly, and what came of it."""
    store = tmp_path / "store.sqlite"
    settings = {
        "WHYRANK_ARTIFACT": str(artifact_dir),
        "WHYRANK_LLM__URL": standin.url,
        "WHYRANK_STORE__URL": f"sqlite:///{store}",
        "WHYRANK_LLM__CACHE_DIR": str(tmp_path / "cache"),
    }
    keys: list[str] = []
    errors: list[str] = []
    with serving(tmp_path, **settings) as service:
        with closing(Store(store)) as direct:
            keys += [direct.create_key("test", frozenset({"admin"}))[1] for _ in range(2)]
        known = {"authorization": f"Bearer {keys[0]}"}
        client = httpx2.Client(base_url=service.url, headers=known, timeout=60)
        wait_for(lambda: client.get("/v1/items", headers={"authorization": ""}).status_code == 401)

        def send(method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> httpx2.Response:
            answer = client.request(method, path, json=body, headers=headers)
            if answer.status_code >= 400:
                errors.append(answer.text)
            return answer

        def event(**fields: object) -> dict[str, object]:
            return {"event_id": EVENT, "user_id": USER, "event": "like", "item_id": "i0", **fields}

        for events in (
            [event()],
            [event(item_id="canary-item")],
            [event(event_id=f"{EVENT}2", user_id=VISITOR)],
            [event(event_id=["canary"])],
            [event(event_id=f"{EVENT}3", timestamp="canary")],
        ):
            send("POST", "/v1/events", {"source": "web", "events": events})
        for body in (
            {"user_id": USER, "k": 3},
            {"user_id": USER, "k": 3, "stream": True},
            {"user_id": USER, "k": 0},
            {"user_id": f"{USER}\u0000"},
            {"user_id": [USER]},
            {"user_id": USER, "canary": 1},
            {"user_id": "x" * 300 + USER},
            {"history": [{"item_id": "canary-item"}]},
        ):
            send("POST", "/v1/recommendations", body)
        for path in (f"/v1/users/{USER}", "/v1/users/canary-unknown", "/v1/items/canary-unknown", "/v1/canary"):
            send("GET", path)
        send("POST", f"/v1/users/{VISITOR}/merge", {"into": USER})
        send("POST", f"/v1/users/{VISITOR}/merge", {"into": VISITOR})
        send("POST", "/v1/prompts/render", {"prompt": "rank", "user_id": USER})
        send("POST", "/v1/prompts/try", {"prompt": "rank", "user_ids": [USER]})
        send("GET", "/v1/items", headers={"authorization": f"Bearer {keys[1][:-3]}abc"})
        send("GET", "/v1/items", headers={"authorization": f"Basic {keys[1]}"})
        metrics = client.get("/metrics").text + json.dumps(client.get("/health/ready").json())
        reported = whyrank("events", "report", folder=tmp_path, **settings)
        listed = whyrank("keys", "list", "--json", folder=tmp_path, **settings)
        send("DELETE", f"/v1/users/{USER}")
        client.close()
        log = service.log
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        content = {file: file.read_bytes() for file in files}
    return {
        "errors": "\n".join(errors),
        "metrics": metrics,
        "log": log.read_text(),
        "report": reported.stdout + reported.stderr,
        "keys": keys,
        "listed": listed.stdout,
        "files": content,
    }


def test_canaries_stay_where_they_belong(asked: dict[str, Any], standin: StandIn) -> None:
    prompts = sent_to_the_llm(standin)
    assert len(prompts) > 1000, "the LLM was asked"
    for place in ("metrics", "log", "report"):
        assert not [one for one in CANARIES if one in asked[place]], place
    assert not [one for one in CANARIES if one in prompts]
    for one in (USER, VISITOR, EVENT):
        assert one not in asked["errors"]
    secrets = [key.split("_", 2)[2] for key in asked["keys"]]
    told = asked["errors"] + asked["metrics"] + asked["log"] + asked["report"] + asked["listed"] + prompts
    assert not [secret for secret in secrets if secret in told or secret[:20] in told]


def test_what_was_forgotten_is_in_no_file(asked: dict[str, Any]) -> None:
    """The store's files included: its deleted rows are overwritten."""
    for file, content in asked["files"].items():
        assert USER.encode() not in content, file
        assert VISITOR.encode() not in content, file
    secrets = [key.split("_", 2)[2].encode() for key in asked["keys"]]
    assert not [file for file, content in asked["files"].items() if any(secret in content for secret in secrets)]
