"""Broken records of the load: what its oracle calls broken, no worker reads."""

import random
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.decode.decoder import Decoded, Decoder
from streams.fetch.record_batch import RecordBatch
from streams.kafka.topics import TopicNames
from tests.faults.content import Content, Mix, Record, Sent, broken, event_record, odd

NOW_MS = 1_760_000_000_000
DECODER = Decoder(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2", max_future_s=300)


def decode(made: Record, offset: int) -> Decoded:
    record: Any = SimpleNamespace(
        topic=made.topic,
        partition=0,
        offset=offset,
        timestamp=NOW_MS,
        timestamp_type=0,
        key=made.key.encode(),
        value=made.value,
        headers=made.headers,
    )
    return DECODER.decode([RecordBatch(TP(made.topic, 0), [record], received_ms=NOW_MS)], 1)


def test_an_odd_record_is_the_event_that_it_was() -> None:
    rng = random.Random(2)
    for number in range(2_000):
        sent = Sent(f"e{number}", "ann", "item-1", rng.choice(["click", "browse", "purchase"]), NOW_MS + number)
        made = odd(rng, event_record(sent))
        decoded = decode(made, number)
        assert (decoded.refused, decoded.misplaced) == ([], []), made
        events = decoded.events
        assert events is not None
        found = events.event_ids, events.user_ids, events.item_ids, events.times.tolist()
        assert found == ([sent.event_id], ["ann"], ["item-1"], [sent.time_ms]), made


def test_every_broken_record_is_a_dead_letter() -> None:
    rng = random.Random(1)
    for number in range(5_000):
        made = broken(rng, NOW_MS, f"b{number}", Mix().topics)
        assert len(decode(made, number).refused) == 1, made


def test_refunds_are_of_purchases_before_and_after_them() -> None:
    content = Content(1, Mix(users=50, broken=0.0, repeats=0.0), partitions=4)
    records = [record.sent for number in range(3_000) for record in content.next(NOW_MS + number)]
    sent = [one for one in records if one is not None]
    bought: dict[tuple[str, str], int] = {}
    for place, one in enumerate(sent):
        if one.type == "purchase":
            bought |= {(line.user_id, line.item_id): place for line in one.lines()}
    refunds = [
        (bought.get((one.user_id, one.item_id)), place) for place, one in enumerate(sent) if one.type == "refund"
    ]
    before = sum(purchase is not None and place < purchase for purchase, place in refunds)
    after = sum(purchase is not None and place > purchase for purchase, place in refunds)
    assert min(before, after) > 10
    assert before + after > 0.9 * len(refunds)  # the purchases of the last ones are still to come


def test_beside_a_release_without_actions_there_are_none() -> None:
    content = Content(1, Mix(broken=0.5).as_before_identities(), partitions=4)
    topics = {record.topic for number in range(2_000) for record in content.next(NOW_MS + number)}
    assert topics == {"clicks", "browses", "purchases"}
