"""The only source of prefstream's speed figures, measured beside its peers in one run.

python -m tests.bench --quick --json
python -m tests.bench                      # tables; JSON and plots in bench-results/
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from deploy.local.stack import running, up
from encoders.runtime import Runtime
from tests.bench import report
from tests.bench.exact import exact
from tests.bench.fetch import fetch
from tests.bench.growth import by_batch, by_users
from tests.bench.job import beside_peers, prefstream
from tests.bench.latency import latency
from tests.bench.output import output_costs
from tests.bench.reference import reference_us
from tests.bench.scoring import scoring
from tests.bench.stages import stage_costs

_LOADS = {"10 %": 0.1, "50 %": 0.5, "80 %": 0.8}


def main(arguments: list[str] | None = None) -> int:
    """Measure, show, write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 minutes instead of 15")
    parser.add_argument("--json", action="store_true", help="one object with the figures, nothing else")
    parser.add_argument("--results", type=Path, default=Path("bench-results"), help="folder for JSON and plots")
    parser.add_argument("--environments", type=Path, default=Path(".bench"), help="folder for the peers' environments")
    parser.add_argument("--stack", type=Path, help="the folder of a stack that runs and is left running")
    given = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    began = time.monotonic()
    reference: dict[str, float] = {}

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    def begin(section: str) -> None:
        reference[section] = reference_us()
        say(section)

    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-bench-")))
        environments = given.environments.resolve()
        details = alone(folder, environments, given.quick, begin)
        if given.stack:
            stack = up(given.stack, progress=say)
        else:
            stack = ending.enter_context(running(folder / "stack", progress=say))
        details |= measure(stack, folder, environments, given.quick, begin)
    details["reference_us"] = reference  # before each section
    figures = figures_of(details)
    report.write(given.results, figures, details)
    if given.json:
        print(json.dumps(figures), flush=True)
    else:
        report.show(figures, details)
    return 0


def alone(folder: Path, environments: Path, quick: bool, begin: Callable[[str], None]) -> dict[str, Any]:
    """What needs no servers, before they are there: they would take caches and cores from it."""
    details: dict[str, Any] = {}
    for items in (10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        begin(f"scoring {items:,} items")
        details[f"scoring {items}"] = scoring(items, environments=environments)
    if not quick:
        if Runtime("auto").is_cuda:
            begin("exact, on the GPU")
            details["exact"] = exact("cuda", 1_000_000)
        begin("growth")
        details["growth by batch"] = by_batch(folder, (10, 100, 500, 2_000, 8_000))
        details["growth by users"] = by_users(folder, (10_000, 100_000, 1_000_000))
    return details


def measure(stack: Any, folder: Path, environments: Path, quick: bool, begin: Callable[[str], None]) -> dict[str, Any]:
    """Everything else, section by section."""
    details: dict[str, Any] = {}
    begin("fetch")
    details["fetch"] = fetch(stack, 200_000 if quick else 1_000_000)
    begin("stages")
    batches = 16 if quick else 20  # the first ones are slower
    details["stages"] = {users: stage_costs(stack, folder, users, 10_000, batches) for users in ("zipf", "uniform")}
    begin("output")
    details["output"] = output_costs(stack, folder, 10_000, 10 if quick else 30)
    begin("the whole job, beside its peers")
    details["job"] = beside_peers(stack, folder, environments, 10_000, 2_000 if quick else 10_000, 40_000)
    begin("two workers")
    events = 40_000 if quick else 100_000
    for workers in (1, 2):
        details[f"workers {workers}"] = prefstream(stack, folder, 10_000, "zipf", events, workers)
    if not quick:
        for users, items in (("uniform", 10_000), ("zipf", 100_000)):
            begin(f"the whole job, {users} users, {items:,} items")
            details[f"job {users} {items}"] = prefstream(stack, folder, items, users, events)
    begin("latency")
    shares = {name: share for name, share in _LOADS.items() if not quick or share == 0.5}
    overload = details["workers 1"]["warm"]["events_s"]
    seconds, warm = (8.0, 40_000) if quick else (30.0, 100_000)
    details["latency"] = latency(stack, folder, 10_000, shares, overload, seconds, warm)
    return details


def figures_of(details: dict[str, Any]) -> dict[str, float]:
    """The figures that have goals, in the order of the goals, then those of FAISS, then of lists by `output`."""
    stages = details["stages"]["zipf"]
    fetched, jobs = details["fetch"], details["job"]
    users = stages["users_per_event"]
    per_user = stages["us_per_user"]["encode"] + stages["us_per_user"]["produce"]
    found = {
        "fetch_ratio_vs_stock_faust": fetched["faust-stock"]["cpu_us"] / fetched["faust-batch"]["cpu_us"],
        "job_ratio_vs_quix": jobs["quix"]["cpu_us"] / jobs["prefstream"]["cpu_us"],
        "job_ratio_vs_stock_faust": jobs["faust"]["cpu_us"] / jobs["prefstream"]["cpu_us"],
        "cpu_us_per_event": fetched["faust-batch"]["cpu_us"]
        + stages["us_per_event"]["decode"]
        + stages["us_per_event"]["update"]
        + per_user * users,
        "save_us_per_user": stages["us_per_user"]["save"],
        "latency_ms_p50": details["latency"]["50 %"]["worker"]["p50"],
        "latency_ms_p99": details["latency"]["50 %"]["worker"]["p99"],
        "two_workers_speedup": 2 * details["workers 1"]["warm"]["cpu_us"] / details["workers 2"]["warm"]["cpu_us"],
    }
    beside: dict[str, float] = {}
    for items, name in ((10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")):
        if f"scoring {items}" in details:
            own = details[f"scoring {items}"]
            found[f"score_us_{name}"] = own["score_us"]
            if items > 10_000:
                found[f"recall_{name}"] = own["recall"]
            if faiss := own.get("faiss"):
                beside[f"faiss_us_{name}"] = faiss["score_us"]
                beside[f"faiss_recall_{name}"] = faiss["recall"]
                beside[f"score_ratio_vs_faiss_{name}"] = faiss["ratio"]
                beside[f"build_s_{name}"] = own["build_s"]
                beside[f"faiss_build_s_{name}"] = faiss["build_s"]
    output = {
        f"{name}_{kind}": value
        for name, section in (
            ("list_bytes", "bytes"),
            ("list_encode_us", "encode_us"),
            ("list_produce_us", "produce_us"),
        )
        for kind, value in details["output"][section].items()
    }
    named = {name: found[name] for name in report.GOALS if name in found} | beside | output
    return {name: round(value, 3) for name, value in named.items()}


if __name__ == "__main__":
    sys.exit(main())
