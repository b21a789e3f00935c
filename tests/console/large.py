"""The console beside a large catalog, on real Kafka: how soon it is there, how quick its pages are, what it keeps.

python -m tests.console.large
python -m tests.console.large --items 1000000 --stack FOLDER    # where `prefstream stack up` has a stack running
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import psutil

from deploy.local.stack import Stack, running, up
from schemas.catalog import CatalogItem
from schemas.codec import encode
from schemas.recommendation import Cause, Reason, Recommendation, RecommendedItem, Revision, Share
from streams.demo.shop import make_shop
from tests.console.served import Process
from tests.e2e.shop import ShopOnStack

DEPARTMENTS, CATEGORIES = 40, 400
ASKED = 30
"""Times that each page is asked for."""


def run(stack: Stack, folder: Path, items: int, lists: int) -> dict[str, Any]:
    """Fill the topics, start a console, ask it."""
    shop = ShopOnStack(stack, folder)
    kinds = make_shop(160, 1).items
    for number in range(items):
        kind = kinds[number % len(kinds)]
        item = CatalogItem(
            item_id=f"sku-{number:07d}",
            title=f"{kind.title} {number // len(kinds)}",
            description=kind.description,
            category=[f"Department {number % DEPARTMENTS}", f"Shelf {number % CATEGORIES}"],
            brand=kind.brand,
            price=kind.price,
            currency=kind.currency,
        )
        _produce(shop, "catalog", item.item_id, encode(item))
    assert shop.producer.flush(120) == 0
    start_s = time.monotonic()
    console = Process(folder, "--config", str(shop.config), "console", "--port", "0")
    try:
        url = console.said(r"(http://127\.0\.0\.1:\d+/)")
        answers_s = time.monotonic() - start_s
        meanwhile = []
        while True:
            took_ms, body = _get(url, "api/shop")
            meanwhile.append(took_ms)
            if json.loads(body)["products"] == items:
                break
            time.sleep(0.02)
        full_s = time.monotonic() - start_s
        memory = psutil.Process(console.process.pid).memory_info
        found = {
            "items": items,
            "answers_after_s": round(answers_s, 2),
            "all_items_after_s": round(full_s, 2),
            "slowest_answer_while_loading_ms": round(max(meanwhile), 1),
            "memory_mb": round(memory().rss / 1e6),
            "pages": {name: _ask(url, query) for name, query in PAGES.items()},
        }
        kept = []
        for part in range(3):
            for number in range(part * lists, (part + 1) * lists):
                user = f"shopper-{number}"
                _produce(shop, "recommendations", user, encode(_list(user, number, items)))
            assert shop.producer.flush(120) == 0
            _until_calm(url)
            kept.append(round(memory().rss / 1e6))
        return found | {"lists": lists, "memory_mb_after_lists_once_twice_thrice": kept}
    finally:
        console.stop()


PAGES = {
    "shop": None,
    "first": {},
    "department": {"department": "Department 7"},
    "category": {"department": "Department 7", "category": "Shelf 47", "offset": "24"},
    "a word": {"words": "kettle"},
    "two words": {"words": "kettle 3"},
    "a letter": {"words": "e"},
    "no such word": {"words": "xyzzy"},
}


def _until_calm(url: str) -> None:
    """Wait until a second has brought no other shopper."""
    before: list[str] = []
    while (shoppers := json.loads(_get(url, "api/shop")[1])["shoppers"]) != before or not shoppers:
        before = shoppers
        time.sleep(1.0)


def _ask(url: str, query: dict[str, str] | None) -> dict[str, float]:
    path = "api/shop" if query is None else f"api/products?{urlencode(query)}"
    found = [_get(url, path) for _ in range(ASKED)]
    times = np.array([took_ms for took_ms, _ in found])
    return {
        "median_ms": round(float(np.median(times)), 2),
        "slowest_ms": round(float(times.max()), 2),
        "bytes": len(found[0][1]),
    }


def _get(url: str, path: str) -> tuple[float, bytes]:
    start = time.perf_counter()
    with urllib.request.urlopen(url + path, timeout=60) as answer:
        body = answer.read()
    return 1000 * (time.perf_counter() - start), body


def _list(user: str, number: int, items: int) -> Recommendation:
    names = [f"sku-{(number * 31 + place) % items:07d}" for place in range(20)]
    shares = [Share(item_id=name, event_type="click", share=0.1) for name in names[:3]]
    return Recommendation(
        recommendation_id=f"r{number}",
        user_id=user,
        revision=Revision(term=1, sequence=number),
        items=[
            RecommendedItem(item_id=name, score=1.0, reason=Reason(kind="recent", exact=True, recents=shares))
            for name in names
        ],
        cause=Cause(event_id=f"e{number}", event_type="click", item_id=names[0], event_time_ms=1),
        encoder_version="v",
        event_time_ms=1,
        received_ms=1,
        emitted_ms=2,
    )


def _produce(shop: ShopOnStack, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            shop.producer.produce(shop.topic(topic), value, key)
            return
        except BufferError:
            shop.producer.poll(0.1)


def main() -> int:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.console.large", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--lists", type=int, default=20_000)
    parser.add_argument("--stack", type=Path, help="a folder where `prefstream stack up` has a stack running")
    given = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="prefstream-console-")))
        stack = up(given.stack, progress=say) if given.stack else ending.enter_context(running(folder / "stack"))
        print(json.dumps(run(stack, folder, given.items, given.lists), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
