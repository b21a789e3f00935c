"""The browser that the page is tested in: any Chromium of the machine, else the one in the user's cache."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, sync_playwright

from tests.console import node, packed_browser

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class NoBrowser(Exception):
    """There is none; the message says how to get one."""


@dataclass(frozen=True)
class Chromium:
    """A Chromium, and the variables that its process needs besides ours."""

    path: str
    environment: dict[str, str] = field(default_factory=dict)


def find_browser() -> Chromium:
    """Find a Chromium; `NoBrowser` where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *_NAMES):
        if name and (found := shutil.which(name)):
            return Chromium(found)
    if packed_browser.cache_folder().is_dir():
        return Chromium(str(packed_browser.executable()), packed_browser.environment())
    raise NoBrowser(
        "The page's tests need Chromium, and there is none on the PATH: `python -m tests.console.install_browser` "
        "fetches one, or name one in the variable CHROMIUM."
    )


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser without a window."""
    found = find_browser()
    node.let_playwright_start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.path,
            env={**os.environ, **found.environment},
            # the sandbox refuses to run as root, as CI does; the only page shown is ours
            chromium_sandbox=False,
        )
        yield browser
        browser.close()
