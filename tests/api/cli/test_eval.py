"""``whyrank eval`` in its own process."""

import json
from pathlib import Path

import pytest

from retrieval import DataSettings
from retrieval.data import readers
from tests.api.process import whyrank
from tests.reranker.test_adapter import manifest, saved
from tests.standin import StandIn
from tuning import split_for_training


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """Files of a shop: 40 users who buy items of their own parity, one per day."""
    rows = ["user_id,item_id,event,timestamp"]
    for user in range(40):
        rows += [f"{user},{(user % 2) + 2 * ((user + step) % 12)},purchase,{1000 + step}" for step in range(8)]
    (tmp_path / "did.csv").write_text("\n".join(rows))
    items = [
        "item_id,title,kind",
        *(f"{item},Thing number {item},{'even' if item % 2 == 0 else 'odd'}" for item in range(24)),
    ]
    (tmp_path / "items.csv").write_text("\n".join(items))
    (tmp_path / "whyrank.toml").write_text('[data]\ninteractions = "did.csv"\nitems = "items.csv"\nnoun = "things"\n')
    return tmp_path


def test_one_s_own_data(own_data: Path) -> None:
    done = whyrank("eval", "--arms", "popular itemknn bpr als", "--candidates", "10", folder=own_data)
    assert done.returncode == 0, done.stderr
    assert "did, validation part" in done.stdout
    assert "bpr - als" in done.stdout
    as_json = whyrank("eval", "--arms", "popular als", "--candidates", "10", "--json", folder=own_data)
    report = json.loads(as_json.stdout)
    assert report["manifest"]["dataset"] == "did"
    assert [one["relevance"] for one in report["judged"]] == ["liked", "any"]


def test_an_llm_arm_and_the_fit_of_its_weights(own_data: Path, standin: StandIn) -> None:
    arms = ("eval", "--arms", "als llm:rank@1 fused-nollm fused:rank@1", "--candidates", "10", "--order-users", "3")
    done = whyrank(*arms, folder=own_data, WHYRANK_LLM__URL=standin.url)
    assert done.returncode == 0, done.stderr
    assert "fused:rank@1 - fused-nollm" in done.stdout
    assert "fit of fused:rank@1" in done.stdout
    fused = whyrank("fuse", "--candidates", "10", folder=own_data, WHYRANK_LLM__URL=standin.url)
    assert fused.returncode == 1
    assert "whyrank fit" in fused.stderr
    fitted = whyrank("fit", folder=own_data)
    assert fitted.returncode == 0, fitted.stderr


def test_an_adapter_is_judged_on_what_it_has_not_seen(own_data: Path, standin: StandIn) -> None:
    files = DataSettings(interactions=own_data / "did.csv", items=own_data / "items.csv", noun="things")
    dataset, _ = readers.read(files)
    arms = ("eval", "--arms", "als llm:rank,model=tuned", "--candidates", "10", "--on", "test", "--purpose", "a test")
    environment = {"WHYRANK_LLM__URL": standin.url}
    unnamed = whyrank(*arms, folder=own_data, **environment)
    assert unnamed.returncode == 2
    assert "WHYRANK_LLM__ADAPTER" in unnamed.stderr
    for judged in (True, False):
        data = split_for_training(dataset, for_eval=judged)
        adapter = manifest(dataset.hash, train_hash=data.train.hash, held_out=data.held_out)
        saved(own_data / "adapter", adapter)
        standin.adapters = [adapter.name]
        done = whyrank(*arms, folder=own_data, WHYRANK_LLM__ADAPTER="adapter", **environment)
        if judged:
            assert done.returncode == 0, done.stderr
            assert f"llm:rank,model={adapter.name}" in done.stdout
            asked = {body["model"] for path, body in standin.requests if "vllm_xargs" in body}
            assert adapter.name in asked
        else:
            assert done.returncode == 1
            assert "whyrank tune --for-eval" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--on", "test"), 2, "purpose: is missing"),
        (("--arms", "alss"), 2, "there is no arm 'alss'"),
        (("--arms", "als", "-k", "ten"), 2, "-k: is 'ten', not numbers"),
        (("--arms", "als", "--candidates", "1"), 2, "--candidates"),
        (("--arms", "als", "--users", "3"), 2, "--users"),
        (("--arms", "als", "--protocol", "global"), 2, "per-user-temporal"),
        (("--arms", "als", "--regime", "injected", "--publish", "--candidates", "10"), 2, "checkout of whyrank"),
    ],
)
def test_wrong_input_names_itself(own_data: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = whyrank("eval", *arguments, folder=own_data)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
