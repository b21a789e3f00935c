"""Actions as a producer writes them, and as the decoder hands them on."""

import json
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.decode.decoder import Decoder
from streams.decode.event_batch import ActionBatch
from streams.decode.partitioner import partitions_of
from streams.fetch.record_batch import RecordBatch
from streams.kafka.topics import TopicNames

DAY_MS = 86_400_000
NOW_MS = 1_760_000_000_000
WRITTEN_MS = NOW_MS + 1_000
_DECODER = Decoder(TopicNames(), lambda topic: f"id-of-{topic}", "murmur2")


def action(kind: str, event_id: str, time_ms: int = NOW_MS, user: str = "anna", **more: Any) -> dict[str, Any]:
    return {"action": kind, "event_id": event_id, "user_id": user, "event_time_ms": time_ms, **more}


def batch_of_actions(*actions: dict[str, Any], offset: int = 0, written_ms: int | None = WRITTEN_MS) -> ActionBatch:
    """The actions of one user as a batch, at consecutive offsets."""
    [partition] = partitions_of([actions[0]["user_id"]], 4, "murmur2").tolist()
    records = [
        SimpleNamespace(
            topic="actions",
            partition=partition,
            offset=offset + number,
            timestamp=written_ms,
            key=b"k",
            value=json.dumps(value).encode(),
            headers=(),
        )
        for number, value in enumerate(actions)
    ]
    decoded = _DECODER.decode([RecordBatch(TP("actions", partition), records, NOW_MS)], 4)  # type: ignore[arg-type]
    assert not decoded.refused, decoded.refused
    assert decoded.actions is not None
    return decoded.actions
