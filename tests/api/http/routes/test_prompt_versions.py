"""Drafts, differences, the audit log and going back, over HTTP."""

from pathlib import Path

from starlette.testclient import TestClient

from api.settings.model import Settings
from prompts import PromptLibrary
from reranker import LlmSettings
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn

URL = "/v1/prompts/rank"
SOURCE = PromptLibrary().get("rank").source
CHANGED = SOURCE.replace("that one person chose", "that one person picked")


def test_two_people_who_edit_one_draft_lose_nothing(admin: TestClient) -> None:
    assert admin.get(f"{URL}/draft").status_code == 404
    assert admin.put(f"{URL}/draft", json={"source": CHANGED}).status_code == 428
    first = admin.put(f"{URL}/draft", json={"source": CHANGED}, headers={"If-None-Match": "*"})
    assert (first.status_code, first.json()["problem"]) == (200, None)
    assert admin.put(f"{URL}/draft", json={"source": SOURCE}, headers={"If-None-Match": "*"}).status_code == 412
    read = admin.get(f"{URL}/draft")
    assert (read.json()["source"], read.headers["etag"]) == (CHANGED, first.headers["etag"])
    other = {"If-Match": read.headers["etag"]}
    assert admin.put(f"{URL}/draft", json={"source": CHANGED + "\n"}, headers=other).status_code == 200
    late = admin.put(f"{URL}/draft", json={"source": SOURCE}, headers=other)
    assert (late.status_code, late.json()["type"]) == (412, "/problems/draft-changed")
    assert admin.get(f"{URL}/draft").json()["source"] == CHANGED + "\n"
    assert admin.delete(f"{URL}/draft", headers=other).status_code == 412
    assert (
        admin.delete(f"{URL}/draft", headers={"If-Match": admin.get(f"{URL}/draft").headers["etag"]}).status_code == 204
    )
    assert admin.get(f"{URL}/draft").status_code == 404


def test_a_faulty_draft_is_kept_and_says_where_it_is_faulty(admin: TestClient) -> None:
    faulty = SOURCE.replace("{% endfor %}", "{% endfro %}")
    kept = admin.put(f"{URL}/draft", json={"source": faulty}, headers={"If-None-Match": "*"}).json()
    assert "endfro" in kept["problem"]
    assert faulty.splitlines()[kept["line"] - 1] == "{% endfro %}"
    good = {"If-Match": admin.get(f"{URL}/draft").headers["etag"]}
    assert admin.put(f"{URL}/draft", json={"source": CHANGED}, headers=good).json()["problem"] is None
    again = {"If-Match": admin.get(f"{URL}/draft").headers["etag"]}
    assert admin.put(f"{URL}/draft", json={"source": faulty}, headers=again).json()["problem"], "not the last good one"


def test_changes_name_who_and_why_and_can_be_taken_back(admin: TestClient) -> None:
    assert admin.get(f"{URL}/changes").json() == {"changes": []}
    saved = admin.post(URL, json={"source": CHANGED, "note": "warmer", "who": "Ann\n  B."}).json()["version"]
    alias = f"{URL}/aliases/production"
    before = admin.get(alias)
    moved = admin.put(
        alias, json={"version": saved, "note": "tried", "who": "Ann B."}, headers={"If-Match": before.headers["etag"]}
    )
    assert moved.status_code == 200
    assert admin.post(f"{alias}/rollback", json={}).status_code == 428
    assert admin.post(f"{alias}/rollback", json={}, headers={"If-Match": '"9"'}).status_code == 412
    back = admin.post(
        f"{alias}/rollback", json={"note": "too warm", "who": "Bo"}, headers={"If-Match": moved.headers["etag"]}
    )
    assert (back.status_code, back.json()["version"]) == (200, before.json()["version"])
    assert back.headers["etag"] == admin.get(alias).headers["etag"]
    nothing = admin.post(f"{alias}/rollback", json={}, headers={"If-Match": back.headers["etag"]})
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing-to-roll-back")
    said = [(one["action"], one["who"], one["note"]) for one in admin.get(f"{URL}/changes").json()["changes"]]
    assert said[:3] == [("rollback", "Bo", "too warm"), ("promote", "Ann B.", "tried"), ("save", "Ann B.", "warmer")]
    assert admin.post(f"{URL}/aliases/canary/rollback", json={}).status_code == 404


def test_versions_differ_as_their_texts_do(admin: TestClient) -> None:
    version = admin.post(URL, json={"source": CHANGED}).json()["version"]
    found = admin.get(f"{URL}/diff", params={"before": "production", "after": str(version)}).json()["diff"]
    assert "-{{ noun | capitalize }} that one person chose, in order:" in found
    assert "+{{ noun | capitalize }} that one person picked, in order:" in found
    assert admin.get(f"{URL}/diff", params={"before": str(version), "after": str(version)}).json()["diff"] == ""
    wrong = admin.get(f"{URL}/diff", params={"before": "no such thing"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "before")
    assert admin.get(f"{URL}/diff", params={"before": "draft"}).status_code == 404
    admin.put(f"{URL}/draft", json={"source": SOURCE}, headers={"If-None-Match": "*"})
    assert admin.get(f"{URL}/diff", params={"before": "draft"}).json()["diff"] == ""


def test_versions_say_how_they_did(admin: TestClient) -> None:
    answered = admin.post("/v1/recommendations", json={"user_id": "u0", "k": 2}).json()
    used = answered["prompts"]["reason"]
    versions = {one["version"]: one for one in admin.get("/v1/prompts/reason/versions").json()["versions"]}
    mine = versions[int(used["version"])]
    assert (mine["answers"], mine["hash"], mine["saved"]) == (1, used["hash"], None)
    written = sum(item["reason"]["source"] == "llm" for item in answered["items"])
    assert mine["reasons"]["written"] == written
    assert mine["reasons"]["refused"] == answered["refused"]
    assert "production" in mine["aliases"]
    assert all(one["answers"] == 0 for version, one in versions.items() if version != mine["version"])


def test_who_may_change_is_who_may_write_drafts(settings: Settings, standin: StandIn) -> None:
    with client_of(settings, standin, host="203.0.113.9") as stranger:
        assert stranger.get(f"{URL}/changes").status_code == 200
        assert stranger.get(f"{URL}/draft").status_code == 403
        assert stranger.put(f"{URL}/draft", json={"source": "x"}, headers={"If-None-Match": "*"}).status_code == 403
        assert stranger.post(f"{URL}/aliases/production/rollback", json={}).status_code == 403
        assert stranger.get(f"{URL}/diff", params={"before": "2"}).status_code == 403, "a version that no alias names"
        assert stranger.post("/v1/experiments", json={"baseline": "rank", "candidate": "rank@2"}).status_code == 403


def test_without_a_folder_nothing_can_be_changed(artifact_dir: Path, tmp_path: Path, standin: StandIn) -> None:
    settings = Settings(artifact=artifact_dir, llm=LlmSettings(cache_dir=tmp_path), runs=tmp_path / "runs")
    with client_of(settings, standin) as client:
        assert client.get("/v1/prompts").json()["writable"] is False
        refused = client.put(f"{URL}/draft", json={"source": "x"}, headers={"If-None-Match": "*"})
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/library-read-only#prompts_dir")
        assert "WHYRANK_PROMPTS_DIR" in refused.json()["remedy"]


def test_a_prompt_says_what_it_serves(admin: TestClient) -> None:
    listed = {one["name"]: one["serves"] for one in admin.get("/v1/prompts").json()["prompts"]}
    assert listed["rank"] == listed["reason-zh"] == ["recommendations"]
    assert listed["rerank"] == ["rerank"]
    assert listed["rank-labels"] == []


def test_a_preview_counts_tokens_and_says_what_was_left_out(admin: TestClient, settings: Settings) -> None:
    shown = admin.post("/v1/prompts/render", json={"source": SOURCE, "user_id": "u0"}).json()
    assert shown["tokens"] > 0
    assert shown["context"] >= shown["tokens"]
    assert shown["trimmed"] == {"history": 0, "attributes": []}
