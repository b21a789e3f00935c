"""A worker's encoder version is swapped and swapped back while a user goes on clicking, on real Kafka and Cassandra."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.stack import Stack
from encoders.building import hashed_text
from tests.e2e.shop import ShopOnStack, TopicReader
from tests.e2e.worker_process import WorkerProcess, sum_of_samples, wait_for
from tests.faults.command import prefstream

pytestmark = pytest.mark.timeout(180)

FIRST, SECOND = "hashed-text-1", "text-2"
SHELVES = {"boots": "Hiking", "tent": "Hiking", "stove": "Hiking", "novel": "Books", "atlas": "Books"}


@pytest.fixture
def shop(stack: Stack, tmp_path: Any) -> ShopOnStack:
    hashed_text.build(tmp_path / "folders" / "any-name", dimension=32, seed=1, version=SECOND)
    hashed_text.build(tmp_path / "elsewhere", dimension=16, seed=2, version="text-3")
    folders = str(tmp_path / "folders")
    return ShopOnStack(stack, tmp_path, ranking={"k": 5}, encoder={"folders": folders}, profiles={"history": 2})


@pytest.fixture
def worker(shop: ShopOnStack) -> Iterator[WorkerProcess]:
    worker = shop.start_worker()
    yield worker
    assert worker.stop() == 0


def put(shop: ShopOnStack, item: str, shelf: str) -> None:
    shop.send("catalog", item, {"item_id": item, "title": f"{item} for {shelf}", "category": [shelf]})


def serves(worker: WorkerProcess, version: str) -> bool:
    return sum_of_samples(worker.get("/metrics")[1], "prefstream_encoder_info", f'version="{version}"') == 1


def test_a_version_is_activated_and_taken_back(shop: ShopOnStack, worker: WorkerProcess) -> None:
    lists = TopicReader(shop, "recommendations")

    def clicked(item: str) -> tuple[str, set[str]]:
        """The version and the items of the list that a click brings."""
        event = shop.click("anna", item)
        found = lists.until(f"the list after {item}", lambda one: json.loads(one.value())["cause"]["event_id"] == event)
        message = json.loads(found.value())
        return message["encoder_version"], {one["item_id"] for one in message["items"]}

    for item, shelf in SHELVES.items():
        put(shop, item, shelf)
    wait_for("the catalog", lambda: worker.metric("prefstream_index_items") == len(SHELVES))
    for item in ("boots", "tent", "stove"):  # one more than the recents hold
        version, _ = clicked(item)
        assert version == FIRST

    state = json.loads(prefstream(shop.config, "encoders", "activate", SECOND, "--json"))
    assert sum(state["catalog_ends"]) == len(SHELVES)
    wait_for("the second version to serve", lambda: serves(worker, SECOND))
    version, items = clicked("novel")
    assert version == SECOND
    assert "atlas" in items
    put(shop, "rope", "Hiking")
    wait_for("the second version to know a new item", lambda: worker.metric("prefstream_index_items") == 6)
    listed = json.loads(prefstream(shop.config, "encoders", "list", "--json"))
    assert [(one["version"], one["active"], one["catalog_encoded"]) for one in listed] == [
        (SECOND, True, 6),
        (FIRST, False, 5),
    ]

    prefstream(shop.config, "encoders", "rollback")
    wait_for("the first version to serve", lambda: serves(worker, FIRST))
    version, items = clicked("boots")
    assert version == FIRST
    assert "rope" in items  # it caught up with what it had missed

    profile = json.loads(prefstream(shop.config, "profile", "show", "anna", "--json"))
    assert sum(profile["applied"].values()) == 5
    lists.close()


def test_a_worker_without_the_folder_says_so_and_goes_on(shop: ShopOnStack, worker: WorkerProcess) -> None:
    put(shop, "boots", "Hiking")
    folders = shop.folder / "folders"
    elsewhere = shop.folder / "elsewhere"
    there = folders / "text-3"
    elsewhere.rename(there)
    prefstream(shop.config, "encoders", "activate", SECOND)
    wait_for("the second version to serve", lambda: serves(worker, SECOND))
    prefstream(shop.config, "encoders", "activate", "text-3")
    wait_for("the third version to serve", lambda: serves(worker, "text-3"))
    (folders / "any-name").rename(shop.folder / "any-name")
    prefstream(shop.config, "encoders", "rollback")  # to a version whose folder is gone
    wait_for("the worker to say so", lambda: worker.get("/readyz")[0] == 503)
    problem = worker.get("/readyz")[1]
    assert f"encoder version '{SECOND}' is active and can't serve here, so 'text-3' goes on" in problem
    assert f"no folder of encoder version '{SECOND}'" in problem
    before = worker.metric("prefstream_recommendations_total")
    shop.click("ben", "boots")
    wait_for("it to go on", lambda: worker.metric("prefstream_recommendations_total") > before)
    (shop.folder / "any-name").rename(folders / "any-name")
    wait_for("the second version to serve again", lambda: serves(worker, SECOND))
    worker.wait_ready()
