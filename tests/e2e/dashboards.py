"""Every query of every dashboard and every rule, evaluated by a real Prometheus that scrapes a worker under load.

python -m tests.e2e.dashboards
python -m tests.e2e.dashboards --plots docs/images    # the pictures of the README

The run provokes what is silent in health: records and a profile that can't be read, a store and a broker that are away.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra.cluster import Cluster

from deploy.local.stack import Stack, running, start_server, stop_server
from tests.e2e.prometheus_process import PrometheusProcess, QueryFailed, Series
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import INPUTS, backlog, wait_for

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
VARIABLES = {"$namespace": ".*", "$__rate_interval": "10s"}
STEP_S = 1.0
PROVOKED = ("Dead letters by reason", "Store errors by operation", "Broker errors", "Waits by reason")
"""Panels that have to show more than zeros."""
USERS = [f"user-{n}" for n in range(40)]
CATEGORIES = ("Tents", "Boots", "Stoves", "Lamps")
ITEMS = [f"item-{n}" for n in range(80)]


@dataclass(frozen=True)
class Query:
    """A query of a panel, with Grafana's variables filled in."""

    dashboard: str
    panel_id: int
    panel: str
    expr: str
    legend: str


@dataclass(frozen=True)
class Evaluated:
    """What one query gave."""

    query: Query
    series: list[Series]
    """Over the run, with a value at least."""
    problem: str = ""

    @property
    def peak(self) -> float:
        """The largest value of any series."""
        return max((value for one in self.series for value in one.values if math.isfinite(value)), default=0.0)


@dataclass(frozen=True)
class Away:
    """A server that was killed, in seconds since the start of the run."""

    what: str
    since_s: float
    until_s: float


@dataclass(frozen=True)
class Run:
    """What every query gave, every rule as Prometheus saw it at the end, and what was done to the servers."""

    evaluated: list[Evaluated]
    rules: list[dict[str, Any]]
    away: list[Away]
    seconds: float


def queries() -> Iterator[Query]:
    """Every query of every dashboard."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                yield Query(path.stem, panel["id"], panel["title"], expr, target.get("legendFormat", ""))


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


def run(stack: Stack, folder: Path) -> Run:
    """A run with its troubles, and what Prometheus has of it."""
    shop = ShopOnStack(stack, folder)
    load = Load(shop)
    load.send_catalog()
    away: list[Away] = []
    inputs = [shop.topic(name) for name in INPUTS]
    with ExitStack() as ending:
        worker = shop.start_worker()
        ending.callback(worker.stop)
        wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == len(ITEMS))
        assert worker.port is not None
        prometheus = PrometheusProcess(folder / "prometheus", [worker.port])
        ending.callback(prometheus.stop)
        wait_for("the first scrape", lambda: prometheus.value("sum(up)") == 1)
        start_s = time.time()

        @contextmanager
        def without(server: str, what: str) -> Iterator[None]:
            since_s = time.time() - start_s
            stop_server(stack.folder, server, kill=True)
            try:
                yield
            finally:
                start_server(stack.folder, server)
            away.append(Away(what, since_s, time.time() - start_s))

        def settle() -> None:
            wait_for(
                "the worker to have read everything",
                lambda: backlog(shop.admin, shop.settings.group, inputs) == 0,
                timeout_s=90,
            )

        load.run(8.0)
        _break_a_profile(stack, shop)
        shop.click("whose-row-is-broken", ITEMS[0])
        wait_for("the row to be found broken", lambda: worker.metric("prefstream_store_errors_total") > 0)
        with without("cassandra", "Cassandra"):
            shop.click("unknown-until-now", ITEMS[0])
            wait_for("a wait for the store", lambda: worker.metric("prefstream_waits_total") > 0)
        settle()
        load.run(6.0)
        with without("kafka", "Kafka"):
            wait_for("an error of the broker", lambda: worker.metric("prefstream_broker_errors_total") > 0)
        load.run(8.0)
        settle()
        time.sleep(2.5)  # two scrapes
        wait_for("rules to be evaluated", lambda: all(rule["lastEvaluation"] > "1" for rule in prometheus.rules()))
        end_s = time.time()
        evaluated = [_evaluate(prometheus, query, start_s, end_s) for query in queries()]
        return Run(evaluated, prometheus.rules(), away, end_s - start_s)


def _break_a_profile(stack: Stack, shop: ShopOnStack) -> None:
    """A row of a user that no worker has in memory, damaged."""
    with Cluster(stack.cassandra_hosts, stack.cassandra_port) as cluster:
        cluster.connect(shop.settings.keyspace).execute(
            "INSERT INTO profiles (user_id, partition, version, state, short_term, long_term, mixed, encoder) "
            "VALUES (%s, 0, 1, %s, %s, %s, %s, 'none')",
            ("whose-row-is-broken", b"\xc1", b"", b"", b""),
        )


def _evaluate(prometheus: PrometheusProcess, query: Query, start_s: float, end_s: float) -> Evaluated:
    try:
        found = prometheus.query_range(query.expr, start_s, end_s, STEP_S)
    except QueryFailed as error:
        return Evaluated(query, [], str(error))
    series = [one for one in found if any(map(math.isfinite, one.values))]
    return Evaluated(query, series, "" if series else "no data")


def problems(found: Run) -> list[str]:
    """What is wrong: a query or rule with an error, a panel without data or without the trouble that was made."""
    failed = [(one.query, one.problem) for one in found.evaluated if one.problem]
    calm = [one.query.panel for one in found.evaluated if one.query.panel in PROVOKED and one.peak <= 0]
    return [
        *(f"{query.dashboard}: {query.panel}: {problem}: {query.expr}" for query, problem in failed),
        *(f"{panel}: nothing but zeros" for panel in calm),
        *(f"rule {one['name']}: {one['health']} {one.get('lastError', '')}" for one in found.rules if _is_bad(one)),
    ]


def _is_bad(rule: dict[str, Any]) -> bool:
    return bool(rule["health"] != "ok")


def report(found: Run) -> Iterator[str]:
    """A line for each query and rule."""
    for one in found.evaluated:
        query = one.query
        yield f"{len(one.series):4} series  {query.dashboard:16} {query.panel:44} {one.problem or query.expr}"
    for rule in found.rules:
        state = rule.get("state", "recorded")
        yield f"{rule['health']:>11}  {'rule':16} {rule['name']:60} {state} {rule.get('lastError', '')}"
    for one in found.away:
        yield f"{one.what} was away from {one.since_s:.0f} s to {one.until_s:.0f} s of {found.seconds:.0f} s"


def main() -> int:
    """Run it on a stack of its own; the exit code is 0 only if every query and rule works and every panel has data."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.dashboards", description=__doc__)
    parser.add_argument("--plots", type=Path, help="a folder for a picture of each dashboard")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="prefstream-dashboards-") as name,
        running(Path(name) / "stack", progress=lambda line: print(line, file=sys.stderr)) as stack,
    ):
        found = run(stack, Path(name))
    print("\n".join(report(found)))
    wrong = problems(found)
    panels = len({(one.query.dashboard, one.query.panel_id) for one in found.evaluated})
    print(f"{len(found.evaluated)} queries of {panels} panels, {len(found.rules)} rules, {len(wrong)} problems")
    for problem in wrong:
        print(problem)
    if given.plots and not wrong:
        from tests.e2e.dashboard_plots import draw

        for path in sorted(DASHBOARDS.glob("*.json")):
            draw(found, path, given.plots / f"dashboard-{path.stem}.png")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
