"""What every way to fetch a tool needs: a command whose failure is a reason, a folder that is whole or not there."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Progress = Callable[[str], None]


class NotFetched(Exception):
    """A tool can't be fetched in one of the ways; the message is the reason, without a full stop."""


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give an empty scratch folder; the folder ``filled`` that is made in it becomes ``folder`` in one step.

    So an interrupted run leaves no folder that looks complete, and two runs at once don't disturb each other.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        yield scratch
        try:
            (scratch / "filled").rename(folder)
        except OSError:
            if not folder.is_dir():  # if it is there, another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(command: list[str], failure: str, folder: Path | None = None) -> None:
    """Run a command; if it fails, raise `NotFetched` with ``failure`` and the reason."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise NotFetched(f"{failure} ({_reason(done)})")


def succeeds(command: list[str]) -> bool:
    """Tell whether a command can be run and ends well."""
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    # apt-get, npm and pip mark errors so; warnings and advice stand around them
    errors = [line for line in lines if line.startswith(("E: ", "npm error ", "npm ERR! ", "ERROR: "))]
    return (errors or lines or [f"exit code {done.returncode}"])[0]
