"""What is changed in aiokafka: fetches wait for more records, and records hold what aiokafka's own hold."""

import asyncio
import hashlib
import inspect
import time
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import consumer, fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from streams.fetch.aiokafka_patches import REPLACED, SOURCE_DIGEST, TESTED_VERSIONS, patch_consumers
from streams.fetch.record_batch import Record

A = TopicPartition("clicks", 3)
SLACK_S = 0.005  # a timer may come a little early


class Broker:
    """What aiokafka's own fetcher would do: hand over what lies there, and send fetches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent_s: list[float] = []
        self.brought: dict[TopicPartition, list[Any]] = {}
        monkeypatch.setattr(fetcher.Fetcher, "fetched_records", self.fetched_records)
        monkeypatch.setattr(fetcher.Fetcher, "_proc_fetch_request", self.send)
        self.state: Any = SimpleNamespace(highwater=0, lso=None)
        self.fetcher = consumer.Fetcher.__new__(consumer.Fetcher)
        self.fetcher._subscriptions = SimpleNamespace(
            subscription=SimpleNamespace(assignment=SimpleNamespace(state_value=lambda tp: self.state))
        )

    async def fetched_records(self, *_: Any) -> dict[TopicPartition, list[Any]]:
        return self.brought

    async def send(self, *_: Any) -> bool:
        self.sent_s.append(time.monotonic())
        return True

    def take_and_fetch(self, *offsets: int, end: int) -> tuple[float, float]:
        """Seconds that taking the records took, and until the next fetch was sent after that."""

        async def both() -> tuple[float, float]:
            start = time.monotonic()
            assert await self.fetcher.fetched_records([A]) is self.brought
            taken = time.monotonic()
            assert await self.fetcher._proc_fetch_request(None, 1, None) is True
            return taken - start, self.sent_s[-1] - taken

        self.brought = {A: [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {}
        if self.state is not None:
            self.state.highwater = end
        return asyncio.run(both())


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(consumer, "Fetcher", consumer.Fetcher)  # to be put back
    monkeypatch.setattr(consumer, "GroupCoordinator", consumer.GroupCoordinator)
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    patch_consumers(pause_a_record_s=0.1, longest_pause_s=0.2)
    return Broker(monkeypatch)


@pytest.mark.parametrize(("offsets", "pause_s"), [((0,), 0.1), ((0, 1, 2), 0.2)])
def test_the_next_fetch_waits_and_the_records_do_not(broker: Broker, offsets: tuple[int, ...], pause_s: float) -> None:
    took_s, until_fetch_s = broker.take_and_fetch(*offsets, end=len(offsets))
    assert took_s < 0.1 - SLACK_S
    assert until_fetch_s >= pause_s - SLACK_S


def test_after_nothing_the_next_fetch_waits_at_the_broker(broker: Broker) -> None:
    assert broker.take_and_fetch(end=0)[1] < 0.1 - SLACK_S


def test_nothing_waits_while_there_is_a_backlog(broker: Broker) -> None:
    assert broker.take_and_fetch(0, 1, 2, end=4)[1] < 0.1 - SLACK_S


def test_records_of_an_open_transaction_are_no_backlog(broker: Broker) -> None:
    broker.state.lso = 1
    assert broker.take_and_fetch(0, end=9)[1] >= 0.1 - SLACK_S


def test_a_partition_that_has_just_been_revoked_is_no_backlog(broker: Broker) -> None:
    broker.state = None
    assert broker.take_and_fetch(0, 1, end=9)[1] >= 0.2 - SLACK_S


def test_a_fetch_that_waits_ends_as_aiokafkas_own_with_its_assignment(broker: Broker) -> None:
    async def cancelled() -> Any:
        broker.brought = {A: [SimpleNamespace(offset=0)]}
        await broker.fetcher.fetched_records([A])
        waiting = asyncio.create_task(broker.fetcher._proc_fetch_request(None, 1, None))
        await asyncio.sleep(0)
        waiting.cancel()
        return await waiting

    assert asyncio.run(cancelled()) is False
    assert not broker.sent_s


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
    monkeypatch.setattr(consumer, "Fetcher", consumer.Fetcher)
    monkeypatch.setattr(consumer, "GroupCoordinator", consumer.GroupCoordinator)
    patch_consumers()
    assert fetcher.PartitionRecords is not own
    arguments = (None, 1, None, None, True, fetcher.READ_UNCOMMITTED)
    return tuple(list(kind(A, MemoryRecords(raw), *arguments)) for kind in (own, fetcher.PartitionRecords))  # type: ignore[return-value]


def test_light_records_are_aiokafkas_field_by_field(records: tuple[list[Any], list[Any]]) -> None:
    own, light = records
    assert [record.offset for record in light] == [1, 2, 7]  # what lies before the wanted offset is left out
    assert all(type(record) is Record for record in light)
    for field in Record.__struct_fields__:
        assert [getattr(record, field) for record in light] == [getattr(record, field) for record in own]


def test_the_source_of_aiokafka_is_the_one_that_the_patches_were_made_for() -> None:
    """Were it not so, records or pauses could be lost in silence: read what changed, then renew the digest."""
    sources = "".join(map(inspect.getsource, REPLACED))
    assert aiokafka.__version__ in TESTED_VERSIONS
    assert hashlib.sha256(sources.encode()).hexdigest() == SOURCE_DIGEST
    assert " = Fetcher(" in sources
    assert " = GroupCoordinator(" in sources
    assert " = PartitionRecords(" in inspect.getsource(fetcher.Fetcher)
