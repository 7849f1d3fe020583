"""Install Chromium for the browser tests, where that is possible: ``python3 scripts/install_chromium.py``.

Uses Debian's package, as root. Elsewhere it says that the browser tests are skipped; they use any installed Chromium.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Install Chromium unless there is one."""
    if any(map(shutil.which, NAMES)):
        return
    apt = shutil.which("apt-get")
    if os.geteuid() == 0 and apt:
        say("installing Chromium")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            subprocess.run([apt, *command], env=environment, stdout=subprocess.DEVNULL, check=False)
    if not any(map(shutil.which, NAMES)):
        say("there is no Chromium, so the browser tests are skipped; install the package 'chromium' to run them")


def say(text: str) -> None:
    """Print one line."""
    print(f"chromium: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
