"""Which encoder version serves: what the topic says, what is encoded, and what a worker starts with."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from encoders.artifact.registry import EncoderRegistry
from encoders.building import lookup
from schemas.codec import encode
from schemas.encoder_state import EncoderState
from streams.catalog.catalog_progress import CatalogOffsets
from streams.versions.activations import Activations
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.initial_version import choose


def state(version: str, since_ms: int | None = None, ends: tuple[int, ...] = ()) -> EncoderState:
    return EncoderState(
        version=version,
        name="trained",
        dimension=2,
        active_since_ms=since_ms,
        half_lives_s=[5.0],
        catalog_ends=list(ends),
    )


def record(key: str, value: bytes | None) -> Any:
    return SimpleNamespace(key=lambda: key.encode(), value=lambda: value)


def versions(*states: EncoderState) -> Activations:
    known = Activations()
    known.see([record(one.version, encode(one)) for one in states])
    return known


def test_the_one_activated_last_is_active() -> None:
    known = versions(state("v1", 5), state("v2", 9), state("v3"), state("v4", 7))
    assert known.active == state("v2", 9)
    assert [one.version for one in known.activated] == ["v2", "v4", "v1"]
    assert versions(state("v3")).active is None


def test_two_activated_at_once_are_told_apart_the_same_everywhere() -> None:
    first, second = state("v1", 5), state("v2", 5)
    assert versions(first, second).active == versions(second, first).active == second


def test_a_removed_version_is_gone_and_a_broken_record_changes_nothing() -> None:
    known = versions(state("v1", 5), state("v2", 9))
    known.see([record("v1", b"{"), record("v2", None)])
    assert [one.version for one in known.activated] == ["v1"]


def test_reading_the_topic_again_brings_nothing_back() -> None:
    known = versions(state("v1", 5), state("v2", 9), state("v1", 12))
    known.see([record("v1", encode(state("v1", 5)))])
    assert known.active == state("v1", 12)


class FakeConsumer:
    """Answers for a group and a log of three partitions."""

    def __init__(self, committed: dict[int, int], ends: list[int]) -> None:
        self._committed, self._ends = committed, ends

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=range(len(self._ends)))})

    def get_watermark_offsets(self, part: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, self._ends[part.partition]

    def committed(self, parts: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [
            TopicPartition(part.topic, part.partition, self._committed.get(part.partition, -1001)) for part in parts
        ]


@pytest.mark.parametrize(
    ("committed", "ends", "wanted", "covered"),
    [
        ({0: 5, 1: 7, 2: 3}, [5, 7, 3], [5, 7, 3], True),
        ({0: 5, 1: 7, 2: 3}, [50, 70, 30], [5, 7, 3], True),  # what came after the activation may be under way
        ({0: 5, 1: 6, 2: 3}, [5, 7, 3], [5, 7, 3], False),
        ({0: 5, 1: 7}, [5, 7, 3], [5, 7, 3], False),
        ({0: 5}, [5, 0, 0], [5, 0, 0], True),  # nothing was ever in the others
        ({0: 2, 1: 7, 2: 3}, [2, 7, 3], [5, 7, 3], True),  # the catalog was made again and ends earlier
        ({0: 5, 1: 7, 2: 3}, [5, 7, 3, 4], [5, 7, 3], True),  # a partition that came later
        ({}, [5, 7, 3], [], False),
        ({1: 4}, [5, 7, 3], [], True),
        ({}, [0, 0, 0], [], True),  # there is nothing to encode
    ],
)
def test_a_version_is_filled_once_the_catalog_of_its_activation_is_encoded(
    committed: dict[int, int], ends: list[int], wanted: list[int], covered: bool
) -> None:
    progress = CatalogOffsets(FakeConsumer(committed, ends), "catalog")  # type: ignore[arg-type]
    assert progress.covers(wanted) is covered


class Fills:
    """Says which versions are filled."""

    def __init__(self, *filled: str) -> None:
        self._filled = filled

    async def covers(self, version: str, ends: list[int], patience_s: float = 0.0) -> bool:
        return version in self._filled


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> EncoderRegistry:
    folder = tmp_path_factory.mktemp("shelf")
    for version in ("v2", "v3"):
        lookup.build(folder / version, ["a"], [[1.0, 0.0]], version)
    return EncoderRegistry(lookup.build(folder.parent / "first", ["a"], [[1.0, 0.0]], "v1"), Path(folder))


@pytest.mark.parametrize(
    ("known", "filled", "chosen"),
    [
        ((), (), "v1"),
        ((state("v1", 1), state("v2", 2)), ("v1", "v2"), "v2"),
        ((state("v1", 1), state("v2", 2)), ("v1",), "v1"),  # the new one fills while the former serves
        ((state("v1", 1), state("v2", 2), state("v3", 3)), ("v1", "v2"), "v2"),
        ((state("v1", 1), state("gone", 2)), ("v1", "gone"), "v1"),  # no folder: serve what there is
        ((state("v1", 1), state("v2", 2)), (), "v2"),  # nothing is filled anywhere: no need to begin with the old one
        ((state("v2", 2),), (), "v2"),
        ((state("gone", 2),), (), "v1"),
    ],
)
def test_a_worker_starts_with_the_last_version_that_is_filled_and_has_a_folder(
    shelf: EncoderRegistry, known: tuple[EncoderState, ...], filled: tuple[str, ...], chosen: str
) -> None:
    found = asyncio.run(choose(EncoderCatalogue(shelf, versions(*known), Fills(*filled)), 1.0))  # type: ignore[arg-type]
    assert found.manifest.version == chosen
