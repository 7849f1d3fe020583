"""docs/production.md and /metrics agree."""

import re
from pathlib import Path

from starlette.testclient import TestClient

from api.settings.model import Settings
from reranker import LlmSettings

PAGE = (Path(__file__).parents[4] / "docs" / "production.md").read_text(encoding="utf-8")


def test_every_metric_is_on_the_page_and_the_other_way_round(client: TestClient) -> None:
    text = client.get("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all(name.startswith("whyrank_") for name in kinds)
    described = set(re.findall(r"^\| `(whyrank_\w+)`", PAGE, re.MULTILINE))
    assert described == set(kinds)
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total")
    assert "user" not in re.sub(r"# .*", "", text)


def test_the_limits_on_the_page_are_the_defaults() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \((\d+)\)", PAGE, re.MULTILINE)
    assert len(rows) >= 5
    for name, value in rows:
        section, _, field = name.rpartition(".")
        tree = LlmSettings() if section == "llm" else Settings()
        assert getattr(tree, field) == int(value), name
