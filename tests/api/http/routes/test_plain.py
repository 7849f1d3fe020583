"""Editing prompts without JavaScript."""

import html

import pytest
from starlette.testclient import TestClient

from api.settings.model import Settings
from prompts import PromptLibrary
from tests.api.http.routes.conftest import client_of
from tests.standin import StandIn

SOURCE = PromptLibrary().get("rank").source
CHANGED = SOURCE.replace("that one person chose", "that one person <b>picked</b>")


def form(action: str, source: str = CHANGED, **more: str) -> dict[str, str]:
    return {"name": "rank", "source": source.replace("\n", "\r\n"), "action": action, **more}


def test_a_prompt_is_shown_previewed_kept_and_saved(admin: TestClient) -> None:
    shown = admin.get("/plain")
    assert html.escape(SOURCE, quote=False).splitlines()[1] in shown.text
    assert "(production)" in shown.text
    assert "script" not in shown.headers["content-security-policy"]
    previewed = admin.post("/plain", data=form("preview", user="u0"))
    assert "that one person &lt;b&gt;picked&lt;/b&gt;, in order:" in previewed.text
    assert "tokens" in previewed.text
    assert "<b>" not in previewed.text
    assert "The draft is kept" in admin.post("/plain", data=form("keep", who="Ann")).text
    assert admin.get("/v1/prompts/rank/draft").json()["source"] == CHANGED, "with the line ends that files have"
    late = admin.post("/plain", data=form("keep", SOURCE))
    assert (late.status_code, "changed meanwhile" in late.text) == (422, True)
    again = admin.get("/plain").text
    assert "(draft)" in again
    saved = admin.post("/plain", data=form("save", note="warmer", who="Ann"))
    assert "Saved as version 3" in saved.text
    assert admin.get("/v1/prompts/rank/changes").json()["changes"][0]["who"] == "Ann"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (form("preview", SOURCE.replace("endfor", "endfro")), "no tag"),
        (form("preview", user="nobody"), "no such user"),
        (form("keep", name="../x"), "cannot be a name"),
        (form("save", "nothing"), ""),
    ],
)
def test_what_is_wrong_is_told_and_the_text_stays(admin: TestClient, sent: dict[str, str], told: str) -> None:
    answer = admin.post("/plain", data=sent)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert told in html.unescape(answer.text)
    assert html.escape(sent["source"].splitlines()[0], quote=False) in answer.text


def test_names_that_are_none_are_told(admin: TestClient) -> None:
    for name in ("nosuch", "<script>alert(1)</script>", "../../etc/passwd"):
        answer = admin.get("/plain", params={"name": name})
        assert answer.status_code == 404
        assert "<script>" not in answer.text


def test_only_administrators_may(settings: Settings, standin: StandIn) -> None:
    with client_of(settings, standin, host="203.0.113.9") as stranger:
        assert stranger.get("/plain").status_code == 403
        assert stranger.post("/plain", data=form("save")).status_code == 403
    with client_of(settings, standin) as client:
        foreign = client.post("/plain", data=form("save"), headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
