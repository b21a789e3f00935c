"""Broken records of the load: what its oracle calls broken, no worker reads."""

import random
from types import SimpleNamespace

from faust.types import TP

from streams.decode.decoder import Decoder
from streams.fetch.record_batch import RecordBatch
from streams.kafka.topics import TopicNames
from tests.faults.content import broken

NOW_MS = 1_760_000_000_000


def test_every_broken_record_is_a_dead_letter() -> None:
    rng = random.Random(1)
    decoder = Decoder(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2", max_future_s=300)
    for number in range(5_000):
        sent = broken(rng, NOW_MS, f"b{number}")
        record = SimpleNamespace(
            topic=sent.topic,
            partition=0,
            offset=number,
            timestamp=NOW_MS,
            timestamp_type=0,
            key=sent.key.encode(),
            value=sent.value,
            headers=sent.headers,
        )
        decoded = decoder.decode([RecordBatch(TP(sent.topic, 0), [record], received_ms=NOW_MS)], 1)
        assert len(decoded.refused) == 1, sent
