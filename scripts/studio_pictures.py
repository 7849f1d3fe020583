"""Take the pictures of docs/studio.md: ``.venv/bin/python scripts/studio_pictures.py http://127.0.0.1:8000``.

Needs Chromium, and a running service with a folder for prompts, on the embedded MovieLens.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images"
PICTURES = {
    "try": "#try?user=300&wish=a+space+adventure+from+the+eighties",
    "prompts": "#prompts?name=reason&user=300",
    "compare": "#compare",
    "health": "#health",
}
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def main() -> None:
    """Take a picture of each view, one in Chinese and dark, and one of a phone's width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE)
        for name, address in PICTURES.items():
            take(page, given.url, address, given.out / f"studio-{name}.png")
        chinese = browser.new_page(viewport=WIDE, locale="zh-CN", color_scheme="dark")
        wish = "#try?user=300&wish=八十年代的太空冒险片"
        take(chinese, given.url, wish, given.out / "studio-chinese.png")
        phone = browser.new_page(viewport=PHONE, device_scale_factor=1)
        take(phone, given.url, PICTURES["try"], given.out / "studio-phone.png")
        browser.close()


def take(page: Page, url: str, address: str, target: Path) -> None:
    """Open an address, wait until nothing is loading, and take the picture."""
    page.goto("about:blank")
    page.goto(f"{url.rstrip('/')}/{address}")
    page.wait_for_load_state("networkidle")
    page.wait_for_function("!document.querySelector('[aria-busy], .waiting')", timeout=120_000)
    if address == PICTURES["compare"] and (report := page.get_by_role("button", name="Show:").first).is_visible():
        report.click()
    page.wait_for_timeout(800)
    page.screenshot(path=target)
    print(target)


if __name__ == "__main__":
    main()
