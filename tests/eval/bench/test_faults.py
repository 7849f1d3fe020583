import json
from pathlib import Path

import pytest

from eval import bench_faults
from eval.bench.fault_proxy import spoilt
from eval.bench.faults import _worst_lag
from retrieval import Retriever

COMPLETION = {
    "choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b", "logprobs": {"token_logprobs": [-1.0, -2.0]}}],
    "usage": None,
}


def test_the_soak_holds_and_failures_are_repaired(retriever: Retriever, artifact_dir: Path) -> None:
    result = bench_faults(retriever, artifact_dir, minutes=0.2)
    assert result.holds, result
    assert [one.share for one in result.loads] == [0.05, 0.3]
    for load in result.loads:
        kinds = {"recommend", "recommend_with_reasons", "stream", "rerank", "item", "render"}
        assert set(load.statuses) == kinds
        assert load.llm_spoilt > 0
        assert load.healthy >= 0.6
        assert load.in_flight_after == 0


@pytest.mark.parametrize("fault", ["garbage", "nan", "fewer choices"])
def test_a_spoilt_answer_differs_from_a_right_one(fault: str) -> None:
    whole = json.dumps(COMPLETION).encode()
    events = b"data: " + whole + b"\n\ndata: [DONE]\n\n"
    assert spoilt(whole, fault) != whole
    assert spoilt(events, fault) != events
    assert spoilt(whole, None) == whole
    tokens = b'{"tokens": [1, 2]}'
    assert spoilt(tokens, fault) != tokens


def test_the_worst_lag_of_a_gauge_and_of_a_histogram() -> None:
    name = "whyrank_loop_lag_seconds"
    assert _worst_lag([{name: 0.1}, {name: 0.3}, {name: 0.2}]) == 0.3
    histogram = {
        f'{name}_bucket{{le="{bound}"}}': count for bound, count in (("0.1", 5.0), ("0.25", 7.0), ("+Inf", 7.0))
    }
    assert _worst_lag([histogram]) == 0.25
    assert _worst_lag([{}]) is None
