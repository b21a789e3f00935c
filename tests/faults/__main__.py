"""Faults on real Kafka and Cassandra: each scenario does its harm under load, then every stored profile is checked.

python -m tests.faults --all --json
python -m tests.faults --scenario kill --seed 7 --keep FOLDER
python -m tests.faults --scenario rebalance --beside FORMER_CHECKOUT
"""

import argparse
import faulthandler
import json
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.local.stack import running, up
from tests.faults import disk, encoders, records, servers, topics, transactions, upgrade, workers
from tests.faults.arena import Run
from tests.faults.workers import Scenario

SCENARIOS: dict[str, Scenario] = {
    "kill": workers.kill,
    "stop": workers.stop,
    "zombie": workers.zombie,
    "rebalance": workers.rebalance,
    "poison": records.poison,
    "forget": records.forget,
    "repartition": topics.repartition,
    "recreate": topics.recreate,
    "transactions": transactions.transactions,
    "deleted": topics.deleted,
    "encoder-swap": encoders.encoder_swap,
    "upgrade": upgrade.upgrade,
    "upgrade-of-group": upgrade.upgrade_of_group,
    "disk": disk.disk,
    "cassandra-slow": servers.cassandra_slow,
    "cassandra-down": servers.cassandra_down,
    "kafka-down": servers.kafka_down,
}
QUICK = ("kill", "stop", "zombie")


def main(arguments: list[str] | None = None) -> int:
    """Run scenarios; 0 only if in all of them nothing was lost, doubled or wrong."""
    faulthandler.enable()  # the clients are C
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="one of them; may be repeated")
    parser.add_argument("--all", action="store_true", help="all of them; with --quick, those that fit into 4 minutes")
    parser.add_argument("--quick", action="store_true", help="less of each harm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a scenario")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    parser.add_argument("--stack", type=Path, help="the folder of a stack that runs and is left running")
    parser.add_argument(
        "--beside", type=Path, help="another checkout with a .venv of its own: every second worker is one of it"
    )
    given = parser.parse_args(arguments)
    if not given.all and not given.scenario:
        parser.error("name scenarios with --scenario, or give --all")
    names = given.scenario or (QUICK if given.quick else tuple(SCENARIOS))
    beside = given.beside.resolve() if given.beside else None
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    passed = True
    with ExitStack() as ending:
        folder = given.keep or Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-faults-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if given.stack:
            stack = up(given.stack, progress=say)  # it runs: this just reads where
        else:
            stack = ending.enter_context(running(folder / "stack", progress=say))
        for name in names:
            say(f"{name}: begins")
            result = _one(name, Run(given.seed, given.quick, stack, folder, say, beside))
            passed &= result["passed"]
            if given.json:
                print(json.dumps(result), flush=True)
            else:
                _show(result)
    return 0 if passed else 1


def _one(name: str, run: Run) -> dict[str, Any]:
    try:
        return SCENARIOS[name](run)
    except Exception as error:
        traceback.print_exc()
        return {"scenario": name, "seed": run.seed, "passed": False, "problems": [f"{type(error).__name__}: {error}"]}


def _show(result: dict[str, Any]) -> None:
    problems = result.pop("problems")
    print("  ".join(f"{name} {value}" for name, value in result.items()), flush=True)
    for problem in problems:
        print(f"    {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
