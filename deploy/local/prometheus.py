"""Finds `prometheus` and `promtool`: on PATH, else in Debian's package, unpacked once into the user's cache.

The package is unpacked, not installed: this needs no root, waits for no lock of dpkg and starts no service.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.jars import cache_root

PACKAGE = "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """Paths of the two programs."""

    prometheus: Path
    promtool: Path


def find(progress: Callable[[str], None]) -> Prometheus:
    """Find both programs, or fetch them; `StackError` if both fail."""
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server and tool:
        return Prometheus(Path(server), Path(tool))
    folder = cache_root() / PACKAGE
    if not folder.is_dir():
        progress("Fetching Debian's package prometheus (once; 19 MB)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
        try:
            _unpack(partial)
            _move(partial / "unpacked", folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Prometheus(folder / "usr/bin/prometheus", folder / "usr/bin/promtool")


def _unpack(into: Path) -> None:
    download = ["apt-get", "download", "--quiet", PACKAGE]
    if not (_run(download, into) or _run(download, into, "-o", f"Dir::State::lists={_fresh_lists(into)}")):
        raise StackError(
            "The dashboards and alerts are tested with Prometheus, and neither are prometheus and promtool on PATH nor "
            "can Debian's package be fetched with apt-get: install Prometheus (Debian, Ubuntu, macOS: prometheus)."
        )
    (package,) = into.glob(f"{PACKAGE}_*.deb")
    if not _run(["dpkg-deb", "--extract", str(package), "unpacked"], into):
        raise StackError(f"{package.name} can't be unpacked: is the disk full?")


def _fresh_lists(into: Path) -> Path:
    """Fetch Debian's list of packages into a folder of our own."""
    # the machine may have no list, or an old one
    lists = into / "lists"
    (lists / "partial").mkdir(parents=True)
    _run(["apt-get", "update", "--quiet"], into, "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={into}")
    return lists


def _run(command: list[str], folder: Path, *options: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=100
    )
    return done.returncode == 0


def _move(unpacked: Path, folder: Path) -> None:
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.is_dir():  # if it is there, another process was faster
            raise
