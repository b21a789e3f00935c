"""FAISS beside the ranking: its IVF,Flat on the same users and items, in a process of its own, asked by turns."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.environments import PEERS, one_thread, python_of

_PER_ROOT = 4.0  # inverted lists for each square root of the items
_TRAINED_ON = 40  # items for each list that k-means sees; FAISS warns below 39
_AT_MOST_S = 600.0


@contextmanager
def faiss_beside(
    environments: Path,
    folder: Path,
    items: NDArray[np.float32],
    users: NDArray[np.float32],
    excluded: NDArray[np.int64],
    best: NDArray[np.int64],
    recall: float,
) -> Iterator[tuple[dict[str, Any], Callable[[], float]]]:
    """What FAISS built, and a function that ranks all users once and returns the microseconds of CPU a user.

    ``best`` are the exact best items of the first users, less those ``excluded``. FAISS reads as few inverted lists as
    give their ``recall``, and its lists are as long as ``best``. One thread; a user's vector is given.
    """
    clusters = round(_PER_ROOT * np.sqrt(len(items)))
    arrays, path, log = (folder / name for name in ("faiss.npz", "faiss.json", "faiss.log"))
    np.savez(arrays, items=items, users=users, excluded=excluded, best=best)
    job = {"arrays": str(arrays), "clusters": clusters, "trained_on": _TRAINED_ON, "recall": recall}
    path.write_text(json.dumps({**job, "k": best.shape[1]}), "utf-8")
    command = [str(python_of("faiss", environments)), str(PEERS / "faiss_job.py"), str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, **pipes, stderr=errors, env=one_thread(), cwd=tempfile.gettempdir()) as process,
    ):
        assert process.stdin
        assert process.stdout
        asked, answers = process.stdin, process.stdout
        limit = Timer(_AT_MOST_S, process.kill)
        limit.start()

        def answer() -> Any:
            line = answers.readline()
            if not line:
                raise RuntimeError(f"FAISS failed, or took over {_AT_MOST_S:.0f} s: {log.read_text()[-2000:]}")
            return json.loads(line)

        def rank() -> float:
            asked.write("rank\n")
            asked.flush()
            return float(answer())

        try:
            built = answer()
            rounded = {"recall": round(built["recall"], 4), "build_s": round(built["build_s"], 2)}
            yield {**built, **rounded, "clusters": clusters}, rank
        finally:
            limit.cancel()
            process.kill()
