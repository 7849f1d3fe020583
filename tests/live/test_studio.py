"""The studio in a real Chromium, on MovieLens and the real vLLM: try, wish, edit, try a draft, compare, and degrade."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from reranker import EngineSettings
from reranker.server.process import free_port
from tests.api.process import Service, apart, serving
from tests.browser import chromium, needs_chromium, watched_page

pytestmark = needs_chromium
_LONG_MS = 300_000
"""Time for answers of the LLM, which is slow on a CPU."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def service(movielens_dir: Path, server: EngineSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("studio")
    with serving(folder, **apart(folder, movielens_dir, server.url)) as running:
        yield running


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    with watched_page(browser, service.url) as page:
        yield page


def test_an_answer_comes_as_a_stream_and_feedback_changes_the_next(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/#try?user=300&k=3")
    expect(page.locator(".reason.waiting").first).to_be_visible(timeout=_LONG_MS)
    expect(page.locator(".steps")).to_be_visible(timeout=_LONG_MS)
    expect(page.locator(".reason .by").first).to_be_visible()
    evidence = page.locator(".evidence").first
    evidence.hover()
    assert page.locator(".entries li.lit").count() >= 1
    assert page.locator(".entries li.lit").first.inner_text().split("\n")[0] in evidence.inner_text()
    before = page.locator(".item h2").all_inner_texts()
    page.locator(".item").first.get_by_role("button", name="Hide").click()
    expect(page.locator(".item h2").first).not_to_have_text(before[0], timeout=_LONG_MS)
    assert before[0] not in page.locator(".item h2").all_inner_texts()


def test_a_wish_is_understood_and_can_be_corrected(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/#try?user=300&k=2&wish=a+comedy+from+the+nineties,+no+horror")
    understood = page.locator(".understood")
    expect(understood).to_contain_text("at least 1990, at most 1999", timeout=_LONG_MS)
    understood.get_by_role("button", name="Drop this condition: year").click()
    expect(understood).not_to_contain_text("1990", timeout=_LONG_MS)
    assert "filter=" in page.url


def test_a_draft_is_tried_and_compared_with_production(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/#prompts?name=rank&user=300")
    expect(page.locator(".detail")).to_contain_text(re.compile(r"of [\d,]+ tokens"), timeout=_LONG_MS)
    source = str(page.request.get(f"{service.url}/v1/prompts/rank").json()["source"])
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(source.replace("that one person chose, in order", "that somebody liked"))
    expect(page.locator(".preview")).to_contain_text("that somebody liked")
    page.get_by_role("button", name="Keep as draft").click()
    expect(page.get_by_role("button", name="Discard the draft")).to_be_visible()
    page.get_by_text("Try it beside production").click()
    page.get_by_label("Users").fill("1")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".tried")).to_have_count(1, timeout=_LONG_MS)
    expect(page.locator(".tried ol")).to_have_count(2)

    page.goto(f"{service.url}/#compare?baseline=rank@1&candidate=rank@draft")
    page.get_by_label("Users").fill("10")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".badge.running")).to_be_visible()
    expect(page.locator("progress")).to_be_visible(timeout=_LONG_MS)
    expect(page.locator(".report .verdict")).to_be_visible(timeout=900_000)
    expect(page.locator(".report .verdict")).to_contain_text("llm:rank@draft")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the page").click()
    expect(opened.value.locator("h1")).to_contain_text("llm:rank@draft against llm:rank@1")
    page.goto(f"{service.url}/#prompts?name=rank")
    expect(page.locator("tr", has_text="shipped").filter(has_text="production")).to_contain_text("ndcg@10")


def test_with_the_llm_gone_the_list_stays_and_says_so(browser: Browser, movielens_dir: Path, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(movielens_dir), "WHYRANK_LLM__URL": f"http://127.0.0.1:{free_port()}"}
    with serving(tmp_path, **environment) as service, watched_page(browser, service.url, locale="zh-CN") as page:
        page.goto(f"{service.url}/#try?user=300&k=3")
        expect(page.get_by_role("alert").first).to_contain_text("已降级", timeout=_LONG_MS)
        expect(page.locator(".item")).to_have_count(3)
        expect(page.locator(".reason .by").first).to_have_text("由证据生成")
        page.goto(f"{service.url}/#health")
        expect(page.locator(".tile.bad").first).to_contain_text("不可用")
