"""The browser that the page is tested in: Debian's Chromium, or whichever one there is."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Path of a Chromium; the test fails with a sentence where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *_NAMES):
        if name and (found := shutil.which(name)):
            return found
    pytest.fail(
        "The page's tests need Chromium, and there is none on the PATH: `apt-get install chromium-headless-shell` on "
        "Debian, or name one in the variable CHROMIUM.",
        pytrace=False,
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
