"""Servers that go away and come back: work goes on where it can, resumes by itself where not, and nothing is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cassandra.cluster import Cluster

from deploy.local.stack import Stack, start_server, stop_server
from tests.e2e.shop import ShopOnStack, TopicReader
from tests.e2e.worker_process import INPUTS, WorkerProcess, backlog, wait_for

pytestmark = pytest.mark.timeout(240)

USERS = [f"u{n}" for n in range(30)]


@pytest.fixture
def shop(stack: Stack, tmp_path: Path) -> ShopOnStack:
    shop = ShopOnStack(stack, tmp_path)
    for item in ("boots", "tent", "stove"):
        shop.send("catalog", item, {"item_id": item, "title": item, "category": ["Hiking"]})
    return shop


@pytest.fixture
def worker(shop: ShopOnStack) -> Iterator[WorkerProcess]:
    worker = shop.start_worker()
    wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == 3)
    yield worker
    assert worker.stop() == 0


def applied(stack: Stack, shop: ShopOnStack) -> dict[str, int]:
    """Events counted in each stored profile."""
    with Cluster(stack.cassandra_hosts, stack.cassandra_port) as cluster:
        rows: Any = cluster.connect(shop.settings.keyspace).execute("SELECT user_id, state FROM profiles")
        return {row.user_id: sum(msgspec.msgpack.decode(row.state)["counters"]["applied"]) for row in rows}


def all_committed(shop: ShopOnStack) -> bool:
    return backlog(shop.admin, shop.settings.group, [shop.topic(name) for name in INPUTS]) == 0


def test_with_cassandra_away_known_users_are_served_and_nothing_is_lost(
    stack: Stack, shop: ShopOnStack, worker: WorkerProcess
) -> None:
    for user in USERS:
        shop.click(user, "boots")
    wait_for("the first round", lambda: all_committed(shop))
    stop_server(stack.folder, "cassandra", kill=True)
    try:
        reader = TopicReader(shop, "recommendations")
        event_id = shop.click(USERS[0], "tent")
        reader.until(
            "a recommendation without Cassandra",
            lambda one: json.loads(one.value())["cause"]["event_id"] == event_id,
        )
        reader.close()
        for user in [*USERS[1:], "newcomer"]:
            shop.click(user, "tent")
        wait_for("an error of the store", lambda: worker.metric("prefstream_store_errors_total") > 0)
        assert worker.get("/healthz")[0] == 200
    finally:
        start_server(stack.folder, "cassandra")
    wait_for("everything to be committed", lambda: all_committed(shop), timeout_s=60)
    assert applied(stack, shop) == {**dict.fromkeys(USERS, 2), "newcomer": 1}


def test_with_kafka_away_the_worker_waits_and_nothing_is_lost(
    stack: Stack, shop: ShopOnStack, worker: WorkerProcess
) -> None:
    for user in USERS:
        shop.click(user, "boots")
    stop_server(stack.folder, "kafka", kill=True)
    start_server(stack.folder, "kafka")
    for user in USERS:
        shop.click(user, "tent")
    wait_for("everything to be committed", lambda: all_committed(shop), timeout_s=90)
    assert applied(stack, shop) == dict.fromkeys(USERS, 2)
    assert worker.get("/healthz")[0] == 200
