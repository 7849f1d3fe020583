"""Bad templates, references and files never cause an error page."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from prompts import PromptLibrary
from prompts.library.store import write_table
from reranker import EngineSettings, LlmSettings
from tests.prompts.conftest import LISTWISE, RANK
from tests.standin import StandIn

URL = "/v1/prompts"
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
FAILS = RANK.replace("[history]", "[history, query]").replace(
    "Films, in order:", "{% if query == 'boom' %}{{ history[999].title }}{% endif %}Films, in order:"
)
SECRET = RANK.replace("description: d", "description: not for everybody")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "prompts"


@pytest.fixture
def admin(artifact_dir: Path, own: Path, standin: StandIn, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(artifact=artifact_dir, prompts_dir=own, llm=LlmSettings(weight=1.0, cache_dir=tmp_path))
    app = create_app(settings, EngineSettings(url=standin.url))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000)) as client:
        yield client


def promote(client: TestClient, name: str, source: str) -> None:
    version = client.post(f"{URL}/{name}", json={"source": source}).json()["version"]
    target = f"{URL}/{name}/aliases/production"
    headers = {"If-Match": client.get(target).headers["etag"]}
    assert client.put(target, json={"version": version}, headers=headers).status_code == 200


def put(own: Path, name: str, source: str) -> None:
    (own / name).mkdir(parents=True)
    (own / name / "7.jinja").write_text(source)
    write_table(own / "aliases.json", {name: {"production": 7}})
    write_table(own / "hashes.json", {name: {"7": hashlib.sha256(source.encode()).hexdigest()}})


def problems(client: TestClient) -> str:
    return str(client.get("/health/ready").json()["problems"])


@pytest.mark.parametrize("suffix", ["", "\n", "%0a", " ", "\t", "\u2028"])
@pytest.mark.parametrize("wanted", ["draft", "2", "02", "２"])
def test_no_spelling_leads_to_what_is_not_released(admin: TestClient, own: Path, wanted: str, suffix: str) -> None:
    admin.post(f"{URL}/rank", json={"source": SECRET})
    (own / "rank" / "draft.jinja").write_text(SECRET)
    version = PromptLibrary(own).versions("rank")[-1]
    wanted = wanted.replace("2", str(version)).replace("２", "３")
    read = admin.get(f"{URL}/rank", params={"version": wanted + suffix}, headers=ELSEWHERE)
    assert read.status_code in (403, 404)
    body = {"user_id": "u0", "k": 1, "prompts": {"rank": f"rank@{wanted}{suffix}"}}
    asked = admin.post("/v1/recommendations", json=body, headers=ELSEWHERE)
    assert asked.status_code in (403, 422)
    shown = admin.post(f"{URL}/render", json={"prompt": f"rank@{wanted}{suffix}"}, headers=ELSEWHERE)
    assert shown.status_code in (403, 422)
    assert "not for everybody" not in read.text + asked.text + shown.text


def test_the_list_tells_nothing_of_a_draft(admin: TestClient, own: Path) -> None:
    (own / "secret").mkdir(parents=True)
    (own / "secret" / "draft.jinja").write_text(SECRET)
    listed = admin.get(URL, headers=ELSEWHERE)
    assert "secret" in listed.text
    assert "not for everybody" not in listed.text


def test_a_template_that_fails_for_one_request_degrades_it_and_is_told(admin: TestClient) -> None:
    promote(admin, "rank", FAILS)
    ask = {"user_id": "u0", "k": 2}
    assert admin.post("/v1/recommendations", json=ask).json()["degraded"] == []
    failed = admin.post("/v1/recommendations", json={**ask, "query": "boom"})
    assert failed.status_code == 200
    assert failed.json()["degraded"][0]["stage"] == "rank"
    assert len(failed.json()["items"]) == 2
    assert "rank@3 failed 1 time since" in problems(admin)
    assert admin.post("/v1/recommendations", json={**ask, "query": "boom", "stream": True}).status_code == 200
    assert "rank@3 failed 2 times since" in problems(admin)


def test_a_reason_template_that_fails_becomes_evidence_sentences(admin: TestClient, own: Path) -> None:
    source = PromptLibrary().get("reason").source
    fails = source.replace("user:\nLiked: {% for", "user:\n{{ item.attributes.nothing }}Liked: {% for", 1)
    refused = admin.post(f"{URL}/reason", json={"source": fails})
    assert refused.status_code == 422
    assert refused.json()["line"]
    put(own, "reason", fails)
    answer = admin.post("/v1/recommendations", json={"user_id": "u0", "k": 2})
    assert answer.status_code == 200
    assert [one["stage"] for one in answer.json()["degraded"]] == ["reason"]
    assert {item["reason"]["source"] for item in answer.json()["items"]} == {"evidence"}
    assert "reason@7 failed 2 times since" in problems(admin)


@pytest.mark.parametrize(("name", "source"), [("rank", LISTWISE), ("rank", "nothing"), ("reason", RANK)])
def test_what_somebody_puts_in_by_hand_never_breaks_the_service(
    admin: TestClient, own: Path, name: str, source: str
) -> None:
    put(own, name, source)
    answer = admin.post("/v1/recommendations", json={"user_id": "u0", "k": 2})
    assert (answer.status_code, answer.json()["degraded"]) == (200, [])
    assert f"{name}" in problems(admin)
    assert str(own) not in problems(admin)
    assert admin.get(URL).status_code == 200
    labels = {"user_id": "u0", "k": 2, "prompts": {"rank": "rank-labels"}}
    assert admin.post("/v1/recommendations", json=labels).status_code == 200


def test_texts_are_ranked_by_the_shipped_template_where_the_teams_fails(admin: TestClient) -> None:
    source = PromptLibrary().get("rerank").source
    promote(admin, "rerank", source.replace("text:\n", "text:\n{% if query == 'boom' %}{{ query / 0 }}{% endif %}", 1))
    answer = admin.post("/v1/rerank", json={"query": "boom", "documents": ["one", "two"]})
    assert answer.status_code == 200
    assert "rerank@2 failed" in problems(admin)


def test_a_mistake_over_http_names_its_line(admin: TestClient) -> None:
    refused = admin.post(f"{URL}/rank", json={"source": RANK.replace("{{ entry.title }}", "{{ entry.title | joins }}")})
    told = refused.json()
    assert (refused.status_code, told["line"], told["column"]) == (422, 11, 18)
    misfit = admin.post(f"{URL}/rank", json={"source": LISTWISE}).json()
    assert misfit["type"] == "/problems/template-misfit#scoring"
    assert "requires scoring 'likelihood'" in misfit["detail"]


@pytest.mark.parametrize("content", ["{", "[" * 5000, '{"rank": 3}'])
def test_damaged_tables_are_listed_as_such(admin: TestClient, own: Path, content: str) -> None:
    admin.post(f"{URL}/rank", json={"source": RANK})
    (own / "hashes.json").write_text(content)
    listed = admin.get(URL)
    assert listed.status_code == 200
    assert "broken" in listed.text
    assert admin.post("/v1/recommendations", json={"user_id": "u0", "k": 1}).status_code == 200
