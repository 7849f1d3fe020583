from eval import bench_retrieval


def test_a_small_run_measures_everything() -> None:
    said: list[str] = []
    result = bench_retrieval(size=0.004, report=said.append)
    assert said
    assert result.scale.interactions > 1000
    ratios = ("fit_s", "fit_peak_mib", "one_user_ms", "one_user_filtered_ms", "fold_in_ms", "batch_ms")
    for name in ratios:
        ratio = getattr(result.scale, name)
        assert ratio.ours > 0
        assert ratio.bare > 0
    quality = {one.model: one for one in result.quality}
    assert set(quality) == {"popular", "item-kNN (BM25)", "BPR", "ALS (the default)"}
    for one in result.quality:
        assert 0 < one.ndcg_10_low < one.ndcg_10 < one.ndcg_10_high < 1
        assert one.recall_20 < one.recall_50 < one.recall_100
