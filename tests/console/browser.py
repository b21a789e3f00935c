"""The browser that the page is tested in: Debian's Chromium, or whichever one there is.

``python -m tests.console.browser`` tells at once, and in a sentence, whether there is one.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is none; the message says how to get one."""


def find_browser() -> str:
    """Path of a Chromium; `NoBrowser` where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *_NAMES):
        if name and (found := shutil.which(name)):
            return found
    raise NoBrowser(
        "The page's tests need Chromium, and there is none on the PATH: `apt-get install chromium-headless-shell` on "
        "Debian, or name one in the variable CHROMIUM."
    )


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser without a window."""
    path = find_browser()
    # Chromium's sandbox refuses to run as root, as CI does; the only page it shows is ours
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


if __name__ == "__main__":
    try:
        find_browser()
    except NoBrowser as error:
        sys.exit(f"error: {error}")
