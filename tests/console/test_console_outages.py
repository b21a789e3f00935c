"""The page in a real browser without a worker, and then without Kafka (the simulator): it says what is away."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from playwright.sync_api import Page, expect

from schemas.codec import encode
from streams.demo.shop import make_shop
from streams.kafka.simulator import Simulator
from streams.kafka.topics import CATALOG, INPUTS, RECOMMENDATIONS
from tests.console.browser import running_browser
from tests.console.served import Process, read_all

pytestmark = pytest.mark.timeout(120)

LATE_MS = 20_000
"""The page waits for a list, and the console for Kafka, for 5 s each."""


@pytest.fixture
def page() -> Iterator[Page]:
    with running_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        yield page


def test_it_says_that_no_worker_answers_and_then_that_kafka_does_not(page: Page, tmp_path: Path) -> None:
    """Regression: where Kafka was away, the page asked after the worker."""
    simulators = [Simulator()]
    address = simulators[0].address
    simulators[0].create_topics([*INPUTS, CATALOG, RECOMMENDATIONS])
    producer = Producer({"bootstrap.servers": address, "log_level": 0})
    for item in make_shop(40, 1).items:
        producer.produce(CATALOG, encode(item), item.item_id)
    assert producer.flush(10) == 0
    console = Process(tmp_path, "--broker", address, "console", "--port", "0")
    page.goto(f"{console.said(r'(http://127.0.0.1:[0-9]+/)')}?user=nobody-knows-me")
    expect(page.locator(".card")).to_have_count(24)
    expect(page.locator("#list-empty")).to_contain_text("Click anything in the shop")
    expect(page.locator("#events")).to_have_text("nothing known yet")

    page.locator(".card .open").first.click()
    expect(page.locator("#list")).to_have_class("list panel waiting")
    expect(page.locator("#toast")).to_have_text("No list came within 5 seconds. Is a worker running?", timeout=LATE_MS)
    expect(page.locator("#list")).to_have_class("list panel")
    expect(page.locator("#events")).to_have_text("1 event seen")
    [click] = read_all(address, "clicks")
    assert json.loads(click.value())["user_id"] == "nobody-knows-me"

    del producer
    simulators.clear()
    gc.collect()
    page.locator(".card .open").nth(1).click()
    expect(page.locator("#toast")).to_contain_text("Kafka did not confirm the event within 5 s", timeout=LATE_MS)
    expect(page.locator("#list")).to_have_class("list panel")
    page.locator("#words").fill(page.locator(".card .title").first.inner_text())
    expect(page.locator(".card")).to_have_count(1)  # the shop itself is there all along
    expect(page.locator("#link")).to_have_text("live")
    assert console.stop() == 0
