"""An environment of its own for each peer, made once: python -m venv, then pip."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, made anew when its requirements have changed."""
    requirements = PEERS / f"requirements-{peer}.txt"
    mark = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = folder / f"{peer}-{mark}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
        done = subprocess.run(pip, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"the environment of {peer} can't be made: {done.stderr[-2000:]}")
        (home / "complete").touch()
    return python


def one_thread() -> dict[str, str]:
    """The variables of a peer's process: one thread, as prefstream's worker has, and nothing of our Python."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**ours, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
