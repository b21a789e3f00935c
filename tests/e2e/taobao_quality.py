"""Online quality on real shop events: the hit rate of a worker's recommendations against popularity, from Prometheus.

python -m tests.e2e.taobao_quality PATH/UserBehavior.csv

The encoder knows an item's category and how popular it was in the first half of the file; the whole file is replayed,
and what is reported is the second half. A plain encoder, to show that the figures can be trusted, not the best one.
"""

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.local.stack import Stack, running, up
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.ranking.user_head import LinearHead
from tests.e2e.prometheus_process import PrometheusProcess
from tests.e2e.shop import ShopOnStack
from tests.e2e.taobao import TAOBAO_TYPES, TOPIC_OF
from tests.e2e.worker_process import INPUTS, backlog, wait_for

DIMENSION = 64
POPULARITY_SHARE = 0.1
"""Of the score, at most: it decides between items of one category."""


@dataclass(frozen=True)
class Row:
    """A line of the file."""

    user: str
    item: str
    category: str
    type: str
    time_ms: int


def read_rows(path: Path, limit: int | None) -> list[Row]:
    """The events in their order of arrival."""
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            Row(user, item, category, TAOBAO_TYPES[behaviour], int(seconds) * 1000)
            for number, (user, item, category, behaviour, seconds) in enumerate(csv.reader(lines), start=1)
            if limit is None or number <= limit
        ]


def build_encoder(folder: Path, rows: list[Row], seen: list[Row]) -> None:
    """Items of a category share a direction; the popular ones of ``seen`` come first."""
    category_of = {row.item: row.category for row in rows}
    rng = np.random.default_rng(0)
    direction = {category: rng.standard_normal(DIMENSION) for category in sorted(set(category_of.values()))}
    items = sorted(category_of)
    count = Counter(row.item for row in seen)
    most = math.log1p(max(count.values()))
    lookup.build(
        folder,
        items,
        [direction[category_of[item]] for item in items],
        "category-popularity-1",
        bias=[POPULARITY_SHARE * math.log1p(count[item]) / most for item in items],
        user=UserSide(head=LinearHead(), history=20),
    )


def run(rows: list[Row], stack: Stack, folder: Path, rate: float) -> dict[str, Any]:
    """Replay at ``rate`` events a second and ask Prometheus about the second half."""
    half = len(rows) // 2
    build_encoder(folder / "encoder", rows, rows[:half])
    shop = ShopOnStack(stack, folder, encoder={"folder": str(folder / "encoder")}, checkpoint={"interval_s": 1.0})
    items = sorted({row.item for row in rows})
    for item in items:
        _produce(shop, "catalog", item, {"item_id": item, "title": ""})
    assert shop.producer.flush(120) == 0
    with ExitStack() as ending:
        worker = shop.start_worker()
        ending.callback(worker.stop)
        wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == len(items), timeout_s=300)
        assert worker.port is not None
        prometheus = PrometheusProcess(folder / "prometheus", [worker.port])
        ending.callback(prometheus.stop)
        inputs = [shop.topic(name) for name in INPUTS]

        def replay(part: list[Row], first: int) -> float:
            start = time.monotonic()
            for number, row in enumerate(part):
                shop.producer.poll(max(0.0, start + number / rate - time.monotonic()))
                event = {
                    "event_id": f"{first + number}",
                    "user_id": row.user,
                    "item_id": row.item,
                    "event_time_ms": row.time_ms,
                }
                _produce(shop, TOPIC_OF[row.type], row.user, event)
            assert shop.producer.flush(60) == 0
            wait_for(
                "the worker to have read everything",
                lambda: backlog(shop.admin, shop.settings.group, inputs) == 0,
                timeout_s=900,
                every_s=1.0,
            )
            time.sleep(3.0)  # three scrapes
            return time.monotonic() - start

        replay(rows[:half], 0)
        before = figures(prometheus)
        seconds = replay(rows[half:], half)
        after = figures(prometheus)
        gained = {name: after[name] - before[name] for name in COUNTERS}
        slow = prometheus.value(
            "histogram_quantile(0.5, sum by (le) (prefstream_event_to_recommendation_seconds_bucket))"
        )
        return {
            "events": len(rows) - half,
            **{name: round(value, 2) for name, value in gained.items()},
            "hit_rate": gained["hits"] / gained["scored"],
            "baseline_hit_rate": gained["baseline_hits"] / gained["scored"],
            "mrr": gained["reciprocal_ranks"] / gained["scored"],
            "baseline_mrr": gained["baseline_reciprocal_ranks"] / gained["scored"],
            "trending_fallbacks": prometheus.value('sum(prefstream_recommendations_total{kind="trending"})'),
            "coverage": prometheus.value("max(prefstream_catalog_coverage_ratio)"),
            "median_latency_s": round(slow, 3),
            "seconds": round(seconds, 1),
        }


COUNTERS = {
    "scored": "online_events_total",
    "hits": "online_hits_total",
    "baseline_hits": "online_baseline_hits_total",
    "reciprocal_ranks": "online_reciprocal_rank_total",
    "baseline_reciprocal_ranks": "online_baseline_reciprocal_rank_total",
    "no_list": 'online_unscored_events_total{why="no-list"}',
    "left_out": 'online_unscored_events_total{why="left-out"}',
    "purchases": "purchases_total",
    "conversions": "conversions_total",
}


def figures(prometheus: PrometheusProcess) -> dict[str, float]:
    """The counters as Prometheus has them now."""
    return {name: prometheus.value(f"sum(prefstream_{metric})") for name, metric in COUNTERS.items()}


def _produce(shop: ShopOnStack, topic: str, key: str, value: dict[str, Any]) -> None:
    while True:
        try:
            shop.producer.produce(shop.topic(topic), json.dumps(value), key)
            return
        except BufferError:
            shop.producer.poll(0.1)


def main() -> int:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.taobao_quality", description=__doc__)
    parser.add_argument("path", type=Path, help="Taobao's UserBehavior.csv")
    parser.add_argument("--rate", type=float, default=600.0, help="events a second")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--stack", type=Path, help="a folder where `prefstream stack up` has a stack running")
    given = parser.parse_args()
    if not given.path.is_file():
        parser.error(f"there is no file {given.path}")

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-quality-")))
        if given.stack:
            stack = up(given.stack, progress=say)  # it runs: this just reads where
        else:
            stack = ending.enter_context(running(folder / "stack", progress=say))
        print(json.dumps(run(read_rows(given.path, given.limit), stack, folder, given.rate), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
