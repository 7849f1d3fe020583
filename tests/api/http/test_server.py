"""Shutdown of the service on signals, as process supervisors send them."""

import signal
import threading
from pathlib import Path

import httpx2
import pytest

from tests.api.process import Service, serving, wait_for
from tests.proxy import FAULTS, FaultProxy
from tests.standin import StandIn

URL = "/v1/recommendations"
BODY = {"user_id": "u0", "k": 2, "reasons": False}


class Asking:
    """Requests in flight, each from its own thread."""

    def __init__(self, service: Service, count: int) -> None:
        self.answers: list[httpx2.Response] = []
        self.threads = [threading.Thread(target=self._ask, args=(service.url,)) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self, url: str) -> None:
        self.answers.append(httpx2.post(url + URL, json=BODY, timeout=60, trust_env=False))

    def join(self) -> None:
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_answered_before_the_end(
    artifact_dir: Path, standin: StandIn, tmp_path: Path, number: signal.Signals
) -> None:
    release = threading.Event()

    def wait(path: str, answer: dict[str, object]) -> dict[str, object]:
        release.wait(30)
        return answer

    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": standin.url}
    with serving(tmp_path, **environment) as service:
        standin.fault = wait
        asking = Asking(service, 8)
        wait_for(lambda: "in_flight_requests 8.0" in httpx2.get(service.url + "/metrics", trust_env=False).text)
        service.end(number)
        wait_for(lambda: _refused(service))
        release.set()
        asking.join()
        assert [answer.status_code for answer in asking.answers] == [200] * 8
        assert {answer.json()["ranker"] for answer in asking.answers} == {"fused"}
        assert service.process.wait(timeout=30) == (0 if number == signal.SIGTERM else 130)


def test_readiness_says_that_the_end_is_near_while_requests_are_still_taken(artifact_dir: Path, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_DRAIN_NOTICE_S": "600"}
    with serving(tmp_path, "--no-llm", **environment) as service:
        assert httpx2.get(service.url + "/health/ready", trust_env=False).status_code == 200
        service.end()
        wait_for(lambda: httpx2.get(service.url + "/health/ready", trust_env=False).status_code == 503)
        assert httpx2.get(service.url + "/health/live", trust_env=False).status_code == 200
        assert httpx2.post(service.url + URL, json=BODY, trust_env=False).status_code == 200
        service.end()  # a second signal does not wait for the notice
        assert service.process.wait(timeout=30) == 0


def test_a_caller_who_goes_away_ends_the_work_at_the_llm(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> None:
    with FaultProxy(standin.url) as proxy:
        environment = {"WHYRANK_ARTIFACT": str(artifact_dir), "WHYRANK_LLM__URL": proxy.url}
        with serving(tmp_path, **environment) as service:
            assert httpx2.post(service.url + URL, json=BODY, trust_env=False).json()["ranker"] == "fused"
            standin.hang(20)
            other = BODY | {"user_id": "u1"}  # the reads of the first one are cached
            with pytest.raises(httpx2.ReadTimeout):
                httpx2.post(service.url + URL, json=other, timeout=1.0, trust_env=False)
            wait_for(lambda: proxy.abandoned > 0)
            wait_for(lambda: '"status": 499' in service.log.read_text())


def test_no_secret_reaches_log_answers_or_metrics(artifact_dir: Path, standin: StandIn, tmp_path: Path) -> None:
    secret, password = "sk-5ecret", "pa55word"
    with FaultProxy(standin.url) as proxy:
        environment = {
            "WHYRANK_ARTIFACT": str(artifact_dir),
            "WHYRANK_LLM__URL": proxy.url.replace("://", f"://somebody:{password}@"),
            "WHYRANK_LLM__API_KEY": secret,
        }
        with serving(tmp_path, **environment) as service:
            seen = [httpx2.post(service.url + URL, json=BODY, trust_env=False).text]
            assert '"ranker":"fused"' in seen[0]
            for number, fault in enumerate([*FAULTS.values(), None]):
                proxy.fault = fault
                other = BODY | {"user_id": f"u{number + 1}", "deadline_ms": 500}
                seen.append(httpx2.post(service.url + URL, json=other, trust_env=False).text)
            proxy.refuse()
            seen += [httpx2.get(service.url + path, trust_env=False).text for path in ("/health/ready", "/metrics")]
        seen.append(service.log.read_text())
    assert any('"degraded":[{' in one for one in seen), "the faults were met"
    assert not [one for one in seen if secret in one or password in one]


def _refused(service: Service) -> bool:
    try:
        httpx2.get(service.url + "/health/live", timeout=2.0, trust_env=False)
    except httpx2.ConnectError:
        return True
    except httpx2.HTTPError:
        return False
    return False
