"""The console on real Kafka, in a namespace: what is posted comes back as a list, by way of a worker."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import Stack, start_server, stop_server
from tests.console.served import Process
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import wait_for

pytestmark = pytest.mark.timeout(180)

SHELVES = {"boots": "Hiking", "tent": "Hiking", "stove": "Hiking", "novel": "Books", "atlas": "Books"}
DEADLINE_S = 20.0


def test_a_posted_click_comes_back_as_a_list(stack: Stack, tmp_path: Path) -> None:
    shop = ShopOnStack(stack, tmp_path, ranking={"k": 3})
    worker = shop.start_worker()
    for item, shelf in SHELVES.items():
        shop.send("catalog", item, {"item_id": item, "title": f"{item} for {shelf}", "category": [shelf]})
    shop.click("bob", "novel")
    console = Process(tmp_path, "--config", str(shop.config), "console", "--port", "0")
    url = console.said(r"(http://127\.0\.0\.1:\d+/)")

    def get(path: str) -> Any:
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            return json.load(answer)

    deadline = time.monotonic() + DEADLINE_S
    while get("api/shop")["products"] < len(SHELVES) or "bob" not in get("api/shop")["shoppers"]:
        assert time.monotonic() < deadline, get("api/shop")
        time.sleep(0.05)
    with urllib.request.urlopen(f"{url}api/stream?user=ann", timeout=DEADLINE_S) as stream:
        action = {"type": "click", "event_id": "e1", "user_id": "ann", "item_id": "tent", "session_id": "s"}
        request = urllib.request.Request(
            f"{url}api/events", json.dumps(action).encode(), {"Content-Type": "application/json"}
        )
        sent_s = time.monotonic()
        assert urllib.request.urlopen(request, timeout=10).status == 204
        for line in stream:
            if line.startswith(b"data: {") and (view := json.loads(line[6:])).get("recommendation_id"):
                break
        took_s = time.monotonic() - sent_s
    print(f"a list {1000 * took_s:.0f} ms after the click")
    assert view["cause"] == {"event_id": "e1", "text": "clicked tent for Hiking"}
    assert {item["product"]["item_id"] for item in view["items"][:2]} == {"boots", "stove"}
    assert view["items"][0]["because"] == "because you clicked tent for Hiking"
    assert took_s < DEADLINE_S
    assert console.stop() == 0
    assert worker.stop() == 0


def test_worker_and_kafka_may_go_and_come_back_while_a_page_is_open(stack: Stack, tmp_path: Path) -> None:
    shop = ShopOnStack(stack, tmp_path, ranking={"k": 3})
    worker = shop.start_worker()
    for item, shelf in SHELVES.items():
        shop.send("catalog", item, {"item_id": item, "title": f"{item} for {shelf}", "category": [shelf]})
    console = Process(tmp_path, "--config", str(shop.config), "console", "--port", "0")
    url = console.said(r"(http://127\.0\.0\.1:\d+/)")

    def act(event_id: str, item: str) -> tuple[int, str]:
        action = {"type": "click", "event_id": event_id, "user_id": "ann", "item_id": item, "session_id": "s"}
        request = urllib.request.Request(
            f"{url}api/events", json.dumps(action).encode(), {"Content-Type": "application/json"}
        )
        try:
            return urllib.request.urlopen(request, timeout=10).status, ""
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    with urllib.request.urlopen(f"{url}api/stream?user=ann", timeout=60) as stream:

        def until_caused_by(event_id: str) -> None:
            for line in stream:
                if (
                    line.startswith(b"data: {")
                    and ((json.loads(line[6:])).get("cause") or {}).get("event_id") == event_id
                ):
                    return
            raise AssertionError("the stream ended")

        wait_for("the catalog", lambda: act("e1", "tent")[0] == 204)
        until_caused_by("e1")
        assert worker.stop() == 0
        assert act("e2", "novel") == (204, "")  # Kafka has it, and keeps it
        worker = shop.start_worker("worker-2")
        until_caused_by("e2")
        stop_server(stack.folder, "kafka", kill=True)
        try:
            status, sentence = act("e3", "atlas")
            assert status == 503
            assert "Kafka did not confirm the event within 5 s" in sentence
        finally:
            start_server(stack.folder, "kafka")
        until_caused_by("e3")
    assert console.stop() == 0
    assert worker.stop() == 0
