"""The console on real Kafka: what is posted comes back as a list, by way of a worker, whoever was away meanwhile."""

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
DEADLINE_S = 60.0


class Page:
    """A console of its own process, asked as the page asks it."""

    def __init__(self, shop: ShopOnStack, folder: Path) -> None:
        self.console = Process(folder, "--config", str(shop.config), "console", "--port", "0")
        self.url = self.console.said(r"(http://127\.0\.0\.1:\d+/)")

    def shop(self) -> Any:
        with urllib.request.urlopen(f"{self.url}api/shop", timeout=10) as answer:
            return json.load(answer)

    def act(self, event_id: str, user: str, item: str) -> tuple[int, str]:
        """Click; returns the status and the sentence of a refusal."""
        action = {"type": "click", "event_id": event_id, "user_id": user, "item_id": item, "session_id": "s"}
        request = urllib.request.Request(
            f"{self.url}api/events", json.dumps(action).encode(), {"Content-Type": "application/json"}
        )
        try:
            return urllib.request.urlopen(request, timeout=10).status, ""
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]


def test_a_click_comes_back_as_a_list_and_worker_and_kafka_may_come_and_go(stack: Stack, tmp_path: Path) -> None:
    shop = ShopOnStack(stack, tmp_path, ranking={"k": 3})
    for item, shelf in SHELVES.items():
        shop.send("catalog", item, {"item_id": item, "title": f"{item} for {shelf}", "category": [shelf]})
    page = Page(shop, tmp_path)
    wait_for("the catalog", lambda: page.shop()["products"] == len(SHELVES), DEADLINE_S)
    assert page.act("e0", "bob", "novel") == (204, "")  # there is no worker yet: Kafka keeps it
    assert page.shop()["shoppers"] == ["bob"]
    worker = shop.start_worker()
    with urllib.request.urlopen(f"{page.url}api/stream?user=ann", timeout=DEADLINE_S) as stream:

        def until(name: str, wanted: Any) -> Any:
            """The first of the stream's events of that name for which ``wanted`` is true."""
            named = ""
            for line in stream:
                if line.startswith(b"event: "):
                    named = line[7:-1].decode()
                elif line.startswith(b"data: ") and named == name and wanted(view := json.loads(line[6:])):
                    return view
            raise AssertionError("the stream ended")

        until("others", lambda view: [other["user_id"] for other in view] == ["bob"])
        sent_s = time.monotonic()
        assert page.act("e1", "ann", "tent") == (204, "")
        view = until("list", lambda view: view["recommendation_id"])
        print(f"a list {1000 * (time.monotonic() - sent_s):.0f} ms after the click")
        assert view["cause"] == {"event_id": "e1", "text": "clicked tent for Hiking"}
        assert {item["product"]["item_id"] for item in view["items"][:2]} == {"boots", "stove"}
        assert view["items"][0]["because"] == "because you clicked tent for Hiking"

        stop_server(stack.folder, "kafka", kill=True)
        try:
            status, sentence = page.act("e2", "ann", "atlas")
            assert status == 503
            assert "Kafka did not confirm the event within 5 s" in sentence
        finally:
            start_server(stack.folder, "kafka")
        until("list", lambda view: view["cause"]["event_id"] == "e2")  # it was sent as soon as Kafka was back
    assert page.console.stop() == 0
    assert worker.stop() == 0
