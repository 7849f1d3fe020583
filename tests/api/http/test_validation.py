"""Validation errors name the fields as the client sent them."""

from typing import Any

import pytest
from starlette.testclient import TestClient

URL = "/v1/recommendations"
CONDITIONS = "in, all, not, gte, gt, lte, lt, contains"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"user_id": 42}, "user_id", 'quote it, "42"'),
        ({"history": [{"item_id": 7}]}, "history.0.item_id", 'quote it, "7"'),
        ({"user_id": "u0", "exclude_ids": ["i1", 2]}, "exclude_ids.1", 'quote it, "2"'),
        ({"user_id": ["u0"]}, "user_id", "must be text, not a list"),
        ({"user_id": "u0", "k": "3"}, "k", "write 3 without quotes"),
        ({"user_id": "u0", "reasons": "true"}, "reasons", "write true without quotes"),
        ({"user_id": "u0", "filter": {"genres": {"contain": "x"}}}, "filter.genres.contain", "'contains'"),
        ({"user_id": "u0", "filter": {"genres": {"eq": "x"}}}, "filter.genres.eq", f"There are: {CONDITIONS}"),
        ({"user_id": "u0", "filter": {"genres": ["Drama"]}}, "filter.genres", f"an object of {CONDITIONS}"),
        ({"user_id": "u0", "filter": {"genres": ["Drama"]}}, "filter.genres", '{"in": [...]}'),
        ({"user_id": "u0", "filter": {"genres": {"in": "Drama"}}}, "filter.genres.in", "must be a list, not text"),
        ({"user_id": "u0", "filter": {"genres": {"all": "Drama"}}}, "filter.genres.all", "must be a list, not text"),
        ({"user_id": "u0", "filter": {"genres": {"not": {"a": 1}}}}, "filter.genres.not", "not an object"),
        ({"user_id": "u0", "filter": {"genres": {"not": ["a", ["b"]]}}}, "filter.genres.not.1", "not a list"),
        ({"user_id": "u0", "filter": {"genres": {"not": ["a"] * 1001}}}, "filter.genres.not", "1000"),
        ({"user_id": "u0", "filter": {"gernes": "Drama"}}, "filter.gernes", "Did you mean 'genres'?"),
        ({"user_id": "u0", "filter": {"colour": "red"}}, "filter.colour", "There are: genres"),
        ({"user_id": "u0", "filtre": {}}, "filtre", "Did you mean 'filter'?"),
        ({"history": [{"item": "i0"}]}, "history.0.item", "Did you mean 'item_id'?"),
        ({"history": [{"item_id": "i0", "event": "rating", "weight": 8}]}, "history.0.weight", "from 0 to 5 stars"),
    ],
)
def test_a_field_is_named_as_it_was_sent(client: TestClient, body: dict[str, Any], field: str, says: str) -> None:
    response = client.post(URL, json=body)
    problem = response.json()
    assert (response.status_code, problem["field"]) == (422, field)
    assert says in f"{problem['detail']} {problem.get('remedy')}"
    assert "Input should" not in response.text


def test_a_rating_that_fits_and_other_weights_are_taken(client: TestClient) -> None:
    history = [{"item_id": "i0", "event": "rating", "weight": 5}, {"item_id": "i2", "event": "view", "weight": 40}]
    assert client.post(URL, json={"history": history, "k": 1}).status_code == 200


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_sent_as_json(client: TestClient, given: str | None) -> None:
    headers = {} if given is None else {"content-type": given}
    response = client.post(URL, content=b'{"user_id": "u0"}', headers=headers)
    assert (response.status_code, response.json()["field"]) == (415, "content-type")
    assert "application/json" in response.json()["remedy"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"user_id": "u0",\n "k": 3,\n}', "line 3, column 1"),
        ("{'user_id': 1}", "line 1, column 2"),
        ('{"a": 1', "line 1, column 8"),
    ],
)
def test_broken_json_is_told_with_its_place(client: TestClient, content: str, place: str) -> None:
    response = client.post(URL, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert place in response.json()["detail"]


def test_json_that_is_not_utf_8(client: TestClient) -> None:
    response = client.post(URL, content=b'{"query": "\xe9"}', headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert "UTF-8" in response.json()["detail"]


def test_a_path_or_method_that_does_not_exist_leads_on(client: TestClient) -> None:
    assert "/v1/recommendations" in client.post("/v1/recommendation", json={}).json()["remedy"]
    assert "/docs" in client.get("/nothing/like/it").json()["remedy"]
    assert "POST" in client.get(URL).json()["remedy"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"filter": {"genres": "Western"}}, "no item meets the filter"),
        ({"exclude_ids": [f"i{number}" for number in range(16)]}, "every item is excluded, or was seen already"),
        ({"candidate_ids": ["i0"], "exclude_ids": ["i0"]}, "every item is excluded"),
        ({"candidate_ids": ["i1"], "filter": {"genres": "Drama"}}, "every item fails the filter"),
    ],
)
def test_what_left_no_item_is_named(client: TestClient, body: dict[str, Any], says: str) -> None:
    answer = client.post(URL, json={"user_id": "u0", **body}).json()
    assert answer["items"] == []
    assert answer["fallback"] == {"code": "nothing_left", "message": says}


def test_a_user_who_has_seen_everything(client: TestClient) -> None:
    history = [{"item_id": f"i{number}"} for number in range(16)]
    answer = client.post(URL, json={"history": history}).json()
    assert answer["fallback"]["message"] == "every item was seen already"


def test_all_and_not_are_conditions(client: TestClient) -> None:
    def genres(conditions: dict[str, Any]) -> list[list[str]]:
        body = {"user_id": "u0", "filter": {"genres": conditions}, "reasons": False}
        response = client.post(URL, json=body)
        assert response.status_code == 200, response.text
        return [item["attributes"].get("genres", []) for item in response.json()["items"]]

    everything = genres({"not": "no such genre"})
    named = next(values[0] for values in everything if values)
    assert all(named not in values for values in genres({"not": named}))
    assert all(named not in values for values in genres({"not": [named, "no such genre"]}))
    assert all(named in values for values in genres({"all": [named]}))
    assert genres({"all": [named, "no such genre"]}) == []
