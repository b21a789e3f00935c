"""The exact top-k of all items on a GPU: the worker's graph, the same with one TopK, and a plain matmul and top-k.

python -m tests.bench.exact
python -m tests.bench.exact --device cpu --items 100000
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderError
from encoders.index.item_index import IndexSnapshot
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import Ranked
from encoders.runtime import Device, Runtime
from streams.rank.exclusions import adjustments
from tests.bench import workload
from tests.bench.scoring import catalog

_CLOSE = 1e-4  # of scores: of items that differ by less, either may come first


def exact(device: Device, items: int, repeats: int = 7) -> dict[str, Any]:
    """Microseconds of time a user, from host to host: the median of some runs, by turns.

    ``two_stages_us`` is what a worker does on CUDA (head, scores, 20 items left out, top-k, shares), ``one_top_k_us``
    the same with ONNX Runtime's TopK over all items; ``same`` is the share of the users to whom both give the same
    scores and, where these are not as good as equal, the same items. ``plain_us`` has the users' vectors already and
    gives their best items alone, by JAX: ``users @ items.T + bias`` and ``top_k``. ``plain_missing`` says why it is
    not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(device)
        space, inputs, rows = catalog(Path(folder), runtime, items)
        snapshot, adjust, users = space.index.snapshot(), adjustments(rows), len(rows)
        graphs = {
            name: ExactRanker(runtime, space.artifact, two_stages_from=from_items)
            for name, from_items in (("two_stages_us", 0), ("one_top_k_us", items + 1))
        }
        ways: dict[str, Callable[[], Any]] = {
            name: lambda graph=graph: graph.rank(inputs, snapshot, rows, adjust, workload.K)  # type: ignore[misc]
            for name, graph in graphs.items()
        }
        missing = _why_not_jax(runtime.is_cuda)
        if not missing:
            vectors, scale = space.ranker.vectors(inputs)[0], space.artifact.manifest.score_scale
            ways["plain_us"] = _plain(vectors, scale, snapshot, graphs["one_top_k_us"].users_a_run(items))
        taken: dict[str, list[float]] = {name: [] for name in ways}
        found: dict[str, Any] = {}
        for _ in range(repeats + 1):
            for name, rank in ways.items():
                start = time.perf_counter()
                found[name] = rank()
                taken[name].append((time.perf_counter() - start) / users * 1e6)
        return {
            "device": runtime.provider,
            "items": items,
            "users": users,
            **{name: round(median(times[1:]), 1) for name, times in taken.items()},
            **({"plain_missing": missing} if missing else {}),
            "same": _same(found["one_top_k_us"], found["two_stages_us"]),
        }


def _same(one: Ranked, other: Ranked) -> float:
    apart = np.abs(np.diff(one.scores, axis=1)) > _CLOSE
    certain = np.pad(apart, ((0, 0), (1, 0)), constant_values=True) & np.pad(apart, ((0, 0), (0, 1)))
    as_good = np.abs(one.scores - other.scores) < _CLOSE
    return round(float((as_good & (~certain | (one.rows == other.rows))).all(axis=1).mean()), 4)


def _why_not_jax(is_cuda: bool) -> str:
    """Why JAX has not the device that ONNX Runtime has; empty if it does."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes most of the GPU's memory at once
    import jax

    has, wanted = jax.default_backend(), "gpu" if is_cuda else "cpu"
    hint = ': pip install "jax[cuda12]"' if is_cuda else ""
    return "" if has == wanted else f"JAX runs on the {has} here, not on the {wanted}{hint}"


def _plain(
    users: NDArray[np.float32], scale: float, snapshot: IndexSnapshot, chunk: int
) -> Callable[[], NDArray[np.float32]]:
    """Scores of the best items by plain matmul and top-k; items and biases stay on the device."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def best(some: Any, items: Any, bias: Any) -> Any:
        # full float32, as the worker has it
        scores = jnp.matmul(some, items.T, precision=jax.lax.Precision.HIGHEST) * scale + bias
        return jax.lax.top_k(scores, workload.K)

    items, bias = jax.device_put(snapshot.items), jax.device_put(snapshot.bias)

    def rank() -> NDArray[np.float32]:
        chunks = (users[start : start + chunk] for start in range(0, len(users), chunk))
        found = [jax.device_get(best(some, items, bias)) for some in chunks]
        return np.concatenate([scores for scores, _ in found])

    return rank


def main(arguments: list[str] | None = None) -> int:
    """Measure and print one object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.exact", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cuda")
    given = parser.parse_args(arguments)
    try:
        print(json.dumps(exact(given.device, given.items), indent=1))
    except EncoderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
