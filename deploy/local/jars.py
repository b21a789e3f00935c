"""The servers' jars: fetched by Maven once for each version of pom.xml, kept in the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.java import find_maven

POM = Path(__file__).with_name("pom.xml")
PROFILES = ("kafka", "cassandra")


def cache_root() -> Path:
    """Folder that holds everything that is fetched once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefstream"


def cache_folder(pom: Path = POM) -> Path:
    """Folder for the jars of this version of pom.xml; it has a folder for each profile."""
    return cache_root() / f"jars-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"


def fetch(progress: Callable[[str], None]) -> Path:
    """Folder with the jars; they are fetched first if they are missing."""
    folder = cache_folder()
    if folder.is_dir():
        return folder
    # fetched into another folder and moved in one step, so that two processes that fetch at the same time don't disturb
    # each other, and an interrupted one leaves no folder that looks complete
    mvn = find_maven()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        for profile in PROFILES:
            progress(f"Fetching the jars of {profile.capitalize()} with Maven (once; 110 MB in all)")
            _copy_dependencies(mvn, profile, partial / profile)
        _move(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _copy_dependencies(mvn: Path, profile: str, into: Path) -> None:
    command = [str(mvn), "-q", "-B", "-f", str(POM), f"-P{profile}", "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={into}"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0 or not any(into.glob("*.jar")):
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]")]
        reason = errors[0].removeprefix("[ERROR]").strip() if errors else f"exit code {done.returncode}"
        raise StackError(
            f"Maven could not fetch the jars of {profile.capitalize()} ({reason}): check the network, or the mirror in "
            "Maven's settings.xml, then run this again."
        )


def _move(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # if it is there, another process was faster
            raise
