"""API keys at the service: who is let in, to which routes, and how often."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from api import Settings, create_app
from api.http.keys import FILE, KeyRing, KeyScope
from api.http.security import needs_key
from api.http.watching import Watching
from reranker import EngineSettings, LlmSettings
from retrieval import InputError, Store, StoreSettings
from tests.api.http.test_openapi import OPERATIONS
from tests.api.process import wait_for
from tests.standin import StandIn

ANY = "0.0.0.0"  # noqa: S104
ROUTES = [operation.split() for operation in OPERATIONS]
NEEDED = {
    **dict.fromkeys(("/v1/recommendations", "/v1/wishes/", "/rerank", "/v1/rerank", "/v2/rerank"), "recommend"),
    "/v1/items": "recommend",
    "/v1/events": "events",
    "/v1/users": "read-users",
    "/v1/prompts": "prompts",
    "/v1/experiments": "prompts",
    "/v1/choices": "prompts",
    "/v1/status": "prompts",
}
"""Scope by the beginning of the path, for routes that are not for administrators alone."""
FOR_ADMINS = {
    ("PUT", "/v1/items"),
    ("DELETE", "/v1/items/{item_id}"),
    ("DELETE", "/v1/users/{user_id}"),
    ("POST", "/v1/users/{user_id}/merge"),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "store.sqlite")) as store:
        yield store


@contextmanager
def serving(artifact: Path, store: Path, engine: EngineSettings | None = None, **more: Any) -> Iterator[TestClient]:
    settings = {"artifact": artifact, "store": StoreSettings(url=f"sqlite:///{store}"), "reload_s": 0.05, **more}
    with TestClient(create_app(Settings.model_validate(settings), engine), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def artifact(artifact_dir: Path, tmp_path: Path) -> Path:
    """An artifact of this test alone: the service copies its keys there."""
    return shutil.copytree(artifact_dir, tmp_path / "artifact")


@pytest.fixture
def served(artifact: Path, tmp_path: Path, standin: StandIn) -> Iterator[TestClient]:
    llm = LlmSettings(weight=1.0, cache_dir=tmp_path)
    with serving(artifact, tmp_path / "store.sqlite", EngineSettings(url=standin.url), llm=llm) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def made(store: Store, *scopes: str, **more: Any) -> str:
    return store.create_key("test", frozenset(scopes), **more)[1]


def taken_up(client: TestClient) -> None:
    """Wait until the service asks for keys."""
    wait_for(lambda: client.get("/v1/items").status_code == 401)


def test_from_the_first_key_on_every_route_but_probes_and_docs_needs_one(served: TestClient, store: Store) -> None:
    assert served.get("/v1/items").status_code == 200
    key = made(store, "recommend")
    taken_up(served)
    for method, path in ROUTES:
        refused = served.request(method, path.replace("{", "").replace("}", ""), json={})
        assert refused.status_code == (401 if needs_key(path) else 200), (method, path)
    refused = served.get("/v1/nowhere")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["field"] == "authorization"
    assert served.get("/v1/items", headers=bearer(key)).status_code == 200
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json", "/"):
        assert served.get(path).status_code == 200
    assert served.get("/metrics").status_code == 401
    assert served.get("/metrics", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize("scope", list(KeyScope))
def test_every_scope_against_every_route(served: TestClient, store: Store, scope: KeyScope) -> None:
    key = made(store, scope)
    taken_up(served)
    for method, path in ROUTES:
        if not needs_key(path) or path == "/metrics":
            continue
        needed = next(name for start, name in NEEDED.items() if path.startswith(start))
        if (method, path) in FOR_ADMINS:
            needed = "admin"
        elif path.endswith(("/try", "/report", "/page", "/pairs")):
            needed = "prompts|read-users"
        answer = served.request(method, re.sub(r"[{}]", "", path), headers=bearer(key), json={})
        if scope in ("admin", needed):
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert re.search(f"--scope ({needed})", answer.json()["remedy"])


def test_drafts_and_histories_need_their_own_scopes(served: TestClient, store: Store) -> None:
    plain, editor = bearer(made(store, "recommend")), bearer(made(store, "prompts"))
    both = bearer(made(store, "prompts", "read-users"))
    taken_up(served)
    draft = {"user_id": "u0", "prompts": {"rank": "rank@draft"}}
    assert served.post("/v1/recommendations", json=draft, headers=plain).status_code == 403
    shown = {"prompt": "rank", "user_id": "u0"}
    assert served.post("/v1/prompts/render", json={"prompt": "rank"}, headers=editor).status_code == 200
    assert served.post("/v1/prompts/render", json=shown, headers=editor).status_code == 403
    assert served.post("/v1/prompts/render", json=shown, headers=both).status_code == 200
    tried = {"prompt": "rank", "user_ids": ["u0"]}
    assert served.post("/v1/prompts/try", json=tried, headers=editor).status_code == 403


def test_a_key_administers_where_this_machine_no_longer_does(artifact: Path, store: Store, tmp_path: Path) -> None:
    key = bearer(made(store, "admin"))
    away = {"x-forwarded-for": "10.0.0.9"}
    for admin, status in (("loopback", 200), ("off", 403)):
        with serving(artifact, tmp_path / "store.sqlite", admin=admin) as client:
            assert client.delete("/v1/users/u9", headers=key | away).status_code == status
            assert client.delete("/v1/users/u9").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {other}",
        "Bearer whyrank_0_é",
        "Bearer a b",
    ],
)
def test_wrong_keys(served: TestClient, store: Store, header: str) -> None:
    key = made(store, "recommend")
    other = key[:-4] + ("AAAA" if not key.endswith("AAAA") else "BBBB")
    taken_up(served)
    sent = header.format(key=key, other=other).encode()
    answer = served.get("/v1/items", headers=[(b"authorization", sent)])
    assert answer.status_code == 401
    assert key not in answer.text
    assert served.get("/v1/items", headers=[("authorization", f"Bearer {key}")] * 2).status_code == 401
    assert served.get("/v1/items", headers={"authorization": f"bearer  {key}"}).status_code == 200


def test_keys_end(served: TestClient, store: Store) -> None:
    lasting = bearer(made(store, "recommend"))
    revoked = bearer(made(store, "recommend"))
    expired = bearer(made(store, "recommend", expires=int(time.time()) - 1))
    taken_up(served)
    wait_for(lambda: served.get("/v1/items", headers=revoked).status_code == 200)
    assert "expired" in served.get("/v1/items", headers=expired).json()["detail"]
    store.revoke_key(_id(revoked))
    wait_for(lambda: served.get("/v1/items", headers=revoked).status_code == 401)
    assert "revoked" in served.get("/v1/items", headers=revoked).json()["detail"]
    assert served.get("/v1/items", headers=lasting).status_code == 200
    store.revoke_key(_id(lasting))
    wait_for(lambda: served.get("/v1/items", headers=lasting).status_code == 401)
    assert served.get("/v1/items").status_code == 401, "the last key's end opens nothing"
    store.delete_keys()
    wait_for(lambda: served.get("/v1/items").status_code == 200)


def test_deleted_keys_do_not_open_an_address_of_other_machines(artifact: Path, store: Store, tmp_path: Path) -> None:
    key = bearer(made(store, "recommend"))
    with serving(artifact, tmp_path / "store.sqlite", host=ANY, allowed_hosts=()) as client:
        assert client.get("/v1/items", headers=key | {"host": "10.0.0.5:8000"}).status_code == 200
        page = {"host": "10.0.0.5:8000", "origin": "http://evil.example"}
        assert client.get("/v1/items", headers=key | page).status_code == 403
        store.delete_keys()
        wait_for(lambda: client.get("/v1/items", headers=key).status_code == 401)
        assert "keys create" in client.get("/v1/items", headers=key).json()["remedy"]


def test_a_key_has_a_limit_of_requests(served: TestClient, store: Store) -> None:
    slow, free = bearer(made(store, "recommend", requests_per_minute=3)), bearer(made(store, "recommend"))
    taken_up(served)
    wait_for(lambda: served.get("/v1/items", headers=free).status_code == 200)
    answers = [served.get("/v1/items", headers=slow) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert "3 requests" in answers[-1].json()["detail"]
    assert served.get("/v1/items", headers=free).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_has_a_budget_of_tokens(served: TestClient, store: Store, stream: bool) -> None:
    key = bearer(made(store, "recommend", tokens_per_minute=10))
    taken_up(served)
    wanted = {"user_id": "u0", "k": 1, "stream": stream}
    assert served.post("/v1/recommendations", json=wanted, headers=key).status_code == 200
    spent = served.post("/v1/recommendations", json=wanted, headers=key)
    assert (spent.status_code, "10 LLM tokens" in spent.json()["detail"]) == (429, True)
    assert served.post("/v1/rerank", json={"query": "a", "documents": ["b"]}, headers=key).status_code == 429
    assert served.get("/v1/items", headers=key).status_code == 200, "what asks no LLM goes on"


def test_keys_share_no_cached_prompts(served: TestClient, store: Store, standin: StandIn) -> None:
    wanted = {"user_id": "u0", "k": 1, "reasons": False}
    served.post("/v1/recommendations", json=wanted)
    assert salts_of(standin) == {None}
    one, two = (bearer(made(store, "recommend")) for _ in range(2))
    taken_up(served)
    wait_for(lambda: served.get("/v1/items", headers=two).status_code == 200)
    salts = []
    for key in (one, two, one):
        standin.requests.clear()
        assert served.post("/v1/recommendations", json=wanted, headers=key).json()["ranker"] != "retrieval"
        salts.append(salts_of(standin))
    assert [len(found) for found in salts] == [1, 1, 0], "the third answer comes from the first key's own cache"
    assert salts[0] != salts[1]
    assert not any(key.key_id in str(salts) or key.secret_hash in str(salts) for key in store.api_keys())


def test_the_store_records_the_last_use(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.keys._USE_S", 0.0)
    text = made(store, "recommend")
    ring = KeyRing(store, tmp_path, Watching())
    assert store.api_keys()[0].last_used is None
    ring.caller(headers(text))
    ring.look(store)
    used = store.api_keys()[0].last_used
    assert used is not None
    assert time.time() - used < 120
    store.note_use({_id(bearer(text)): used - 600})
    assert store.api_keys()[0].last_used == used


def test_a_failing_store_lets_known_keys_in(store: Store, tmp_path: Path) -> None:
    text = made(store, "recommend")
    KeyRing(store, tmp_path, Watching())
    assert text.rpartition("_")[2] not in (tmp_path / FILE).read_text()
    broken = Store("postgresql://nobody@127.0.0.1:9/none")
    ring = KeyRing(broken, tmp_path, Watching())
    assert ring.exist
    assert ring.caller(headers(text)) is not None
    assert not KeyRing(broken, tmp_path / "elsewhere", Watching()).exist
    (tmp_path / FILE).write_text("[{")
    with pytest.raises(InputError, match="damaged"):
        KeyRing(broken, tmp_path, Watching())


def test_a_folder_that_cannot_be_written_is_told(store: Store, tmp_path: Path) -> None:
    made(store, "recommend")
    watching = Watching()
    ring = KeyRing(store, tmp_path / "missing", watching)
    assert "copied" in watching.problems()[0]
    (tmp_path / "missing").mkdir()
    ring.look(store)
    assert watching.problems() == []
    assert len(json.loads((tmp_path / "missing" / FILE).read_text())) == 1


def test_pages_of_named_origins_may_ask(artifact: Path, tmp_path: Path) -> None:
    page = {"origin": "https://shop.example"}
    asks = page | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with serving(artifact, tmp_path / "store.sqlite") as client:
        assert client.options("/v1/recommendations", headers=asks).status_code >= 400
        assert client.get("/v1/items", headers=page).status_code == 403
    with serving(artifact, tmp_path / "store.sqlite", cors_origins=("https://shop.example",)) as client:
        allowed = client.options("/v1/recommendations", headers=asks)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        assert client.get("/v1/items", headers=page).headers["access-control-allow-origin"] == "https://shop.example"
        other = client.get("/v1/items", headers={"origin": "https://evil.example"})
        assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)


def test_answers_say_that_they_are_private_and_no_pages(served: TestClient) -> None:
    for path in ("/v1/items", "/v1/users?limit=0", "/nowhere"):
        told = served.get(path).headers
        assert told["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in told["content-security-policy"]
        assert told["x-content-type-options"] == "nosniff"
    docs = served.get("/docs").headers
    assert "script-src 'self'" in docs["content-security-policy"]
    assert docs["x-frame-options"] == "DENY"


def salts_of(standin: StandIn) -> set[str | None]:
    return {body.get("cache_salt") for path, body in standin.requests if path == "/v1/completions"}


def headers(key: str) -> Headers:
    return Headers(bearer(key))


def _id(header: dict[str, str]) -> str:
    return header["authorization"].split("_")[1]
