from tests.retrieval.store.kills import kill_repeatedly


def test_what_was_acknowledged_survives_kills(url: str) -> None:
    acknowledged, _ = kill_repeatedly(url, 2)
    assert acknowledged >= 2
