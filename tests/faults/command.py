"""The command line, as an operator would use it in the middle of things."""

import subprocess
import sys
from pathlib import Path


def prefstream(config: Path, *words: str) -> str:
    """What a command prints; an error of its is an assertion's."""
    command = [sys.executable, "-m", "streams.cli", "--config", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise AssertionError(f"prefstream {' '.join(words)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
