"""The studio in a real Chromium, on a small data set whose texts attack the page. tests/live has the real LLM."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect

from retrieval import AlsParameters, Columns, Store, fit, make_dataset
from tests.api.process import Service, apart, serving
from tests.browser import PHONE, check_accessibility, chromium, needs_chromium, watched_page
from tests.checkerboard import checkerboard
from tests.standin import StandIn

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

VIEWS = {"#try?wish=item": ".steps", "#prompts": ".cm-content", "#compare": "form", "#health": ".tiles"}
"""Address of each view, and what it shows when it is ready."""
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "'-alert(4)-'",
    "javascript:alert(5)",
    "{{constructor.constructor('alert(6)')()}}",
    "</textarea><script>alert(7)</script>",
    "\u202eevil\u202c <iframe srcdoc='<script>parent.alert(8)</script>'>",
    "<a href='javascript:alert(9)'>click</a>",
    "<style>body{display:none}</style>",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def hostile_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkerboard with titles and attributes that attack the page."""
    dataset = checkerboard()
    attacks = [HOSTILE[place % len(HOSTILE)] for place in range(dataset.items.height)]
    titles = [f"{attack} {place}" for place, attack in enumerate(attacks)]
    items = dataset.items.with_columns(pl.Series(Columns.title, titles), pl.Series("note", attacks))
    folder = tmp_path_factory.mktemp("hostile")
    fit(folder, make_dataset("hostile", "things", items, dataset.interactions), AlsParameters(factors=2, iterations=30))
    return folder


@pytest.fixture(scope="module")
def service(hostile_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("studio")
    with StandIn() as standin:
        standin.text = f" {HOSTILE[0]}"
        with serving(folder, **apart(folder, hostile_artifact, standin.url)) as running:
            yield running


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    with watched_page(browser, service.url) as page:
        yield page


def visit(page: Page, service: Service, address: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{service.url}/{address}")


def write(page: Page, text: str) -> None:
    """Replace the text of the editor."""
    editor = page.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def source_of(page: Page, service: Service, name: str) -> str:
    return str(page.request.get(f"{service.url}/v1/prompts/{name}").json()["source"])


def test_hostile_texts_execute_nothing(page: Page, service: Service) -> None:
    for attack in (*HOSTILE, "\u0000" * 3 + "x", "🙂" * 300):
        visit(page, service)
        expect(page.locator(".item").first).to_be_visible()
        page.get_by_label("A wish in words").fill(attack)
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator(".steps")).to_be_visible()
    visit(page, service, "#prompts?name=%3Cscript%3Ealert(1)%3C/script%3E")
    expect(page.locator(".prompt-list")).to_be_visible()
    visit(page, service, "#prompts?name=rank")
    for attack in HOSTILE:
        write(page, f"---\n{attack}\n---\ntext:\n{attack}")
        expect(page.locator(".detail .problem")).to_be_visible()
    assert (
        page.evaluate(
            "document.querySelectorAll('main script, main iframe, main img, main a[href^=javascript]').length"
        )
        == 0
    )


def test_a_list_moves_with_feedback_and_its_address_brings_it_back(page: Page, service: Service) -> None:
    visit(page, service, "#try?user=u0&k=3")
    expect(page.locator(".item")).to_have_count(3)
    first = page.locator(".item h2").first.inner_text()
    page.locator(".item").first.get_by_role("button", name="Hide").click()
    expect(page.locator(".notice")).to_contain_text("Counted")
    expect(page.locator(".item h2").first).not_to_have_text(first)
    page.get_by_label("A wish in words").fill("item")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator(".understood")).to_be_visible()
    address = page.url
    assert "wish=item" in address
    assert "user=u0" in address
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_label("A wish in words")).to_have_value("item")
    expect(page.locator(".item")).to_have_count(3)


def test_a_history_can_be_clicked_together(page: Page, service: Service) -> None:
    visit(page, service)
    page.get_by_role("button", name="A history of your own").click()
    page.locator(".found li").first.wait_for()
    page.locator(".found li").nth(0).get_by_role("button", name="liked").first.click()
    expect(page.locator(".entries li")).to_have_count(1)
    page.locator(".found li").nth(2).get_by_role("button", name="viewed").click()
    expect(page.locator(".entries li")).to_have_count(2)
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator(".item").first).to_be_visible()
    assert "own=" in page.url
    page.get_by_role("button", name="Copy as curl").click()
    page.locator(".entries li").first.get_by_role("button").click()
    expect(page.locator(".entries li")).to_have_count(1)


def test_a_template_is_edited_kept_saved_promoted_and_taken_back(page: Page, service: Service) -> None:
    source = source_of(page, service, "rank")
    visit(page, service, "#prompts?name=rank&user=u0")
    expect(page.locator(".preview")).to_contain_text("that one person chose")
    write(page, source.replace("that one person chose", "that somebody picked"))
    expect(page.locator(".preview")).to_contain_text("that somebody picked")
    expect(page.locator(".detail")).to_contain_text("tokens")
    write(page, source.replace("{% endfor %}", "{% endfro %}"))
    expect(page.locator(".detail .problem")).to_contain_text("line 13 of the file")
    expect(page.locator(".cm-lintRange-error")).to_be_visible()
    write(page, source.replace("that one person chose", "that somebody picked"))
    expect(page.locator(".detail .problem")).to_be_hidden()
    page.get_by_role("button", name="Keep as draft").click()
    expect(page.get_by_role("button", name="Discard the draft")).to_be_visible()
    page.get_by_text("Try it beside production").click()
    page.get_by_label("Users").fill("2")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".tried")).to_have_count(2, timeout=60_000)
    page.get_by_role("button", name="Save as a version").click()
    page.get_by_label("Note").fill("somebody")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="OK").click()
    expect(page.locator(".audit")).to_contain_text("Ann", timeout=30_000)
    expect(page.get_by_role("button", name="Discard the draft")).to_have_count(0)
    page.get_by_role("button", name="Difference from production: rank@3").click()
    expect(page.locator(".diff .added").last).to_contain_text("that somebody picked")
    page.get_by_role("button", name="Promote: rank@3").click()
    page.get_by_role("button", name="OK").click()
    expect(page.locator("tr", has_text="somebody").locator(".badge.good")).to_have_text("production", timeout=30_000)
    page.get_by_role("button", name="Roll back").click()
    page.get_by_label("Note").fill("not better")
    page.get_by_role("button", name="OK").click()
    expect(page.locator(".audit")).to_contain_text("not better")
    assert source_of(page, service, "rank") == source


def test_two_people_who_edit_lose_nothing(page: Page, service: Service) -> None:
    source = source_of(page, service, "reason")
    mine, theirs = (source.replace("short, plain", word) for word in ("short, kind", "short, dry"))
    visit(page, service, "#prompts?name=reason")
    write(page, mine)
    url = f"{service.url}/v1/prompts/reason/draft"
    page.request.put(url, data={"source": theirs}, headers={"if-none-match": "*"})
    page.get_by_role("button", name="Keep as draft").click()
    expect(page.get_by_role("alert").filter(has_text="Somebody else")).to_be_visible()
    expect(page.locator(".diff")).to_contain_text("short, dry")
    page.get_by_role("button", name="Put mine in its place").click()
    expect(page.get_by_text("The draft is kept")).to_be_visible()
    assert page.request.get(url).json()["source"] == mine


def test_the_keyboard_leaves_the_editor(page: Page, service: Service) -> None:
    visit(page, service, "#prompts?name=rank")
    page.locator(".cm-content").click()
    before = source_of(page, service, "rank")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "DIV"
    assert "\t" not in before


def test_without_the_bundle_a_plain_text_area_stays(browser: Browser, service: Service) -> None:
    with watched_page(browser, service.url) as page:
        page.route("**/vendor/**", lambda route: route.abort())
        visit(page, service, "#prompts?name=rank")
        area = page.get_by_label("Template", exact=True).locator("textarea.plain")
        expect(area).to_be_visible()
        area.fill(area.input_value().replace("that one person chose", "that somebody picked"))
        expect(page.locator(".preview")).to_contain_text("that somebody picked")


def test_without_scripts_the_page_says_what_to_do(browser: Browser, service: Service) -> None:
    with watched_page(browser, service.url, java_script_enabled=False) as page:
        visit(page, service)
        expect(page.get_by_role("link", name="the API reference")).to_be_visible()
        page.get_by_role("link", name="edit them in a plain text area").click()
        area = page.get_by_label("Template")
        area.fill(area.input_value().replace("that one person chose", "that somebody picked"))
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("region", name="Preview")).to_contain_text("that somebody picked")
        page.get_by_label("Template").fill("---\nnothing")
        page.get_by_role("button", name="Save as a version").click()
        expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("look", ["light", "dark", "chinese", "phone"])
def test_every_view_is_accessible_and_fits(browser: Browser, service: Service, look: str) -> None:
    looks: dict[str, dict[str, Any]] = {
        "light": {},
        "dark": {"color_scheme": "dark"},
        "chinese": {"locale": "zh-CN"},
        "phone": {"viewport": PHONE},
    }
    options = looks[look]
    with watched_page(browser, service.url, **options) as page:
        for address, ready in VIEWS.items():
            visit(page, service, address)
            expect(page.locator(ready).first).to_be_visible()
            page.wait_for_load_state("networkidle")
            check_accessibility(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), address
        assert page.evaluate("document.documentElement.lang") == ("zh" if look == "chinese" else "en")


def test_where_keys_exist_the_page_asks_for_one(browser: Browser, hostile_artifact: Path, tmp_path: Path) -> None:
    artifact = shutil.copytree(hostile_artifact, tmp_path / "artifact")
    with closing(Store(tmp_path / "store.sqlite")) as store:
        _, key = store.create_key("studio", frozenset({"recommend", "read-users"}))
    environment = {"WHYRANK_ARTIFACT": str(artifact), "WHYRANK_STORE__URL": f"sqlite:///{tmp_path / 'store.sqlite'}"}
    with serving(tmp_path, "--no-llm", **environment) as service, watched_page(browser, service.url) as page:
        visit(page, service)
        page.get_by_label("Key", exact=True).fill("wr_wrong")
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("does not know this API key")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.locator(".item").first).to_be_visible()
        visit(page, service, "#health")
        expect(page.get_by_role("alert")).to_contain_text("lacks the scope 'prompts'")


def test_a_service_that_is_gone_is_told(browser: Browser, hostile_artifact: Path, tmp_path: Path) -> None:
    environment = {"WHYRANK_ARTIFACT": str(hostile_artifact)}
    with serving(tmp_path, "--no-llm", **environment) as service, watched_page(browser, service.url) as page:
        visit(page, service)
        expect(page.locator(".item").first).to_be_visible()
        service.end()
        service.process.wait(30)
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator(".answer .problem")).to_have_text("The service does not answer")
