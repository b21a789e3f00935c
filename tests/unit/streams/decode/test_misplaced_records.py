"""Why records came on another partition than their user's: told once, with what to set."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streams.decode.misplaced_records import MisplacedRecords
from streams.decode.partitioner import partitions_of
from streams.settings import Partitioner

PARTITIONS = 4
USERS = [f"u{number}" for number in range(80)]


def misplaced(partitioner: Partitioner, key: Any = str.encode, canonical: Partitioner = "murmur2") -> list[Any]:
    """Records that a producer with this partitioner and these keys puts on another partition than the users'."""
    keys = [key(user) for user in USERS]
    found = partitions_of([(one or b"").decode("latin-1") for one in keys], PARTITIONS, partitioner)
    right = partitions_of(USERS, PARTITIONS, canonical)
    return [
        SimpleNamespace(record=SimpleNamespace(key=keys[index], partition=int(found[index])), user_id=USERS[index])
        for index in np.flatnonzero(found != right).tolist()
    ]


@pytest.mark.parametrize("used", ["crc32", "fnv1a"])
def test_another_hash_function_is_told_once_by_its_name(used: Partitioner) -> None:
    records, records_of = misplaced(used), MisplacedRecords("murmur2", {})
    causes, sentences = records_of.note("shop.clicks", records, PARTITIONS)
    assert causes == {"partitioner": len(records)}
    assert [f"by {used}," in sentence for sentence in sentences] == [True]
    assert records_of.note("shop.clicks", records, PARTITIONS)[1] == []
    assert len(records_of.note("shop.browses", records, PARTITIONS)[1]) == 1


def test_the_setting_may_be_the_other_way_round() -> None:
    [sentence] = MisplacedRecords("crc32", {}).note("clicks", misplaced("murmur2", canonical="crc32"), PARTITIONS)[1]
    assert "by murmur2," in sentence
    assert '`clicks = "murmur2"`' in sentence


def test_an_expected_hash_function_is_not_told() -> None:
    records_of = MisplacedRecords("murmur2", {"clicks": "crc32"})
    assert records_of.note("clicks", misplaced("crc32"), PARTITIONS)[1] == []
    assert records_of.is_expected("clicks", "partitioner")
    assert not records_of.is_expected("clicks", "no-key")
    # but another one is
    assert len(records_of.note("clicks", misplaced("fnv1a") * 40, PARTITIONS)[1]) == 1


@pytest.mark.parametrize(
    ("key", "cause", "said"),
    [
        (lambda user: json.dumps(user).encode(), "form-of-key", "in quotes"),
        (lambda user: b"order-" + user.encode(), "other-key", "not their user's id"),
        (lambda _: None, "no-key", "no key"),
    ],
)
def test_a_wrong_key_is_told_and_no_hash_function_is_blamed(key: Any, cause: str, said: str) -> None:
    records = misplaced("murmur2", key)
    causes, [sentence] = MisplacedRecords("murmur2", {}).note("clicks", records, PARTITIONS)
    assert causes == {cause: len(records)}
    assert said in sentence


def test_a_few_records_are_counted_and_not_told() -> None:
    records = misplaced("crc32")[:9]
    causes, sentences = MisplacedRecords("murmur2", {}).note("clicks", records, PARTITIONS)
    assert (causes.total(), sentences) == (9, [])


def test_partitions_by_no_known_hash_function_are_told_as_such() -> None:
    records = [
        SimpleNamespace(record=SimpleNamespace(key=user.encode(), partition=wrong), user_id=user)
        for user, right in zip(USERS, partitions_of(USERS, 64, "murmur2").tolist(), strict=True)
        for wrong in [(right + 17) % 64]
    ]
    [sentence] = MisplacedRecords("murmur2", {}).note("clicks", records, 64)[1]
    assert "no known hash function" in sentence
