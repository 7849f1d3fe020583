"""Every route at the limits of HTTP: number and size of headers, size and depth of the body, invalid JSON."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.api.http.test_openapi import OPERATIONS
from tests.api.process import Service, serving
from tests.standin import StandIn

MIB = 1 << 20
PADDED = st.sampled_from([2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 16 * MIB, 16 * MIB + 1]).map(
    lambda size: b" " * size + b"{}"
)
DEEP = st.integers(1, 5_000).map(lambda depth: b'{"query": ' + b"[" * depth + b"]" * depth + b"}")
WIDE = st.integers(1, 100_000).map(lambda width: json.dumps({"history": [None] * width}).encode())
LONG = st.integers(1, 5_000).map(lambda digits: b'{"k": ' + b"9" * digits + b"}")
SURROGATE = st.just(rb'{"query": "\ud800", "user_id": "\udfff"}')
BODIES = st.one_of(st.none(), st.binary(max_size=200), PADDED, DEEP, WIDE, LONG, SURROGATE)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=40).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=300)
HEADERS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=20),
    st.integers(1, 300).map(lambda count: {f"x-{number}": "a" for number in range(count)}),
    st.integers(1, 80_000).map(lambda size: {"x-long": "a" * size}),
    st.dictionaries(
        st.sampled_from(["accept", "authorization", "content-type", "cookie", "if-match", "range", "x-request-id"]),
        VALUES,
    ),
)
SEGMENTS = st.text(min_size=1, max_size=60).map(lambda text: quote(text, safe="", errors="surrogatepass"))


@pytest.fixture(scope="module")
def service(artifact_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with StandIn() as standin:
        environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": standin.url}
        with serving(tmp_path_factory.mktemp("limits"), **environment) as running:
            yield running
            assert '"event": "fault"' not in running.log.read_text()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_request_at_the_limits_is_answered(service: Service, operation: str) -> None:
    method, path = operation.split()

    @hypothesis.given(headers=HEADERS, body=BODIES, segment=SEGMENTS)
    @hypothesis.settings(
        max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def check(headers: dict[str, str], body: bytes | None, segment: str) -> None:
        target = path.format_map(dict.fromkeys(("item_id", "user_id", "name", "alias", "experiment_id"), segment))
        status, content_type = answer(service, method, target, headers, body)
        assert status < 500 or (status == 503 and path.endswith(("rerank", "ready"))), status
        assert status < 400 or content_type == "application/problem+json", (status, content_type)

    check()


def answer(service: Service, method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[int, str]:
    """Return the status and content type of the answer, even if the server answers before the body is sent."""
    host = service.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.putrequest(method, target)
        for name, value in ({"content-type": "application/json"} | headers).items():
            connection.putheader(name, value.encode("latin-1"))
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # a rejection may arrive before the end of the body
            connection.send(body or b"")
        response = connection.getresponse()
        response.read()
        return response.status, (response.getheader("content-type") or "").partition(";")[0]
    finally:
        connection.close()
