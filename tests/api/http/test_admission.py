"""Rejections over a real socket, from a service with one slot."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.api.process import Service, serving, wait_for
from tests.standin import StandIn

URL = "/v1/recommendations"
JSON = {"content-type": "application/json"}
BODY = json.dumps({"user_id": "u0", "k": 1, "reasons": False}).encode()


class Full:
    """A service whose only slot is taken until :meth:`release`."""

    def __init__(self, service: Service, standin: StandIn) -> None:
        self.service = service
        self._go_on = threading.Event()
        self._standin = standin
        standin.fault = self._wait
        self.answers: list[int] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        wait_for(lambda: "whyrank_in_flight_requests 1.0" in self.metrics())

    def _wait(self, _path: str, answer: dict[str, object]) -> dict[str, object]:
        self._go_on.wait(30)
        return answer

    def _ask(self) -> None:
        self.answers.append(
            httpx2.post(self.service.url + URL, content=BODY, headers=JSON, timeout=60, trust_env=False).status_code
        )

    def metrics(self) -> str:
        return httpx2.get(self.service.url + "/metrics", trust_env=False).text

    def release(self) -> None:
        self._go_on.set()
        self._thread.join()
        wait_for(lambda: "whyrank_in_flight_requests 0.0" in self.metrics())


@pytest.fixture
def full(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> Iterator[Full]:
    environment = {
        "WHYRANK_ARTIFACT": str(artifact_dir),
        "WHYRANK_LLM__URL": standin.url,
        "WHYRANK_MAX_IN_FLIGHT": "1",
    }
    with serving(tmp_path, **environment) as service:
        full = Full(service, standin)
        yield full
        full.release()


def head(*more: bytes) -> bytes:
    lines = [
        b"POST /v1/recommendations HTTP/1.1",
        b"host: localhost",
        b"content-type: application/json",
        b"content-length: %d" % len(BODY),
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def connect(full: Full) -> socket.socket:
    address = urlsplit(full.service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def status(connection: socket.socket) -> bytes:
    """Read the next answer with its body, and return its status."""
    return connection.recv(2**16).split(b" ", 2)[1]


def test_a_refusal_is_a_problem_with_an_id_and_leaves_the_connection_open(full: Full) -> None:
    with httpx2.Client(base_url=full.service.url, headers=JSON, trust_env=False, timeout=30) as client:
        own = client.post(URL, content=BODY, headers={"x-request-id": "abc-1"})
        assert own.status_code == 429
        assert own.headers["content-type"] == "application/problem+json"
        assert own.headers["retry-after"] == "1"
        assert own.headers["x-request-id"] == "abc-1"
        assert (own.json()["type"], own.json()["status"]) == ("/problems/busy", 429)
        other = client.post(URL, content=BODY, headers={"x-request-id": 'a"b'})
        assert len(other.headers["x-request-id"]) == 32
        assert client.get("/health/live").status_code == 200
        full.release()
        assert full.answers == [200]
        assert client.post(URL, content=BODY).status_code == 200
        wait_for(lambda: "whyrank_in_flight_requests 0.0" in full.metrics())
    assert 'whyrank_requests_total{route="refused",status="429"} 2.0' in full.metrics()


def test_a_body_that_comes_later_is_read_before_the_refusal(full: Full) -> None:
    with connect(full) as connection:
        connection.sendall(head())
        connection.sendall(BODY[:5])
        connection.sendall(BODY[5:])
        assert status(connection) == b"429"
        full.release()
        connection.sendall(head() + BODY)
        assert status(connection) == b"200"


@pytest.mark.parametrize("more", [b"connection: close", b"expect: 100-continue"])
def test_who_asks_for_the_end_of_the_connection_or_to_be_told_first_is_refused_too(full: Full, more: bytes) -> None:
    with connect(full) as connection:
        connection.sendall(head(more) + BODY)
        assert status(connection) == b"429"
        if more == b"connection: close":
            assert connection.recv(1) == b""


def test_requests_in_one_packet_are_all_answered(full: Full) -> None:
    with connect(full) as connection:
        connection.sendall((head() + BODY) * 3)
        received = b""
        while received.count(b"HTTP/1.1 429") < 3:
            received += connection.recv(2**16)
    full.release()
    with connect(full) as connection:
        connection.sendall((head() + BODY) * 3)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3:
            some = connection.recv(2**16)
            assert some, received
            received += some
