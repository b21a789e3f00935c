"""The console's server on the simulator: what it serves and refuses, what it sends, and what it hears."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.codec import encode
from streams.console import server as server_module
from streams.console.server import ConsoleLimits, ConsoleServer
from streams.kafka.simulator import Simulator
from streams.kafka.topics import CATALOG, INPUTS, RECOMMENDATIONS
from streams.settings import Kafka, Settings
from tests.unit.streams.console.console_made import item, listed, recommendation

DEADLINE_S = 20.0
STATIC = Path(server_module.__file__).parent / "static"


class Console:
    """A running server, and the topics around it."""

    def __init__(self, address: str, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = session
        self.address = address
        self._producer = Producer({"bootstrap.servers": address, "log_level": 0})

    def put(self, topic: str, key: str, value: Any) -> None:
        self._producer.produce(topic, None if value is None else encode(value), key)
        assert self._producer.flush(10) == 0

    async def products(self, **query: Any) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/api/products", params=query) as answer:
            assert answer.status == 200
            found: dict[str, Any] = await answer.json()
            return found

    async def until(self, total: int) -> dict[str, Any]:
        """The shelves once they hold so many products."""
        deadline = time.monotonic() + DEADLINE_S
        while (found := await self.products())["total"] != total:
            assert time.monotonic() < deadline, f"{found['total']} products where {total} were expected"
            await asyncio.sleep(0.02)
        return found

    async def act(self, headers: dict[str, str] | None = None, **changed: Any) -> tuple[int, str]:
        """Post an event; returns the status and the sentence of a refusal."""
        action = {"type": "click", "event_id": "e1", "user_id": "ann", "item_id": "tea", "session_id": "s"} | changed
        body = json.dumps({name: value for name, value in action.items() if value is not None})
        usual = {"Content-Type": "application/json"}
        async with self.session.post(f"{self.url}/api/events", data=body, headers=usual | (headers or {})) as answer:
            return answer.status, (await answer.json())["error"] if answer.status != 204 else ""

    def events(self, topic: str) -> list[dict[str, Any]]:
        """Everything in an event topic."""
        options = {"bootstrap.servers": self.address, "group.id": "test", "log_level": 0, "fetch.wait.max.ms": 5}
        consumer = Consumer(options)
        try:
            ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in range(4)}
            consumer.assign([TopicPartition(topic, number, 0) for number, end in ends.items() if end])
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                found += consumer.consume(10, timeout=0.1)
            return [json.loads(message.value()) for message in found]
        finally:
            consumer.close()

    async def listen(self, user: str) -> AsyncIterator[tuple[str, Any]]:
        """Server-sent events, as (name, data)."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=DEADLINE_S)
        async with self.session.get(f"{self.url}/api/stream", params={"user": user}, timeout=timeout) as answer:
            assert answer.content_type == "text/event-stream"
            name = ""
            async for line in answer.content:
                if line.startswith(b"event: "):
                    name = line[7:-1].decode()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:])


@asynccontextmanager
async def serving(beside: Console, limits: ConsoleLimits) -> AsyncIterator[Console]:
    """Another server on the same topics, with limits of its own."""
    settings = Settings(kafka=Kafka(bootstrap_servers=beside.address))
    server = ConsoleServer(settings, simulated=True, limits=limits)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Console(beside.address, port, beside.session)
    finally:
        await server.stop()


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    simulator = await asyncio.to_thread(Simulator)
    await asyncio.to_thread(simulator.create_topics, [*INPUTS, CATALOG, RECOMMENDATIONS])
    settings = Settings(kafka=Kafka(bootstrap_servers=simulator.address))
    server = ConsoleServer(settings, simulated=True)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        made = Console(simulator.address, port, session)
        made.put(CATALOG, "tea", item("tea", "Food", "Tea", title="Sencha"))
        made.put(CATALOG, "pot", item("pot", "Kitchen", "Pots", title="Pot"))
        await made.until(2)
        yield made
        await server.stop()


async def test_the_catalog_is_followed_and_broken_records_are_left_out(console: Console) -> None:
    console.put(CATALOG, "other key", item("cup", "Kitchen"))
    console.put(CATALOG, "broken", {"item_id": 5})
    console.put(CATALOG, "pot", None)
    found = await console.until(1)
    assert [product["item_id"] for product in found["products"]] == ["tea"]


@pytest.mark.parametrize(
    ("kind", "topic", "extra"),
    [
        ("click", "clicks", {"list": "recommendations", "position": 3, "recommendation_id": "r1"}),
        ("browse", "browses", {}),
        ("purchase", "purchases", {}),
    ],
)
async def test_what_is_done_on_the_page_is_an_event_on_its_topic(
    console: Console, kind: str, topic: str, extra: dict[str, Any]
) -> None:
    before_ms = time.time_ns() // 1_000_000
    assert await console.act(type=kind, **extra) == (204, "")
    [event] = console.events(topic)
    assert event | extra == event
    assert (event["event_id"], event["user_id"], event["item_id"]) == ("e1", "ann", "tea")
    assert before_ms <= event["event_time_ms"] <= time.time_ns() // 1_000_000
    if kind == "purchase":
        assert (event["price"], event["currency"], event["quantity"]) == (5.0, "EUR", 1)


async def test_what_is_no_event_is_refused_with_a_sentence(console: Console) -> None:
    for changed, status, said in (
        ({"item_id": "none such"}, 404, "does not have this item"),
        ({"user_id": ""}, 400, "`user_id`"),
        ({"user_id": "x" * 300}, 400, "`user_id`"),
        ({"type": "steal"}, 400, "`type`"),
        ({"event_id": None}, 400, "`event_id`"),
        ({"event_time_ms": 5}, 400, "event_time_ms"),
        ({"position": -1}, 400, "`position`"),
    ):
        found, sentence = await console.act(**changed)
        assert found == status, changed
        assert said in sentence
    assert console.events("clicks") == []


async def test_another_site_cannot_shop_here(console: Console) -> None:
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ):
        assert (await console.act(headers))[0] == status, headers
    assert console.events("clicks") == []


async def test_a_body_beyond_measure_is_refused(console: Console) -> None:
    async with console.session.post(f"{console.url}/api/events", json={"type": "x" * 100_000}) as answer:
        assert answer.status == 413


async def test_the_stream_tells_of_new_lists_and_of_forgetting(console: Console) -> None:
    stream = console.listen("ann")

    async def next_list() -> Any:
        async for name, view in stream:
            if name == "list":
                return view
        raise AssertionError("the stream ended")

    assert (await next_list())["recommendation_id"] is None
    console.put(RECOMMENDATIONS, "bob", recommendation("bob", [listed("pot")]))
    console.put(RECOMMENDATIONS, "ann", recommendation("ann", [listed("pot", [("tea", 0.5)])]))
    view = await next_list()
    assert [one["product"]["title"] for one in view["items"]] == ["Pot"]
    assert view["items"][0]["because"] == "because you clicked Sencha"
    assert view["taste"][0] == {"department": "Food", "category": "Tea", "lately": 1.0, "all_along": 1.0}
    assert view["worker_ms"] == 7
    await console.act(event_id="own", item_id="pot")
    assert (await next_list())["events"] == 2
    console.put(RECOMMENDATIONS, "ann", None)
    view = await next_list()
    assert (view["items"], view["taste"], view["events"]) == ([], [], 0)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_page_that_stands_still_keeps_its_list_while_many_are_heard_of(console: Console) -> None:
    """Regression: it was empty as soon as a thousand others had acted."""
    async with serving(console, ConsoleLimits(tick_s=0.05, shoppers=2)) as busy:
        stream = busy.listen("ann")

        async def until_known(user: str) -> None:
            busy.put(RECOMMENDATIONS, user, recommendation(user, [listed("pot")]))
            async for name, view in stream:
                assert name != "list" or view["items"] or not known, "the list has gone"
                if name == "shop" and user in view["shoppers"]:
                    return

        known: list[str] = []
        for user in ("ann", "u1", "u2", "u3", "u4"):
            await until_known(user)
            known.append(user)
        await stream.aclose()  # type: ignore[attr-defined]


async def test_streams_are_bounded_and_one_that_ends_makes_room(console: Console) -> None:
    async with serving(console, ConsoleLimits(streams=1, alive_s=0.0, tick_s=0.05)) as small:

        async def status() -> int:
            async with small.session.get(f"{small.url}/api/stream?user=bob") as answer:
                return answer.status

        stream = small.listen("ann")
        await anext(stream)
        assert await status() == 503
        await stream.aclose()  # type: ignore[attr-defined]
        deadline = time.monotonic() + DEADLINE_S
        while await status() == 503:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_the_stream_shows_others_beside(console: Console) -> None:
    console.put(RECOMMENDATIONS, "bob", recommendation("bob", [listed("pot")]))
    stream = console.listen("ann")
    async for name, view in stream:
        if name == "others" and view:
            assert [(other["user_id"], other["did"]) for other in view] == [("bob", "clicked Sencha")]
            break
    await stream.aclose()  # type: ignore[attr-defined]


async def test_what_is_asked_for_has_bounds(console: Console) -> None:
    for path, query in (
        ("stream", {}),
        ("stream", {"user": ""}),
        ("stream", {"user": "x" * 300}),
        ("products", {"limit": "-1"}),
        ("products", {"limit": "1000"}),
        ("products", {"offset": "x"}),
        ("products", {"offset": "9" * 30}),
        ("products", {"words": "x " * 41}),
    ):
        async with console.session.get(f"{console.url}/api/{path}", params=query) as answer:
            assert answer.status == 400, query
            assert (await answer.json())["error"]


async def test_every_answer_forbids_foreign_code(console: Console) -> None:
    for path in ("/", "/static/app.js", "/api/shop", "/api/stream?user=ann", "/nowhere"):
        async with console.session.get(console.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_every_file_of_the_page_is_served_and_nothing_else(console: Console) -> None:
    for path in STATIC.iterdir():
        name = "/" if path.name == "index.html" else f"/static/{path.name}"
        async with console.session.get(console.url + name) as answer:
            assert (answer.status, await answer.read()) == (200, path.read_bytes())
    async with console.session.get(f"{console.url}/static/../server.py") as answer:
        assert answer.status == 404


async def test_stopping_ends_open_streams(console: Console) -> None:
    settings = Settings(kafka=Kafka(bootstrap_servers=console.address))
    server = ConsoleServer(settings, simulated=True)
    port = await server.start("127.0.0.1", 0)
    async with console.session.get(f"http://127.0.0.1:{port}/api/stream?user=ann") as answer:
        await answer.content.readline()
        await asyncio.wait_for(server.stop(), 10)
        await asyncio.wait_for(answer.content.read(), 10)


def test_the_page_asks_nobody_else_and_makes_no_markup_of_data() -> None:
    for path in STATIC.iterdir():
        text = path.read_text("utf-8")
        foreign = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not foreign, f"{path.name} names {foreign}"
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
            assert danger not in text, f"{path.name} has {danger}"
    page = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)


def test_the_console_knows_topics_only() -> None:
    sources = [path.read_text("utf-8") for path in STATIC.parent.glob("*.py")]
    for name in (
        "streams.stores",
        "streams.worker.worker",
        "streams.worker.wiring",
        "streams.state.profile_table",
        "encoders",
        "streams.demo",
    ):
        assert not any(f"import {name}" in text or f"from {name}" in text for text in sources), name
