"""Items and users: pages, search, similar items, wrong parameters."""

import pytest
from starlette.testclient import TestClient

from tests.checkerboard import ITEMS, SEEN, USERS


def test_the_catalog_is_paged(client: TestClient) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = client.get("/v1/items", params={"limit": 5, "offset": offset}).json()
        seen += [item["item_id"] for item in page["items"]]
        offset = page["next_offset"]
    assert seen == [f"i{number}" for number in range(ITEMS)]
    assert client.get("/v1/items", params={"offset": 999_999}).json() == {"items": [], "next_offset": None}


def test_the_catalog_is_searched_and_holds_matches_only(client: TestClient) -> None:
    found = client.get("/v1/items", params={"query": "kilo"}).json()
    assert [item["item_id"] for item in found["items"]] == ["i10"]
    assert client.get("/v1/items", params={"query": "zzz"}).json()["items"] == []
    first = client.get("/v1/items", params={"query": "story", "limit": 3}).json()
    second = client.get("/v1/items", params={"query": "story", "limit": 3, "offset": 3}).json()
    assert first["next_offset"] == 3
    ids = [item["item_id"] for page in (first, second) for item in page["items"]]
    assert len(set(ids)) == 6


def test_an_item_and_what_is_similar(client: TestClient) -> None:
    assert client.get("/v1/items/i3").json()["title"]
    similar = client.get("/v1/items/i3/similar", params={"limit": 4}).json()["items"]
    assert len(similar) == 4
    assert {int(item["item_id"][1:]) % 2 for item in similar} == {1}  # the checkerboard's other odd items
    for path in ("/v1/items/none", "/v1/items/none/similar", "/v1/users/none"):
        assert client.get(path).status_code == 404
        assert client.get(path).headers["content-type"] == "application/problem+json"


def test_users_are_paged_and_summed_up(client: TestClient) -> None:
    page = client.get("/v1/users", params={"limit": 10}).json()
    assert (len(page["users"]), page["total"], page["next_offset"]) == (10, USERS, 10)
    user = client.get("/v1/users/u0", params={"limit": 2}).json()
    assert user["interactions"] == SEEN + 1
    assert user["liked"] == SEEN
    assert len(user["history"]) == 2
    assert user["history"][0]["title"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/items?limit=0", "limit"),
        ("/v1/items?limit=101", "limit"),
        ("/v1/items?offset=-1", "offset"),
        ("/v1/items?query=", "query"),
        ("/v1/users?limit=x", "limit"),
        ("/v1/users/u0?limit=-1", "limit"),
    ],
)
def test_wrong_parameters_are_named(client: TestClient, path: str, field: str) -> None:
    response = client.get(path)
    assert response.status_code == 422
    assert response.json()["type"] == f"/problems/invalid-field#{field}"
