"""What lists cost by `output.reasons` and `output.compression`: bytes, and CPU of the whole process, per list."""

import time
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np

from deploy.local.stack import Stack
from schemas.recommendation import ListReasons
from streams.emit.list_json import ListEncoder, reason_codes
from streams.emit.producer import Emitter
from streams.kafka.topics import TopicNames
from streams.settings import Compression
from tests.bench.hot_path import HotPath
from tests.bench.shop import BenchShop

_USERS = 1_000


def output_costs(stack: Stack, folder: Path, items: int, rounds: int) -> dict[str, Any]:
    """Lists of 20 items for 1,000 users; the settings take turns, so that other work slows all of them."""
    path = HotPath(folder / "output", items, _USERS, past=20)
    ranked = path.rank(path.slots)
    codes = reason_codes(ranked)
    rows, types = path.table.rows[path.slots], path.table.types[path.slots]
    encoders = {kind: ListEncoder(path.space.index, kind) for kind in get_args(ListReasons)}
    lists: dict[str, list[bytes]] = {}
    encode_us: dict[str, list[float]] = {kind: [] for kind in encoders}
    for _ in range(rounds):
        for kind, encoder in encoders.items():
            start = time.process_time()
            lists[kind] = encoder.encode(rows, types, ranked, codes)
            encode_us[kind].append((time.process_time() - start) / _USERS * 1e6)
    return {
        "bytes": {kind: round(float(np.mean([len(value) for value in values]))) for kind, values in lists.items()},
        "encode_us": {kind: round(median(samples), 2) for kind, samples in encode_us.items()},
        "produce_us": _produce_us(stack, folder, items, lists["full"], rounds),
    }


def _produce_us(stack: Stack, folder: Path, items: int, lists: list[bytes], rounds: int) -> dict[str, float]:
    """CPU of producing the lists until Kafka has them, librdkafka's threads included."""
    shop = BenchShop(stack, folder, items)
    names = TopicNames(shop.namespace)
    emitters = {kind: Emitter.connect(shop.settings.kafka, names, kind) for kind in get_args(Compression)}
    messages = [(f"user-{number}", value) for number, value in enumerate(lists)]
    samples: dict[str, list[float]] = {kind: [] for kind in emitters}
    try:
        for number in range(rounds + 1):
            for kind, emitter in emitters.items():
                start = time.process_time()
                emitter.recommend_all(messages)
                emitter.swap().wait(60)
                if number:  # the first round connects
                    samples[kind].append((time.process_time() - start) / len(messages) * 1e6)
    finally:
        for emitter in emitters.values():
            emitter.close()
    return {kind: round(median(values), 2) for kind, values in samples.items()}
