"""Says in this process what becomes of a record, by the product's own readers; alone, and among others."""

from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from schemas.catalog import CatalogItem, Offer
from schemas.codec import decode_input
from schemas.errors import DecodeError
from schemas.headers import content_type
from schemas.record_keys import id_of_key
from streams.catalog.catalog_record import check_key
from streams.decode.decoder import Decoder
from streams.fetch.record_batch import RecordBatch
from streams.kafka.topics import TopicNames

Verdict = tuple[str, ...]
"""``dead`` and the reason; ``mended`` and the faults; ``rerouted``; or ``applied``."""
PARTITIONS = 4


def record(topic: str, partition: int, offset: int, sent: Any, time_ms: int) -> Any:
    """A record as a worker's consumer hands it over."""
    return SimpleNamespace(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=time_ms,
        timestamp_type=0,
        key=sent.key,
        value=sent.value,
        headers=sent.headers,
    )


class Judge:
    """Judges the records of a namespace."""

    def __init__(self, names: TopicNames, max_future_s: float = 300.0) -> None:
        self._names = names
        self._decoder = Decoder(names, lambda topic: f"id-of-{topic}", "murmur2", max_future_s)

    def judge(self, records: Sequence[Any]) -> list[Verdict]:
        """Judge records of one topic and partition, all at once."""
        topic = self._names.short(records[0].topic)
        if topic in ("catalog", "offers"):
            return [_of_item(CatalogItem if topic == "catalog" else Offer, one) for one in records]
        batch = RecordBatch(TP(records[0].topic, records[0].partition), list(records), received_ms=0)
        decoded = self._decoder.decode([batch], PARTITIONS)
        faults: defaultdict[int, list[str]] = defaultdict(list)
        for fault in decoded.faults:
            faults[id(fault.record)].append(f"{fault.error.field}: {fault.error.reason}")
        verdicts: dict[int, Verdict] = {id(one): ("applied",) for one in records}
        verdicts |= {owner: ("mended", *found) for owner, found in faults.items()}
        verdicts |= {id(one.record): ("rerouted",) for one in decoded.misplaced}
        verdicts |= {id(one.record): ("dead", one.letter.reason) for one in decoded.refused}
        return [verdicts[id(one)] for one in records]


def _of_item(kind: type[Any], one: Any) -> Verdict:
    try:
        if one.value is None and one.key:
            id_of_key(one.key, "item_id")
            return ("applied",)
        message, faults = decode_input(kind, one.value, content_type(one.headers))
        check_key(one.key, message.item_id)
    except DecodeError as error:
        return ("dead", str(error.reason))
    return ("mended", *(f"{fault.field}: {fault.reason}" for fault in faults)) if faults else ("applied",)
