"""Every query of every dashboard and every rule, evaluated by a real Prometheus that scrapes a worker under load.

python -m tests.e2e.dashboards

The run provokes what is silent in health: records and a profile that can't be read, a store that is away.
"""

import argparse
import json
import math
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra.cluster import Cluster

from deploy.local.stack import Stack, running, start_server, stop_server
from tests.e2e.prometheus_process import PrometheusProcess, QueryFailed
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import INPUTS, backlog, wait_for

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
VARIABLES = {"$namespace": ".*", "$__rate_interval": "30s"}
USERS = [f"user-{n}" for n in range(40)]
CATEGORIES = ("Tents", "Boots", "Stoves", "Lamps")
ITEMS = [f"item-{n}" for n in range(80)]


@dataclass(frozen=True)
class Evaluated:
    """What one query gave."""

    dashboard: str
    panel: str
    expr: str
    series: int
    problem: str = ""


def queries() -> Iterator[tuple[str, str, str]]:
    """Dashboard, panel and expression of every query, with Grafana's variables filled in."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                yield path.stem, panel["title"], expr


class Load:
    """Shoppers with a taste each, some of whom follow recommendations; deterministic but for times and ids."""

    def __init__(self, shop: ShopOnStack) -> None:
        self._shop = shop
        self._rng = random.Random(7)

    def send_catalog(self) -> None:
        """Every item, each of a category."""
        for number, item in enumerate(ITEMS):
            category = CATEGORIES[number % len(CATEGORIES)]
            value = {"item_id": item, "title": f"{category[:-1]} {number}", "category": [category]}
            self._produce("catalog", item, value)
        self._flush()

    def run(self, seconds: float, every_s: float = 0.01) -> None:
        """Events for so long, one in fifty of them broken."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._event(self._rng.choice(USERS))
            self._shop.producer.poll(every_s)
        self._flush()

    def _event(self, user: str) -> None:
        rng = self._rng
        taste = USERS.index(user) % len(CATEGORIES)
        # a few items of each taste are looked at by everybody: those come to be trending
        number = taste + len(CATEGORIES) * rng.randrange(20 if rng.random() < 0.5 else 3)
        topic = rng.choices(["clicks", "browses", "purchases"], [4, 5, 1])[0]
        event = {
            "event_id": uuid.uuid4().hex,
            "user_id": user,
            "item_id": ITEMS[number] if rng.random() < 0.95 else "not-in-the-catalog",
            "event_time_ms": int(time.time() * 1000),
        }
        if rng.random() < 0.2:
            event["recommendation_id"] = "shown-before"
        if rng.random() < 0.02:
            del event["item_id"]
        self._produce(topic, user, event)

    def _produce(self, topic: str, key: str, value: dict[str, Any]) -> None:
        self._shop.producer.produce(self._shop.topic(topic), json.dumps(value), key)

    def _flush(self) -> None:
        assert self._shop.producer.flush(30) == 0


def run(stack: Stack, folder: Path) -> tuple[list[Evaluated], list[dict[str, Any]]]:
    """Every query's outcome, and every rule as Prometheus sees it at the end."""
    shop = ShopOnStack(stack, folder)
    load = Load(shop)
    load.send_catalog()
    with ExitStack() as ending:
        worker = shop.start_worker()
        ending.callback(worker.stop)
        wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == len(ITEMS))
        assert worker.port is not None
        prometheus = PrometheusProcess(folder / "prometheus", [worker.port])
        ending.callback(prometheus.stop)
        load.run(6.0)
        _break_a_profile(stack, shop)
        shop.click("whose-row-is-broken", ITEMS[0])
        wait_for("the row to be found broken", lambda: worker.metric("prefstream_store_errors_total") > 0)
        stop_server(stack.folder, "cassandra", kill=True)
        try:
            shop.click("unknown-until-now", ITEMS[0])
            wait_for("a wait for the store", lambda: worker.metric("prefstream_waits_total") > 0)
        finally:
            start_server(stack.folder, "cassandra")
        inputs = [shop.topic(name) for name in INPUTS]

        def all_read() -> bool:
            return backlog(shop.admin, shop.settings.group, inputs) == 0

        wait_for("the worker to go on", all_read, timeout_s=90)
        load.run(8.0)
        wait_for("the worker to have read everything", all_read, timeout_s=90)
        time.sleep(2.5)  # two scrapes
        wait_for("rules to be evaluated", lambda: all(rule["lastEvaluation"] > "1" for rule in prometheus.rules()))
        return [_evaluate(prometheus, *query) for query in queries()], prometheus.rules()


def _break_a_profile(stack: Stack, shop: ShopOnStack) -> None:
    """A row of a user that no worker has in memory, damaged."""
    with Cluster(stack.cassandra_hosts, stack.cassandra_port) as cluster:
        cluster.connect(shop.settings.keyspace).execute(
            "INSERT INTO profiles (user_id, partition, version, state, short_term, long_term, mixed, encoder) "
            "VALUES (%s, 0, 1, %s, %s, %s, %s, 'none')",
            ("whose-row-is-broken", b"\xc1", b"", b"", b""),
        )


def _evaluate(prometheus: PrometheusProcess, dashboard: str, panel: str, expr: str) -> Evaluated:
    try:
        found = prometheus.query(expr)
    except QueryFailed as error:
        return Evaluated(dashboard, panel, expr, 0, str(error))
    series = sum(math.isfinite(value) for _, value in found)
    return Evaluated(dashboard, panel, expr, series, "" if series else "no data")


def problems(evaluated: list[Evaluated], rules: list[dict[str, Any]]) -> list[str]:
    """What is wrong: a query or rule with an error, a panel without data."""
    return [f"{one.dashboard}: {one.panel}: {one.problem}: {one.expr}" for one in evaluated if one.problem] + [
        f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"
    ]


def report(evaluated: list[Evaluated], rules: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each query and rule."""
    for one in evaluated:
        yield f"{one.series:4} series  {one.dashboard:16} {one.panel:42} {one.problem or one.expr}"
    for rule in rules:
        state = rule.get("state", "recorded")
        yield f"{rule['health']:>11}  {'rule':16} {rule['name']:58} {state} {rule.get('lastError', '')}"


def main() -> int:
    """Run it on a stack of its own; the exit code is 0 only if every query and rule works and every panel has data."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.dashboards", description=__doc__)
    parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="prefstream-dashboards-") as name,
        running(Path(name) / "stack", progress=lambda line: print(line, file=sys.stderr)) as stack,
    ):
        evaluated, rules = run(stack, Path(name))
    print("\n".join(report(evaluated, rules)))
    wrong = problems(evaluated, rules)
    panels = len({(one.dashboard, one.panel) for one in evaluated})
    print(f"{len(evaluated)} queries of {panels} panels, {len(rules)} rules, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
