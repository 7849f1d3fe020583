"""Prompts over HTTP: permissions, and concurrent changes."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings
from prompts import PromptLibrary
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn

URL = "/v1/prompts"
SOURCE = PromptLibrary().get("rank").source
CHANGED = SOURCE.replace("that one person chose", "that somebody picked")


def test_templates_are_listed_and_read(admin: TestClient) -> None:
    listed = {row["name"]: row for row in admin.get(URL).json()["prompts"]}
    assert listed["rank"]["aliases"]["production"] >= 1
    one = admin.get(f"{URL}/rank").json()
    assert one["source"] == SOURCE
    assert admin.get(f"{URL}/rank", params={"version": "1"}).json()["version"] == "1"
    assert admin.get(f"{URL}/rnak").status_code == 404
    assert "Did you mean 'rank'" in admin.get(f"{URL}/rnak").json()["remedy"]


def test_save_promote_and_what_serves(admin: TestClient) -> None:
    saved = admin.post(f"{URL}/rank", json={"source": CHANGED, "note": "warmer"})
    assert saved.status_code == 201
    version = saved.json()["version"]
    assert not saved.json()["production"]
    now = admin.get(f"{URL}/rank/aliases/production")
    target = f"{URL}/rank/aliases/production"
    assert admin.put(target, json={"version": version}).status_code == 428
    stale = admin.put(target, json={"version": version}, headers={"If-Match": '"99"'})
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/alias-moved#If-Match")
    moved = admin.put(target, json={"version": version}, headers={"If-Match": now.headers["etag"]})
    assert (moved.status_code, moved.headers["etag"]) == (200, f'"{version}"')
    again = admin.put(target, json={"version": version}, headers={"If-Match": now.headers["etag"]})
    assert again.status_code == 412
    answer = admin.post("/v1/recommendations", json={"user_id": "u0", "k": 1}).json()
    assert answer["prompts"]["rank"]["version"] == str(version)


def test_a_broken_library_is_described_without_its_folder(admin: TestClient, settings: Settings) -> None:
    assert settings.prompts_dir is not None
    settings.prompts_dir.mkdir(exist_ok=True)
    (settings.prompts_dir / "aliases.json").write_text("{")
    listed = admin.get("/v1/prompts")
    problems = [prompt["problem"] for prompt in listed.json()["prompts"] if prompt["problem"]]
    assert problems
    assert all("aliases.json" in problem for problem in problems)
    assert str(settings.prompts_dir.parent) not in listed.text


def test_a_new_alias(admin: TestClient) -> None:
    target = f"{URL}/rank/aliases/canary"
    assert admin.put(target, json={"version": 1}, headers={"If-Match": '"1"'}).status_code == 412
    assert admin.put(target, json={"version": 1}, headers={"If-None-Match": "*"}).status_code == 200
    assert admin.put(target, json={"version": 1}, headers={"If-None-Match": "*"}).status_code == 412


def test_a_template_that_fails_its_checks_is_not_saved(admin: TestClient) -> None:
    refused = admin.post(f"{URL}/rank", json={"source": SOURCE.replace("{{ noun", "{{ nuon")})
    assert refused.status_code == 422
    assert admin.post(f"{URL}/rank", json={"source": "nothing"}).json()["type"].startswith("/problems/template-invalid")


def test_shipped_templates_are_read_only(artifact_dir: Path, standin: StandIn) -> None:
    with client_of(Settings(artifact=artifact_dir), standin) as client:
        refused = client.post(f"{URL}/rank", json={"source": CHANGED})
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/library-read-only#prompts_dir")


def test_render_shows_what_the_model_would_be_shown(admin: TestClient) -> None:
    shown = admin.post(f"{URL}/render", json={"prompt": "rank", "user_id": "u0"}).json()
    assert "Even Story" in shown["text"]
    assert shown["continuations"]
    draft = admin.post(f"{URL}/render", json={"source": CHANGED}).json()
    assert "somebody picked" in draft["text"]
    assert admin.post(f"{URL}/render", json={"prompt": "rank", "user_id": "nobody"}).status_code == 422
    assert admin.post(f"{URL}/render", json={}).status_code == 422


def test_a_draft_is_tried_beside_production(admin: TestClient, standin: StandIn) -> None:
    tried = admin.post(f"{URL}/try", json={"source": CHANGED, "user_ids": ["u0", "u1"], "k": 2}).json()
    assert [user["user_id"] for user in tried["users"]] == ["u0", "u1"]
    for user in tried["users"]:
        assert user["trial"]["prompts"]["rank"]["hash"] == tried["hash"]
        assert user["production"]["prompts"]["rank"]["name"] == "rank"
    assert "somebody picked" in standin.prompts()
    refused = admin.post(f"{URL}/try", json={"source": CHANGED, "user_ids": ["nobody"]})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unknown-user#user_ids")


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("10.0.0.5", {}),
        ("10.0.0.5", {"X-Forwarded-For": "127.0.0.1"}),
        ("::ffff:10.0.0.5", {}),
        ("testclient", {}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}),
        ("127.0.0.1", {"Via": "1.1 proxy"}),
    ],
)
def test_administration_is_for_programs_on_this_machine(
    settings: Settings, standin: StandIn, host: str, headers: dict[str, str]
) -> None:
    with client_of(settings, standin, host) as client:
        draft = {"user_id": "u0", "prompts": {"rank": "rank@draft"}}
        for method, path, body in (
            ("POST", f"{URL}/rank", {"source": CHANGED}),
            ("PUT", f"{URL}/rank/aliases/production", {"version": 1}),
            ("POST", f"{URL}/try", {"prompt": "rank", "user_ids": ["u0"]}),
            ("POST", f"{URL}/render", {"source": CHANGED}),
            ("POST", "/v1/recommendations", draft),
        ):
            refused = client.request(method, path, json=body, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/admin-only")
        assert client.post(f"{URL}/render", json={"prompt": "rank"}, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_in_all_its_spellings(settings: Settings, standin: StandIn, host: str) -> None:
    with client_of(settings, standin, host) as client:
        for name in ("localhost:8000", "localhost", "[::1]:8000", "127.0.0.1"):
            shown = client.post(f"{URL}/render", json={"source": CHANGED}, headers={"Host": name})
            assert shown.status_code == 200, name


def test_administration_can_be_switched_off(settings: Settings, standin: StandIn) -> None:
    with client_of(settings.model_copy(update={"admin": "off"}), standin) as client:
        assert client.post(f"{URL}/rank", json={"source": CHANGED}).status_code == 403


def test_anybody_may_name_a_promoted_version_and_nobody_else_another(admin: TestClient) -> None:
    elsewhere = {"X-Forwarded-For": "10.0.0.5"}
    version = admin.post(f"{URL}/rank", json={"source": CHANGED}).json()["version"]

    def ask(reference: str, headers: dict[str, str]) -> int:
        body = {"user_id": "u0", "k": 1, "prompts": {"rank": reference}}
        return admin.post("/v1/recommendations", json=body, headers=headers).status_code

    promoted = admin.get(f"{URL}/rank").json()["aliases"]["production"]
    for reference in ("rank", "rank@production", f"rank@{promoted}"):
        assert ask(reference, elsewhere) == 200
    assert ask(f"rank@{version}", elsewhere) == 403
    assert ask(f"rank@{version}", {}) == 200
    assert ask("rank@999", {}) == 422
    assert ask("nothing", elsewhere) == 422
