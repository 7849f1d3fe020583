from eval import bench_retrieval


def test_a_small_run_measures_everything() -> None:
    said: list[str] = []
    result = bench_retrieval(size=0.004, report=said.append)
    assert said
    assert result.interactions > 1000
    ratios = (
        "read_s",
        "read_peak_mib",
        "fit_s",
        "fit_peak_mib",
        "one_user_ms",
        "one_user_filtered_ms",
        "fold_in_ms",
        "batch_ms",
    )
    for name in ratios:
        ratio = getattr(result, name)
        assert ratio.ours > 0
        assert ratio.bare > 0
