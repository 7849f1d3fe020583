"""The page's files: nothing from elsewhere, no script in the page, small, and both languages complete."""

import hashlib
import re

from starlette.testclient import TestClient

from api.studio import STATIC

BROWSER = {"accept": "text/html"}
VENDORED = STATIC / "vendor" / "editor"


def own_files() -> list[str]:
    return [path.name for path in STATIC.iterdir() if path.is_file()]


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER)
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"\son\w+=|<script(?! type=\"module\" src=)|style=", page.text)
    for name in own_files():
        text = (STATIC / name).read_text()
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        assert "innerHTML" not in text, name
        assert client.get(f"/studio/{name}").status_code == 200


def test_the_first_view_is_small() -> None:
    assert sum((STATIC / name).stat().st_size for name in own_files()) < 200_000


def test_files_are_open_where_keys_exist_and_hold_no_data(client: TestClient) -> None:
    assert client.get("/studio/../http/app.py").status_code == 404
    assert client.get("/studio/nosuch.js").status_code == 404


def test_every_word_of_the_page_is_there_in_both_languages() -> None:
    words = (STATIC / "words.js").read_text()
    listed = re.findall(r'^  (\w+): \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\],$', words, re.MULTILINE)
    known = {name for name, _, _ in listed}
    assert len(known) == len(listed), "a word stands there twice"
    for name, english, chinese in listed:
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), name
        assert re.search(r"[\u4e00-\u9fff]", chinese) or not re.search("[a-z]", re.sub(r"\{.*?\}", "", chinese)), name
    for name in own_files():
        if name.endswith(".js"):
            used = set(re.findall(r'\bt\("(\w+)"', (STATIC / name).read_text()))
            assert used <= known, (name, used - known)


def test_the_editor_is_the_one_that_was_built() -> None:
    listed = [line.split() for line in (VENDORED / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in listed} == {"editor.js", "LICENSES.txt"}
    for checksum, name in listed:
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == checksum, name
    licences = (VENDORED / "LICENSES.txt").read_text()
    for package in ("@codemirror/view", "@codemirror/state", "@lezer/highlight", "style-mod"):
        assert package in licences
