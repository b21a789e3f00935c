"""Light records hold what aiokafka's own hold."""

import inspect
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from streams.fetch.aiokafka_records import Record, read_light_records

TP = TopicPartition("clicks", 3)
SENT = [
    (0, 1_500, b"anna", b"{}", []),
    (1, 1_600, None, b"\xff\x00", [("content-type", b"application/json"), ("x", None)]),
    (2, -1, b"", None, []),
    (7, 1_400, b"k", b"v" * 300, [("x", b"")]),
]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """The same bytes, read by aiokafka's own class and by ours."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for offset, time_ms, key, value, headers in SENT:
        assert builder.append(offset, time_ms, key, value, headers)
    raw = bytes(builder.build())
    own = fetcher.PartitionRecords
    monkeypatch.setattr(fetcher, "PartitionRecords", own)  # to be put back
    read_light_records()
    assert fetcher.PartitionRecords is not own
    arguments = (None, 1, None, None, True, fetcher.READ_UNCOMMITTED)
    return tuple(list(kind(TP, MemoryRecords(raw), *arguments)) for kind in (own, fetcher.PartitionRecords))  # type: ignore[return-value]


def test_light_records_are_aiokafkas_field_by_field(records: tuple[list[Any], list[Any]]) -> None:
    own, light = records
    assert [record.offset for record in light] == [1, 2, 7]  # what lies before the wanted offset is left out
    assert all(type(record) is Record for record in light)
    for field in Record.__struct_fields__:
        assert [getattr(record, field) for record in light] == [getattr(record, field) for record in own]


def test_aiokafka_still_makes_records_of_this_class_by_this_function() -> None:
    """Were it not so, its own would come again: as good, at twice the cost of reading."""
    assert " = PartitionRecords(" in inspect.getsource(fetcher.Fetcher)
    assert "self._consumer_record(tp, record)" in inspect.getsource(fetcher.PartitionRecords)
