"""Access without keys, and the answers to wrong addresses."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from api.http.problems import without_folders
from api.http.security import check_binding
from retrieval import InputError
from tests.api.process import whyrank

ANY = "0.0.0.0"  # noqa: S104
PATHS = ("/v1/users/u0", "/v1/users", "/v1/items", "/v1/prompts", "/%76%31/users")
OTHERS = [
    {"host": "rebind.evil.example"},
    {"host": "127.0.0.1.evil.example:8000"},
    {"host": "localhost.evil.example"},
    {"host": "0.0.0.0:8000"},
    {"host": "10.0.0.5"},
    {"host": ""},
    {"host": "localhost", "origin": "http://evil.example"},
    {"host": "localhost", "origin": "null"},
    {"host": "localhost", "origin": "http://localhost.evil.example"},
]


def asked(artifact: Path, path: str, headers: dict[str, str], **settings: object) -> int:
    app = create_app(Settings.model_validate({"artifact": artifact, "allowed_hosts": (), **settings}), None)
    return TestClient(app).get(path, headers=headers).status_code


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_a_page_of_another_site_reads_nothing_but_probes(artifact_dir: Path, headers: dict[str, str]) -> None:
    client = TestClient(create_app(Settings(artifact=artifact_dir, allowed_hosts=()), None))
    for path in PATHS:
        refused = client.get(path, headers=headers)
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json"), path
        assert "allowed_hosts" in refused.json()["remedy"]
    assert client.post("/v1/recommendations", json={"user_id": "u0"}, headers=headers).status_code == 403
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost"},
        {"host": "LOCALHOST.:8000"},
        {"host": "127.0.0.1:8000"},
        {"host": "127.9.9.9"},
        {"host": "[::1]:8000"},
        {"host": "[::1]"},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
    ],
    ids=str,
)
def test_this_machine_reads(artifact_dir: Path, headers: dict[str, str]) -> None:
    assert asked(artifact_dir, "/v1/users/u0", headers) == 200


def test_names_that_are_allowed(artifact_dir: Path) -> None:
    names = ("Shop.example:8443",)
    page = {"host": "shop.example", "origin": "https://shop.example"}
    assert asked(artifact_dir, "/v1/users/u0", page, allowed_hosts=names) == 200
    assert asked(artifact_dir, "/v1/users/u0", {"host": "other.example"}, allowed_hosts=names) == 403
    assert asked(artifact_dir, "/v1/users/u0", {"host": "other.example"}, allow_open=True) == 200
    assert asked(artifact_dir, "/v1/users/u0", {"host": "o.example"}, allow_open=True, allowed_hosts=names) == 403


@pytest.mark.parametrize("host", [ANY, "::", "", "10.1.2.3", "shop.example"])
def test_an_open_address_must_be_wanted(host: str) -> None:
    with pytest.raises(InputError, match="allow_open"):
        check_binding(Settings(host=host), keys=False)
    check_binding(Settings(host=host, allow_open=True), keys=False)
    check_binding(Settings(host=host), keys=True)


def test_the_command_refuses_an_open_address(artifact_dir: Path, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        check_binding(Settings(host=host), keys=False)
    ended = whyrank("serve", "--host", ANY, "--no-llm", folder=tmp_path, WHYRANK_ARTIFACT=str(artifact_dir))
    assert ended.returncode == 2
    assert "--allow-open" in ended.stderr


@pytest.mark.parametrize(
    ("path", "field", "remedy"),
    [
        ("/v1/users?limt=3", "limt", "'limit'"),
        ("/v1/users/u0?offset=3", "offset", "limit"),
        ("/v1/items?q=x", "q", "query"),
        ("/v1/items?limit=1&limit=2", "limit", "once"),
        ("/v1/prompts?x", "x", "none"),
        ("/health/live?x=1", "x", "none"),
        ("/metrics?x=1", "x", "none"),
        (f"/v1/items?{'x' * 5000}=1", "x" * 197 + "...", "limit"),
    ],
)
def test_unknown_query_parameters_are_named(client: TestClient, path: str, field: str, remedy: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["field"]) == (422, field)
    assert remedy in response.json()["remedy"]


def test_a_body_does_not_hide_an_unknown_query_parameter(client: TestClient) -> None:
    assert client.post("/v1/recommendations?k=3", json={"user_id": "u0"}).json()["field"] == "k"


@pytest.mark.parametrize("path", ["/nowhere", "/v1/recommendation", "/v3"])
def test_unknown_paths_point_to_the_docs(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert "/docs" in response.json()["remedy"]


@pytest.mark.parametrize("path", ["/v1/users", "/v1/items/i0", "/health/live", "/metrics", "/nowhere"])
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_readiness_names_files_without_their_folders(artifact_dir: Path) -> None:
    app = create_app(Settings(artifact=artifact_dir), None)
    app.state.service.watching.tell("artifact", f"{artifact_dir}/build-1/manifest.json: is torn")
    (problem,) = TestClient(app).get("/health/ready").json()["problems"]
    assert problem.endswith("manifest.json: is torn")
    assert "/" not in problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/a/b.json: torn", "b.json: torn"),
        ("cannot read '/srv/a b/c.json'", "cannot read 'c.json'"),
        ("~/x/y is gone", "y is gone"),
        ("ask http://127.0.0.1:8000/v1/users/x", "ask http://127.0.0.1:8000/v1/users/x"),
        ("see /docs and /v1/users/x", "see /docs and /v1/users/x"),
        ("a/b/c or 1/2", "a/b/c or 1/2"),
    ],
)
def test_folders_are_left_out_of_a_text(text: str, told: str) -> None:
    assert without_folders(text) == told
