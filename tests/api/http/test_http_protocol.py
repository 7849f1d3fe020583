"""Unusual and hostile use of connections, over real sockets: other clients are not affected."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest

from retrieval import AlsParameters, fit, make_dataset
from tests.api.process import Service, serving, wait_for

CANARY = "somebody-secret"
POST = b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
USERS = b"GET /v1/users?limit=1 HTTP/1.1\r\nhost: localhost\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n"
LAG_S = 1.0
"""Far above the cost of a valid input, far below the lag of a blocked loop."""


@pytest.fixture(scope="module")
def service(artifact_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with four slots; at the end its loop was never blocked, and its log names no user."""
    folder = tmp_path_factory.mktemp("wire")
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_MAX_IN_FLIGHT": "4", "WHYRANK_MAX_CONNECTIONS": "64"}
    with serving(folder, "--no-llm", **environment) as service:
        yield service
        metrics = ask(service, b"GET /metrics HTTP/1.0\r\n\r\n").decode()
        log = service.log.read_text()
    assert value(metrics, "whyrank_in_flight_requests") == 0
    late = value(metrics, f'whyrank_loop_lag_seconds_bucket{{le="{LAG_S}"}}')
    assert late == value(metrics, "whyrank_loop_lag_seconds_count"), metrics
    assert CANARY not in log
    assert "fault" not in log
    assert {json.loads(line)["level"] for line in log.splitlines()} <= {"info", "warning"}


def value(metrics: str, name: str) -> float:
    return float(re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)[1])  # type: ignore[index]


def connect(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def rest(connection: socket.socket) -> bytes:
    """Read everything until the service closes the connection."""
    received = b""
    try:
        while some := connection.recv(2**16):
            received += some
    except ConnectionError:  # closed while data was in transit
        pass
    return received


def ask(service: Service, *sent: bytes) -> bytes:
    with connect(service) as connection:
        try:
            for some in sent:
                connection.sendall(some)
        except ConnectionError:
            pass
        return rest(connection)


def in_flight(service: Service) -> float:
    return value(ask(service, b"GET /metrics HTTP/1.0\r\n\r\n").decode(), "whyrank_in_flight_requests")


LONG = b"x" * 40_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([b"%b\x00\xff\r\n\r\n" % CANARY.encode()], 400),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], 400),
        ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 400),
        ([b"CONNECT %b:443 HTTP/1.1\r\nhost: localhost\r\n\r\n" % CANARY.encode()], 400),
        ([b"GET /v1/users/\xff%b HTTP/1.1\r\nhost: localhost\r\n\r\n" % CANARY.encode()], 400),
        ([b"GET /v1/users/" + LONG + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"], 414),
        ([USERS + b"a: b\r\n" * 200 + b"\r\n"], 431),
        ([USERS + b"a: " + LONG + b"\r\nb: " + LONG + b"\r\n\r\n"], 431),
        ([POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], 400),
        ([POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"], 400),
        ([POST + b"content-length: 999999999999999999999999\r\n\r\n{"], 400),
        ([USERS + b"host: localhost\r\nconnection: close\r\n\r\n"], 403),
        ([b"GET /v1/users HTTP/1.0\r\n\r\n"], 403),
        ([POST + b"connection: close\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b"], 415),
    ],
)
def test_what_is_no_request_is_a_problem(service: Service, sent: list[bytes], status: int) -> None:
    head, _, body = ask(service, *sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    "begin",
    [USERS + b"a: ", USERS + b"a: b\r\n", POST + b"transfer-encoding: chunked\r\n\r\n1;", LIVE[:5]],
    ids=["a header", "headers", "a chunk's extension", "a URL"],
)
def test_what_never_ends_is_cut(service: Service, begin: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(begin)
        more = (b"c: d\r\n" if begin.endswith(b"\n") else b"x") * 10_000_000
        with pytest.raises(ConnectionError):
            connection.sendall(more)


@pytest.mark.parametrize(
    "upgrade",
    [
        b"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        b"upgrade: x-%b\r\n" % CANARY.encode(),
    ],
)
def test_an_upgrade_is_answered_as_the_request_that_it_is(service: Service, upgrade: bytes) -> None:
    path = f"GET /v1/users/{CANARY}?x={CANARY} HTTP/1.1\r\nhost: localhost\r\ncookie: {CANARY}\r\n".encode()
    received = ask(service, path + b"connection: upgrade\r\n" + upgrade + b"\r\n")
    assert received.startswith(b"HTTP/1.1 422 ")
    assert received.count(b"HTTP/1.1") == 1


def test_head_has_no_body_on_the_wire(service: Service) -> None:
    head = b"HEAD /v1/users HTTP/1.1\r\nhost: localhost\r\n"
    received = ask(service, head + b"\r\n" + head + b"connection: close\r\n\r\n")
    assert received.count(b"HTTP/1.1 200") == 2
    assert b"{" not in received


def test_requests_in_a_row_are_answered_up_to_a_number(service: Service) -> None:
    assert ask(service, (LIVE + b"\r\n") * 20 + LIVE + b"connection: close\r\n\r\n").count(b"HTTP/1.1 200") == 21
    assert 20 < ask(service, (LIVE + b"\r\n") * 2000).count(b"HTTP/1.1 200") < 100


def test_a_body_that_is_refused_early_does_not_end_its_connection(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(POST + b"content-length: 3000000\r\n\r\n")
        refused = b""
        while not refused.endswith(b"}"):  # head and body may arrive separately
            refused += connection.recv(2**16)
        assert refused.startswith(b"HTTP/1.1 413")
        connection.sendall(b"x" * 3_000_000 + LIVE + b"connection: close\r\n\r\n")
        assert rest(connection).startswith(b"HTTP/1.1 200")


def test_slow_callers_hold_no_place_and_are_cut(service: Service) -> None:
    beginnings = {
        b"": b"",
        b"\r\n": b"",
        LIVE: b"408",
        POST + b"content-length: 99\r\n\r\n{": b"408",
        POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n": b"408",
        POST + b"expect: 100-continue\r\ncontent-length: 99\r\n\r\n": b"408",
    }
    slow = [(connect(service), begin, status) for begin, status in beginnings.items() for _ in range(6)]
    for connection, begin, _ in slow:
        connection.sendall(begin)
    time.sleep(0.5)  # all have been read by now: more than there are slots
    assert in_flight(service) == 0
    assert ask(service, USERS + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    for connection, begin, status in slow:
        received = rest(connection).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert status in received.partition(b"\r\n")[0] or begin == b"\r\n", (begin, received)
        connection.close()


def test_idle_connections_shut_nobody_out(service: Service) -> None:
    idle = [connect(service) for _ in range(200)]
    assert ask(service, LIVE + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    metrics = ask(service, b"GET /metrics HTTP/1.0\r\n\r\n").decode()
    assert value(metrics, "whyrank_connections") <= 64
    assert value(metrics, 'whyrank_connections_closed_total{reason="room"}') > 100
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    "body",
    [
        b'{"candidate_ids": [' + b"1," * 2**19 + b"1]}",
        b"[" * 2**20,
        b'{"a":' * 2**18,
        b'"' * 2**20,
        b'{"user_id": "' + b'\\"' * 2**19 + b'"}',
        b"{" + b",".join(b'"k%d": 1' % key for key in range(100_000)) + b"}",
        b'{"exclude_ids": [' + b"[]," * 9_999 + b"[]]}",
        b"9" * 2**20,
    ],
    ids=["entries", "lists", "objects", "quotes", "escapes", "keys", "mistakes", "digits"],
)
def test_a_large_body_is_refused_in_few_words(service: Service, body: bytes) -> None:
    received = ask(service, POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body), body)
    assert received.startswith(b"HTTP/1.1 4")
    assert len(received) < 2000


@pytest.fixture(scope="module")
def wordy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose answers are several megabytes long."""
    folder = tmp_path_factory.mktemp("wordy")
    ids = [f"i{number}" for number in range(110)]
    items = pl.DataFrame({"item_id": ids, "title": ids, "note": ["a" * 60_000] * len(ids)})
    did = [{"user_id": f"u{user}", "item_id": ids[(user * 7 + step) % 110], "event": "like"}
           for user in range(20) for step in range(8)]  # fmt: skip
    fit(folder, make_dataset("wordy", "things", items, pl.DataFrame(did)), AlsParameters(factors=4))
    return folder


@pytest.mark.parametrize("streamed", [True, False])
def test_a_reader_who_stops_is_cut_after_the_deadline(wordy: Path, tmp_path: Path, streamed: bool) -> None:
    body = json.dumps({"user_id": "u1", "k": 90, "stream": streamed, "deadline_ms": 1500}).encode()
    environment = {"WHYRANK_ARTIFACT": str(wordy), "WHYRANK_MAX_IN_FLIGHT": "4"}
    with serving(tmp_path, "--no-llm", **environment) as service, ExitStack() as stack:
        address = urlsplit(service.url)
        for _ in range(4):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.connect((address.hostname, address.port))
            reader.sendall(POST + b"content-length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: in_flight(service) == 4)
        assert ask(service, USERS + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 429")
        wait_for(lambda: in_flight(service) == 0, seconds=30)
        metrics = ask(service, b"GET /metrics HTTP/1.0\r\n\r\n").decode()
        assert value(metrics, 'whyrank_connections_closed_total{reason="unread"}') == 4
        with connect(service) as reader:  # a slow reader that finishes in time
            reader.sendall(POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            time.sleep(1.0)
            assert len(rest(reader)) > 5_000_000
