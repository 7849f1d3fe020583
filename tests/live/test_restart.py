"""The service's own vLLM, killed from outside."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2

from reranker import LlmSettings
from reranker.server import process
from tests.api.process import serving


def test_a_vllm_that_is_killed_comes_back_and_the_service_answers_meanwhile(
    movielens_dir: Path, tmp_path: Path
) -> None:
    settings = {
        "WHYRANK_ARTIFACT": str(movielens_dir),
        "WHYRANK_LLM__CACHE_DIR": str(LlmSettings().cache_dir),
        "WHYRANK_LLM__PORT": str(process.free_port()),  # where it finds no server, and starts its own
        "WHYRANK_LLM__KV_CACHE_GIB": "1",
        "WHYRANK_LLM__WEIGHT": "1",
    }
    with (
        serving(tmp_path, **settings) as service,
        httpx2.Client(base_url=service.url, trust_env=False) as client,
    ):

        def ask(user: int) -> dict[str, Any]:
            body = {"user_id": str(user), "k": 3, "candidate_count": 8, "reasons": False, "deadline_ms": 20_000}
            response = client.post("/v1/recommendations", json=body, timeout=30)
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            assert len(answer["items"]) == 3
            return answer

        def until_fused(users: range) -> int:
            """Asks until the LLM ranks; how many answers came without it."""
            for asked, user in enumerate(users):
                if ask(user)["ranker"] == "fused":
                    return asked
                time.sleep(1)
            raise AssertionError(f"the LLM did not rank in {len(users)} s")

        until_fused(range(1, 300))
        for pid in children(service.process.pid):
            os.kill(pid, signal.SIGKILL)
        answer = ask(301)
        assert (answer["ranker"], [one["code"] for one in answer["degraded"]]) == ("retrieval", ["llm_unavailable"])
        assert until_fused(range(302, 600)) > 0
        assert "whyrank_llm_restarts_total 1.0" in client.get("/metrics").text
        assert service.process.poll() is None
    assert service.process.returncode == 0


def children(pid: int) -> list[int]:
    """Every process below this one."""
    below = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return below + [lower for one in below for lower in children(one)]
