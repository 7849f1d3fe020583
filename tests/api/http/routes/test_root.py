"""The root and the API reference, which loads nothing from other servers."""

import hashlib
import re
from pathlib import Path

from starlette.testclient import TestClient

import api

VENDORED = Path(api.__file__).parent / "http" / "static" / "swagger-ui"


def test_the_root_says_what_there_is(client: TestClient) -> None:
    told = client.get("/").json()
    assert told["reference"] == "/docs"
    assert "POST /v1/recommendations" in told["routes"]
    for path in (told["reference"], told["openapi"]):
        assert client.get(path).status_code == 200


def test_a_browser_gets_the_studio(client: TestClient) -> None:
    page = client.get("/", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.status_code == 200
    assert "whyrank studio" in page.text
    assert "unsafe" not in page.headers["content-security-policy"]


def test_the_reference_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "://" not in page.text
    scripts = re.findall(r'<script src="([^"]+)"></script>', page.text)
    assert page.text.count("<script") == len(scripts) == 2, "no script stands in the page itself"
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page.text)
    for asset in (*scripts, *styles):
        assert client.get(f"/{asset}").status_code == 200
    assert client.get("/redoc").status_code == 404


def test_vendored_files_are_those_that_were_released() -> None:
    listed = [line.split() for line in (VENDORED / "SHA256SUMS").read_text().splitlines()]
    assert {"LICENSE", "swagger-ui-bundle.js", "swagger-ui.css"} <= {name for _, name in listed}
    for checksum, name in listed:
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == checksum, name
