"""Measure the studio in Chromium: ``.venv/bin/python scripts/bench_studio.py http://127.0.0.1:8000``.

Prints bytes and requests of the first view, the time until it can be used, and the time from a keystroke to its
preview. The service needs the embedded MovieLens; its LLM may be up or down.
"""

import argparse
import shutil
import statistics
import time

from playwright.sync_api import Page, sync_playwright

ROUNDS = 5
KEYSTROKES = 30


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    url = parser.parse_args().url.rstrip("/")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        usable_ms, files, sent = [], 0, 0
        for _ in range(ROUNDS):
            page = browser.new_page()  # a context of its own, so nothing is cached
            began = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("form button.main")
            usable_ms.append((time.perf_counter() - began) * 1000)
            page.wait_for_load_state("networkidle")
            files, sent = page_weight(page)
            page.close()
        print(f"first view: {files} files of the page, {sent / 1000:.0f} KB")
        print(f"usable after (median of {ROUNDS}): {statistics.median(usable_ms):.0f} ms")
        page = browser.new_page()
        for name in ("rank", "reason"):
            times = preview_times(page, url, name)
            spread = f"{times[0]:.0f} to {times[-1]:.0f}"
            print(f"preview of {name} (median of {len(times)}): {statistics.median(times):.0f} ms ({spread})")
        browser.close()


def page_weight(page: Page) -> tuple[int, int]:
    """Return number and bytes of the files that the page itself is made of, without the service's answers."""
    script = (
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".filter(one => !one.name.includes('/v1/')).map(one => one.decodedBodySize)"
    )
    sizes: list[int] = page.evaluate(script)
    return len(sizes), sum(sizes)


def preview_times(page: Page, url: str, name: str) -> list[float]:
    """Return the milliseconds of rendering after each of some keystrokes, ascending: request and answer."""
    page.goto("about:blank")
    page.goto(f"{url}/#prompts?name={name}&user=42")
    page.wait_for_selector(".cm-content")
    page.wait_for_load_state("networkidle")
    page.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    times = []
    for _ in range(KEYSTROKES):
        with page.expect_response("**/v1/prompts/render") as answered:
            began = time.perf_counter()
            page.keyboard.insert_text("x")
        answered.value.finished()
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)


if __name__ == "__main__":
    main()
