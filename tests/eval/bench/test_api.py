from itertools import repeat
from pathlib import Path

import pytest

from eval import bench_api
from eval.bench.load import run
from retrieval import Retriever


def test_every_figure_is_there(retriever: Retriever, artifact_dir: Path) -> None:
    result = bench_api(retriever, artifact_dir, seconds=1.0)
    assert 0 < result.added_p50_ms <= result.added_p99_ms
    assert result.requests_per_s > 0
    assert result.overload_failed == 0
    assert result.overload_service_cpu > 0
    assert result.overload_client_cpu > 0
    assert result.goodput_share > 0
    assert result.memory_after_mib > 0
    assert result.real_per_s is None


def test_load_goes_to_this_machine_only() -> None:
    with pytest.raises(ValueError, match="this machine"):
        run("http://example.com", repeat(b"{}"), connections=1, seconds=1)
