"""Invalid or oversized JSON bodies are rejected before validation, with an error that names the field."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.http.json_body import MOST_DEPTH, MOST_ENTRIES, MOST_KEYS, MOST_VALUES, decode
from api.http.problems import Refused

URL = "/v1/recommendations"
JSON = {"content-type": "application/json"}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("raw", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b'{"k": 1} x', 400, "body"),
        (b"\xef\xbb\xbf{}", 400, "body"),
        (b'{"k": "\xff"}', 400, "body"),
        ('{"k": 1}'.encode("utf-16"), 400, "body"),
        (b'{"k": NaN}', 422, "k"),
        (b'{"k": {"l": [1, -Infinity]}}', 422, "k.l.1"),
        (b'{"k": 1e999}', 422, "k"),
        (b'{"k": ' + b"9" * 20 + b"}", 422, "k"),
        (b'{"k": -' + b"9" * 400 + b"}", 422, "k"),
        (b'{"k": ' + b"9" * 10_000 + b"}", 422, "k"),
        (b'{"k": "\\udc00"}', 422, "k"),
        (b'{"k": {"\\ud800x": 1}}', 422, "k.\ud800x"),
        (b'{"k": 1, "l": 2, "k": 3}', 422, "k"),
        (nested(MOST_DEPTH + 1), 422, "body"),
        (nested(40_000), 422, "body"),
        (b'{"k": [' + b"1," * MOST_ENTRIES + b"1]}", 422, "k"),
        (b"[" + b"1," * MOST_VALUES + b"1]", 422, "body"),
        (b"[" + b"[]," * MOST_VALUES + b"1]", 422, "body"),
        (b'"' * (8 * MOST_VALUES), 422, "body"),
        (json.dumps({str(key): 1 for key in range(MOST_KEYS + 1)}).encode(), 422, "body"),
    ],
)
def test_what_cannot_be_used_is_refused_and_named(raw: bytes, status: int, field: str) -> None:
    with pytest.raises(Refused) as caught:
        decode(raw)
    assert (caught.value.status, caught.value.error.field) == (status, field)


@pytest.mark.parametrize(
    "value",
    [
        {"k": [2**63 - 1, -(2**63 - 1), 1.5, True, None, "😀", '"],[{:\\"\\\\']},
        "," * (2 * MOST_VALUES) + "[{" * MOST_VALUES,
        '\\"' * MOST_VALUES,
        [1] * MOST_ENTRIES,
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_is_within_the_bounds_is_decoded(value: Any, ascii_only: bool) -> None:
    assert decode(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | texts


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20))
def test_decoding_is_jsons_own(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == json.loads(json.dumps(value))


@given(st.binary(max_size=200) | texts.map(str.encode))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        decode(raw)


LISTS = {
    "candidate_ids": [1] * MOST_ENTRIES,
    "exclude_ids": [[]] * MOST_ENTRIES,
    "history": ["x"] * MOST_ENTRIES,
    "filter": {"genres": {"in": [None] * MOST_ENTRIES}},
    "profile": {str(key): 1 for key in range(MOST_KEYS)},
}


@pytest.mark.parametrize("field", LISTS)
def test_a_long_list_of_mistakes_is_one_mistake(client: TestClient, field: str) -> None:
    response = client.post(URL, json={"user_id": "u0", field: LISTS[field]})
    assert response.status_code == 422
    assert field in response.json()["field"]
    assert len(response.content) < 2000


@pytest.mark.parametrize(
    "body",
    ['{"user_id": "\\udc00"}', '{"\\udc00": 1}', '{"user_id": "u0", "' + "k" * 100_000 + '": 1}', '{"user_id": [1]}'],
)
def test_what_was_sent_is_told_in_bounds_and_in_unicode(client: TestClient, body: str) -> None:
    response = client.post(URL, content=body, headers=JSON)
    assert response.status_code == 422
    assert len(response.content) < 3000


def test_an_id_that_is_a_number_is_to_be_quoted(client: TestClient) -> None:
    assert 'quote it, "42"' in client.post(URL, json={"user_id": 42}).json()["detail"]
    assert 'quote it, "7"' in client.post(URL, json={"candidate_ids": ["i0", 7]}).json()["detail"]


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "content-type"),
        ({"content-type": "text/plain"}, "content-type"),
        ({"content-type": "application/json; charset=utf-16"}, "content-type"),
        ({"content-type": "application/json" + ";" * 50_000}, "content-type"),
        (JSON | {"content-encoding": "gzip"}, "content-encoding"),
    ],
)
def test_a_body_that_says_it_is_something_else(client: TestClient, headers: dict[str, str], field: str) -> None:
    response = client.post(URL, content=b'{"user_id": "u0"}', headers=headers)
    assert (response.status_code, response.json()["field"]) == (415, field)
    assert response.json()["remedy"]


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "application/vnd.x+json"])
def test_json_under_its_other_names(client: TestClient, content_type: str) -> None:
    body = b'{"user_id": "u0", "k": 1, "reasons": false}'
    assert client.post(URL, content=body, headers={"content-type": content_type}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"3"])
def test_a_body_that_is_no_object(client: TestClient, body: bytes) -> None:
    response = client.post(URL, content=body, headers=JSON)
    assert (response.status_code, response.json()["field"]) == (422, "body")
