"""The service loads a new artifact or promoted prompt between requests."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import Settings, create_app
from prompts import PromptEditor, PromptLibrary
from reranker import EngineSettings, LlmSettings
from reranker.fusion import FUSION_FILE, Feature, save_fit
from retrieval import AlsParameters, current_build, fit
from tests.api.process import wait_for
from tests.checkerboard import checkerboard
from tests.reranker.test_fusion import a_fit
from tests.standin import StandIn

URL = "/v1/recommendations"


@pytest.fixture
def mine(artifact_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact_dir, tmp_path / "artifact"))


@pytest.fixture
def reloading(mine: Path, tmp_path: Path, standin: StandIn) -> Iterator[TestClient]:
    llm = LlmSettings(weight=1.0, history_limit=10, cache_dir=tmp_path)
    settings = Settings(artifact=mine, prompts_dir=tmp_path / "prompts", reload_s=0.05, llm=llm)
    with TestClient(create_app(settings, EngineSettings(url=standin.url)), raise_server_exceptions=False) as client:
        yield client


def refit(directory: Path, noun: str) -> None:
    dataset = checkerboard()
    renamed = type(dataset)(dataset.name, noun, dataset.items, dataset.interactions)
    fit(directory, renamed, AlsParameters(factors=3, iterations=5))


def test_a_new_artifact_serves_the_next_request_and_not_the_one_in_flight(
    reloading: TestClient, mine: Path, standin: StandIn
) -> None:
    release, reached, answers = threading.Event(), threading.Event(), []
    before = reloading.get("/health/ready").json()["build"]

    def wait(path: str, answer: dict[str, object]) -> dict[str, object]:
        if path == "/v1/completions":
            reached.set()
            release.wait(20)
        return answer

    standin.fault = wait
    asking = threading.Thread(
        target=lambda: answers.append(reloading.post(URL, json={"user_id": "u0", "k": 3, "reasons": False}))
    )
    asking.start()
    reached.wait(20)
    refit(mine, "songs")
    wait_for(lambda: reloading.get("/health/ready").json()["build"] not in (before, None))
    wait_for(lambda: 'artifact_reloads_total{outcome="loaded"} 1.0' in reloading.get("/metrics").text)
    release.set()
    asking.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["ranker"] == "fused"
    standin.requests.clear()
    reloading.post(URL, json={"user_id": "u0", "k": 3})
    assert "Songs" in standin.prompts()


def test_a_broken_artifact_changes_nothing_and_is_told(reloading: TestClient, mine: Path) -> None:
    refit(mine, "songs")
    broken = mine / str(current_build(mine)) / "items.parquet"
    broken.write_bytes(b"broken")
    wait_for(lambda: 'artifact_reloads_total{outcome="failed"}' in reloading.get("/metrics").text)
    ready = reloading.get("/health/ready")
    assert ready.status_code == 200
    assert "missing or damaged" in ready.json()["problems"][0]
    assert reloading.post(URL, json={"user_id": "u0", "k": 1}).status_code == 200
    refit(mine, "books")
    wait_for(lambda: reloading.get("/health/ready").json()["problems"] == [])


def test_an_artifact_that_vanished_keeps_serving(reloading: TestClient, mine: Path) -> None:
    mine.rename(mine.with_name("elsewhere"))  # at once: the service may write to the folder meanwhile
    wait_for(lambda: bool(reloading.get("/health/ready").json()["problems"]))
    assert reloading.post(URL, json={"user_id": "u0", "k": 1}).status_code == 200


def test_a_promoted_prompt_serves_the_next_request(reloading: TestClient, tmp_path: Path) -> None:
    def version() -> str:
        answer = reloading.post(URL, json={"user_id": "u0", "k": 1, "reasons": False}).json()
        return str(answer["prompts"]["rank"]["version"])

    shipped = PromptLibrary().get("rank").version
    assert version() == shipped
    editor = PromptEditor(PromptLibrary(tmp_path / "prompts"), who="a test")
    saved = editor.save("rank", PromptLibrary().get("rank").source + "\n").version
    assert version() == shipped
    editor.promote("rank", int(saved))
    assert version() == saved


def test_new_fusion_weights_serve_the_next_request_and_damaged_ones_do_not(reloading: TestClient, mine: Path) -> None:
    def weight() -> float:
        answer = reloading.post(URL, json={"user_id": "u0", "k": 1, "reasons": False}).json()
        return float(answer["llm_weight"])

    assert weight() == 1.0
    fits = {
        "model": "stand-in",
        "template_hash": PromptLibrary().get("rank").hash,
        "data_hash": json.loads((mine / str(current_build(mine)) / "manifest.json").read_text())["data_hash"],
        "weights": {Feature.retrieval_score: 0.5, Feature.llm: 50.0},
    }
    save_fit(mine, a_fit(**fits))
    wait_for(lambda: weight() == 100.0)
    (mine / FUSION_FILE).write_text("{")
    wait_for(lambda: bool(reloading.get("/health/ready").json()["problems"]))
    assert weight() == 100.0
