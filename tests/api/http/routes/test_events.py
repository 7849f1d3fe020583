"""Events, items and users that arrive while the service runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api import Settings, create_app
from api.cli.main import app
from retrieval import Manifest, Retriever, Store, StoreSettings, load
from tests.api.process import wait_for
from tests.checkerboard import USERS, checkerboard, own_parity

URL = "/v1/recommendations"


@pytest.fixture
def store_file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def plain(artifact_dir: Path, store_file: Path) -> Iterator[TestClient]:
    """The service without an LLM."""
    store = StoreSettings(url=f"sqlite:///{store_file}", busy_s=0.1)
    service = create_app(Settings(artifact=artifact_dir, store=store), None)
    with TestClient(
        service, raise_server_exceptions=False, client=("127.0.0.1", 1), base_url="http://localhost"
    ) as client:
        yield client


def _recommended(client: TestClient, user: str, **body: Any) -> list[str]:
    answer = client.post(URL, json={"user_id": user, "k": 5, **body}).json()
    return [item["item_id"] for item in answer["items"]]


def _send(client: TestClient, *events: dict[str, Any], source: str = "web") -> list[dict[str, Any]]:
    answer = client.post("/v1/events", json={"source": source, "events": list(events)})
    assert answer.status_code == 200, answer.text
    verdicts: list[dict[str, Any]] = answer.json()["verdicts"]
    return verdicts


def _like(number: int, item: str, user: str = "new", event: str = "like") -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": user, "event": event, "item_id": item}


def test_a_like_and_a_dislike_change_the_very_next_list(plain: TestClient) -> None:
    _send(plain, _like(1, "i0"), _like(2, "i2"))
    assert all(own_parity("u0", item) for item in _recommended(plain, "new"))
    _send(plain, _like(3, "i0", event="dislike"), _like(4, "i2", event="hide"), _like(5, "i1"))
    assert all(own_parity("u1", item) for item in _recommended(plain, "new"))


def test_a_hidden_item_is_not_shown_again(plain: TestClient) -> None:
    first = _recommended(plain, "u0")[0]
    _send(plain, _like(1, first, user="u0", event="hide"))
    assert first not in _recommended(plain, "u0")
    assert _recommended(plain, "u0", history=[{"item_id": "i1"}])  # replaces the stored history


def test_clicks_of_the_session_count_in_addition(plain: TestClient) -> None:
    first = _recommended(plain, "u0")[0]
    assert first not in _recommended(plain, "u0", newer=[{"item_id": first, "event": "click"}])
    refused = plain.post(URL, json={"user_id": "u0", "newer": [{"item_id": "i1", "event": "rating", "weight": 9}]})
    assert refused.json()["field"] == "newer.0.weight"


def test_impressions_do_not_change_the_list(plain: TestClient) -> None:
    before = _recommended(plain, "u0")
    _send(plain, *(_like(number, item, user="u0", event="impression") for number, item in enumerate(before)))
    assert _recommended(plain, "u0") == before


def test_verdicts(plain: TestClient) -> None:
    first = _like(1, "i1")
    assert _send(plain, first)[0]["verdict"] == "accepted"
    assert [verdict["verdict"] for verdict in _send(plain, first, {**first, "event": "hide"})] == [
        "duplicate",
        "conflict",
    ]


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"item_id": "nothing"}, "item_id", "unknown_item"),
        ({"item_id": None}, "body", "invalid_field"),
        ({"user_id": 7}, "user_id", "invalid_field"),
        ({"user_id": "null"}, "user_id", "invalid_field"),
        ({"event_id": "a\x00"}, "event_id", "invalid_field"),
        ({"itemid": "i1"}, "itemid", "unknown_field"),
        ({"weight": -1}, "weight", "invalid_field"),
        ({"event": "rating", "weight": 7}, "weight", "out_of_range"),
        ({"timestamp": 1_795_000_000_000}, "timestamp", "out_of_range"),
        ({"text": "a\x00b"}, "text", "invalid_field"),
        ({"recommendation_id": "x"}, "recommendation_id", "invalid_field"),
    ],
)
def test_an_invalid_event_names_its_field_and_the_others_are_stored(
    plain: TestClient, changed: dict[str, Any], field: str, code: str
) -> None:
    bad, good = _send(plain, {**_like(1, "i1"), **changed}, _like(2, "i1"))
    assert (bad["verdict"], bad["field"], bad["code"]) == ("invalid", field, code)
    assert good["verdict"] == "accepted"


@pytest.mark.parametrize("body", [{}, {"events": []}, {"events": [1]}, {"events": [{}] * 1001}, {"source": "a b"}])
def test_a_batch_that_is_none_is_refused(plain: TestClient, body: dict[str, Any]) -> None:
    assert plain.post("/v1/events", json=body).status_code == 422


def test_an_answer_is_logged_under_its_id(plain: TestClient, store_file: Path) -> None:
    answer = plain.post(URL, json={"user_id": "u0", "k": 3}).json()
    plain.__exit__()
    logged = Store(store_file).recommendation(answer["recommendation_id"])
    assert logged is not None
    assert logged["items"] == [item["item_id"] for item in answer["items"]]
    assert logged["ranker"] == answer["ranker"]


def test_a_stream_names_the_same_id(plain: TestClient) -> None:
    assert '"recommendation_id":"' in plain.post(URL, json={"user_id": "u0", "k": 1, "stream": True}).text


def test_a_new_item_may_be_named_by_events(plain: TestClient) -> None:
    put = {"items": [{"item_id": "n1", "title": "New", "attributes": {"genres": ["Drama"]}}]}
    assert [plain.put("/v1/items", json=put).json() for _ in range(2)] == [
        {"items": 1, "changed": 1},
        {"items": 1, "changed": 0},
    ]
    assert plain.get("/v1/items/n1").json()["title"] == "New"
    assert _send(plain, _like(1, "n1"))[0]["verdict"] == "accepted"
    assert _recommended(plain, "new")


def test_a_withdrawn_item_is_never_shown(plain: TestClient) -> None:
    first = _recommended(plain, "u0")[0]
    for _ in range(2):
        assert plain.delete(f"/v1/items/{first}").status_code == 204
    assert first not in _recommended(plain, "u0")
    assert _recommended(plain, "u0", candidate_ids=[first, "i1"]) == ["i1"]
    assert plain.get(f"/v1/items/{first}").status_code == 404
    assert first not in [item["item_id"] for item in plain.get("/v1/items?limit=100").json()["items"]]
    assert plain.delete("/v1/items/nothing").status_code == 404


def test_a_forgotten_user_is_a_stranger(plain: TestClient) -> None:
    _send(plain, _like(1, "i1", user="u0"))
    receipt = plain.delete("/v1/users/u0").json()
    assert receipt["events"] == 1
    assert receipt["awaiting"]
    answer = plain.post(URL, json={"user_id": "u0", "k": 3}).json()
    assert answer["fallback"]["code"] == "unknown_user"
    assert plain.get("/v1/users/u0").status_code == 404
    assert "u0" not in plain.get("/v1/users?limit=100").json()["users"]
    for call, body in (("render", {"user_id": "u0"}), ("try", {"user_ids": ["u0"]})):
        refused = plain.post(f"/v1/prompts/{call}", json={"prompt": "rank", **body})
        assert refused.json()["type"].startswith("/problems/unknown-user")
    _send(plain, _like(2, "i0", user="u0"))
    assert plain.get("/v1/users/u0").json()["interactions"] == 1


def test_new_and_changed_items_are_found_at_once(plain: TestClient) -> None:
    def found(query: str) -> list[tuple[str, str]]:
        answer = plain.post(URL, json={"query": query, "k": 3, "understand": False}).json()
        return [(item["item_id"], item["retrieval_source"]) for item in answer["items"]]

    before = _recommended(plain, "u0")
    items = [
        {"item_id": "z1", "title": "Zebra crossing", "attributes": {"genres": ["Zoology"]}},
        {"item_id": "i3", "title": "Quagga"},
    ]
    assert plain.put("/v1/items", json={"items": items}).json()["changed"] == 2
    wait_for(lambda: found("zebra")[0] == ("z1", "text"))
    assert found("quagga")[0] == ("i3", "text")
    understood = plain.post(URL, json={"query": "something with zoology", "k": 2}).json()
    assert understood["items"][0]["item_id"] == "z1"
    assert plain.get("/v1/items?query=zebra").json()["items"][0]["item_id"] == "z1"
    assert plain.get("/v1/items/z1/similar").status_code == 200
    assert _recommended(plain, "u0") == before, "models know nothing of new items"
    event = {"event_id": "1", "user_id": "u0", "event": "like", "item_id": "z1"}
    assert plain.post("/v1/events", json={"events": [event]}).json()["counts"]["accepted"] == 1
    assert not plain.post(URL, json={"user_id": "u0", "k": 2}).json()["warnings"]
    assert plain.post(URL, json={"candidate_ids": ["z1", "i1"], "k": 2}).status_code == 200
    plain.delete("/v1/items/z1")
    assert "z1" not in [item for item, _ in found("zebra")]


def test_without_changed_items_nothing_is_loaded_again(artifact_dir: Path, store_file: Path) -> None:
    settings = Settings(artifact=artifact_dir, store=StoreSettings(url=f"sqlite:///{store_file}"), reload_s=0.05)
    service = create_app(settings, None)
    with TestClient(service, client=("127.0.0.1", 1), base_url="http://localhost") as client:
        loaded = service.state.service.recommender
        client.delete("/v1/items/i1")
        time.sleep(0.5)
        assert service.state.service.recommender is loaded
        client.put("/v1/items", json={"items": [{"item_id": "n", "title": "N"}]})
        wait_for(lambda: service.state.service.recommender is not loaded)
        known = service.state.service.recommender
        client.delete("/v1/items/n")
        time.sleep(0.5)
        assert service.state.service.recommender is known


def test_a_visitor_is_merged_into_an_account(plain: TestClient) -> None:
    _send(plain, _like(1, "i1", user="visitor"))
    assert plain.post("/v1/users/visitor/merge", json={"into": "u1"}).json() == {"events": 1}
    assert plain.get("/v1/users/visitor").status_code == 404
    assert plain.post("/v1/users/u2/merge", json={"into": "u1"}).status_code == 422


def test_others_may_not_change_items_and_users(artifact_dir: Path, tmp_path: Path) -> None:
    service = create_app(Settings(artifact=artifact_dir, store=StoreSettings(url=f"sqlite:///{tmp_path / 's'}")), None)
    with TestClient(service, client=("10.0.0.7", 1)) as client:
        assert client.put("/v1/items", json={"items": [{"item_id": "n", "title": "N"}]}).status_code == 403
        assert client.delete("/v1/items/i1").status_code == 403
        assert client.delete("/v1/users/u1").status_code == 403
        assert client.post("/v1/users/u1/merge", json={"into": "u2"}).status_code == 403


def test_without_the_store_nothing_is_acknowledged_and_answers_go_on(plain: TestClient, store_file: Path) -> None:
    _send(plain, _like(1, "i1", user="u0"))
    holder = Store(store_file)
    with holder._database.writing():
        refused = plain.post("/v1/events", json={"events": [_like(2, "i1")]})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-locked")
        answer = plain.post(URL, json={"user_id": "u0", "k": 3}).json()
        assert [degraded["code"] for degraded in answer["degraded"]] == ["store_failed"]
        assert answer["items"]
        assert any("store" in problem for problem in plain.get("/health/ready").json()["problems"])
    holder.close()
    assert _send(plain, _like(2, "i1"))[0]["verdict"] == "accepted"
    assert plain.post(URL, json={"user_id": "u0", "k": 3}).json()["degraded"] == []


def test_without_a_store(artifact_dir: Path) -> None:
    service = create_app(Settings(artifact=artifact_dir, store=StoreSettings(url="none")), None)
    with TestClient(service) as client:
        answer = client.post(URL, json={"user_id": "u0", "k": 3}).json()
        assert (answer["recommendation_id"], answer["degraded"]) == (None, [])
        refused = client.post("/v1/events", json={"events": [_like(1, "i1")]})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-off")


def test_a_server_that_is_down_does_not_stop_answers_or_show_histories(artifact_dir: Path) -> None:
    store = StoreSettings(url="postgresql://me:secret@127.0.0.1:9/none")
    with TestClient(create_app(Settings(artifact=artifact_dir, store=store), None)) as client:
        answer = client.post(URL, json={"user_id": "u0", "k": 3})
        assert answer.json()["degraded"][0]["code"] == "store_failed"
        assert answer.json()["fallback"]["code"] == "unknown_user"  # it is unknown whether the user was forgotten
        assert "secret" not in answer.text + client.get("/health/ready").text


@pytest.fixture
def fit_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Manifest]:
    """Fit the files of the checkerboard and the events of the artifact's store."""
    monkeypatch.chdir(tmp_path)
    data = checkerboard()
    data.interactions.write_csv("interactions.csv")
    data.items.with_columns(genres=pl.col("genres").list.join("|")).write_csv("items.csv")
    files = ["--interactions", "interactions.csv", "--items", "items.csv", "--out", "artifact", "--factors", "2"]

    def fit() -> Manifest:
        done = CliRunner().invoke(app, ["fit", *files, "--no-search"])
        assert done.exit_code == 0, done.output
        return load(tmp_path / "artifact").manifest

    return fit


def test_a_fit_leaves_forgotten_users_out(tmp_path: Path, fit_again: Callable[[], Manifest]) -> None:
    with closing(Store(tmp_path / "artifact" / "store.sqlite")) as store:
        store.forget("u3")
    fit_again()
    users = Retriever(load(tmp_path / "artifact")).user_ids()
    assert "u3" not in users
    assert len(users) == USERS - 1


def test_a_fit_learns_from_the_store_and_its_events_count_once(
    tmp_path: Path, fit_again: Callable[[], Manifest]
) -> None:
    before = fit_again()
    settings = Settings(artifact=tmp_path / "artifact", reload_s=0.05)
    with TestClient(create_app(settings, None), client=("127.0.0.1", 1), base_url="http://localhost") as client:
        item = {"item_id": "new", "title": "A new item", "attributes": {"genres": ["even"]}}
        assert client.put("/v1/items", json={"items": [item]}).status_code == 200
        _send(client, _like(1, "i0"), _like(2, "i2"), _like(3, "new"), _like(4, "i4", user="gone"))
        assert client.delete("/v1/users/gone").status_code == 200
        after = fit_again()
        assert (after.users, after.items) == (before.users + 1, before.items + 1)
        assert after.interactions == before.interactions + 3
        until = time.monotonic() + 20
        while client.get("/health/ready").json()["build"] != after.name and time.monotonic() < until:
            time.sleep(0.05)
        shown = _recommended(client, "new")
        assert all(own_parity("u0", item) for item in shown)
        assert not {"i0", "i2", "new"} & set(shown)
    with closing(Store(tmp_path / "artifact" / "store.sqlite")) as store:
        assert len(store.user_state("new").newer) == 3
        assert store.user_state("new", mark=after.store).newer == []
    assert after.files_hash == before.data_hash != after.data_hash
    assert fit_again().data_hash == after.data_hash
