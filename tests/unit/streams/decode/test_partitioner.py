"""Partitions of keys, against the clients whose producers choose them."""

import zlib

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import example, given
from hypothesis import strategies as st

from streams.decode.partitioner import murmur2, partitions_of
from tests.strategies import ids


@given(st.lists(st.binary(max_size=40) | st.binary(min_size=200, max_size=300), max_size=12))
@example([b"", b"\0", b"\xff\xff\xff\xff", b"abc", b"abcd", b"abcde"])
def test_murmur2_of_any_bytes_is_the_java_clients(keys: list[bytes]) -> None:
    assert murmur2(keys).tolist() == [aiokafka_murmur2(key) & 0xFFFFFFFF for key in keys]


@given(st.lists(ids, max_size=8), st.integers(1, 300))
def test_partitions_are_those_of_each_kind_of_client(users: list[str], count: int) -> None:
    java = [(aiokafka_murmur2(user.encode()) & 0x7FFFFFFF) % count for user in users]
    assert partitions_of(users, count, "murmur2").tolist() == java
    assert partitions_of(users, count, "crc32").tolist() == [zlib.crc32(user.encode()) % count for user in users]


@pytest.mark.parametrize(("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"abc", 479470107)])
def test_murmur2_gives_what_kafkas_own_tests_expect(key: bytes, hashed: int) -> None:
    assert int(murmur2([key])[0]) == hashed & 0xFFFFFFFF
