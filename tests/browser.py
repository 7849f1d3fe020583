"""A real Chromium for tests of pages. Tests are skipped where none is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: scripts/install_chromium.py")
expect.set_options(timeout=20_000)  # a busy machine takes longer than the default of five seconds
WIDE, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open a page. Fails at the end on errors of its scripts, and on requests to other machines."""
    context = browser.new_context(**{"viewport": WIDE, "locale": "en-GB"} | options)
    page, wrong = context.new_page(), list[str]()
    host = urlsplit(url).netloc
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda line: _note(wrong, line.type, line.text))
    page.on("dialog", lambda dialog: _note_dialog(wrong, dialog))
    page.on("request", lambda request: _note_request(wrong, request.url, host))
    try:
        yield page
        if wrong:
            pytest.fail("\n".join(wrong))
    finally:
        context.close()


def _note(wrong: list[str], kind: str, text: str) -> None:
    # The browser reports each answer of 400 and above; the page handles those, and shows them.
    if kind == "error" and "Failed to load resource" not in text:
        wrong.append(f"console: {text}")


def _note_dialog(wrong: list[str], dialog: Dialog) -> None:
    wrong.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _note_request(wrong: list[str], url: str, host: str) -> None:
    if urlsplit(url).scheme not in ("data", "blob", "about") and urlsplit(url).netloc != host:
        wrong.append(f"request: {url}")


def check_accessibility(page: Page) -> None:
    """Check with axe that a page has no violation."""
    found = Axe().run(page).response["violations"]
    told = [f"{one['id']}: {one['help']} ({[node['html'][:120] for node in one['nodes'][:3]]})" for one in found]
    if told:
        pytest.fail("\n".join(told))
