from eval import bench_store


def test_the_store_is_compared_with_bare_sqlite() -> None:
    told: list[str] = []
    result = bench_store(events=5000, seconds=0.2, report=told.append)
    assert set(result.batches) == {1, 100}
    assert all(rate.ours > 0 and rate.bare > 0 for rate in result.batches.values())
    assert result.stored == 5000
    assert result.latest_ms.ours > 0
    assert any("5,000" in line for line in told)
