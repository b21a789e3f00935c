"""Computes a user's partition, with the hash functions of Kafka's producers."""

import zlib
from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled
from streams.settings import Partitioner

PARTITIONERS: tuple[Partitioner, ...] = get_args(Partitioner)


def partitions_of(user_ids: Sequence[str], count: int, partitioner: Partitioner) -> NDArray[np.int32]:
    """Return the partition of each user, out of ``count`` partitions.

    ``murmur2`` is the default of the Java clients, of KafkaJS and of franz-go (and ``murmur2_random`` of librdkafka),
    ``crc32`` the default of librdkafka (``consistent_random``), ``fnv1a`` that of Sarama.

    Examples
    --------
    >>> partitions_of(["u1", "u2"], 4, "murmur2").dtype
    dtype('int32')
    """
    keys = [user.encode() for user in user_ids]
    if partitioner == "crc32":
        hashes = np.fromiter((zlib.crc32(key) for key in keys), np.int64, len(keys))
    elif partitioner == "fnv1a":
        # Sarama divides the hash as a signed number and drops the sign of the rest
        signed = np.fromiter((_fnv1a(key) for key in keys), np.uint32, len(keys)).view(np.int32)
        return np.abs(np.fmod(signed.astype(np.int64), count)).astype(np.int32)
    else:
        hashes = (murmur2(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64)
    return (hashes % count).astype(np.int32)


def _fnv1a(key: bytes) -> int:
    """Hash a key by 32-bit FNV-1a.

    >>> hex(_fnv1a(b"foobar"))
    '0xbf9cf968'
    """
    value = 0x811C9DC5
    for byte in key:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """Hash all keys at once by MurmurHash2, as org.apache.kafka.common.utils.Utils does.

    Examples
    --------
    >>> [hex(h) for h in murmur2([b"21", b"foobar"]).tolist()]
    ['0xc5f2f8ec', '0xd0e47bbe']
    """
    hashes = np.empty(len(keys), np.uint32)
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    _murmur2(np.frombuffer(b"".join(keys) or b"\0", np.uint8), lengths, hashes)
    return hashes


@compiled("void(Array(uint8, 1, 'C', readonly=True), int64[::1], uint32[::1])")
def _murmur2(data: NDArray[np.uint8], lengths: NDArray[np.int64], hashes: NDArray[np.uint32]) -> None:
    """Fill ``hashes`` (n,) with the hashes of the keys, which follow each other in ``data``; ``lengths`` in bytes."""
    m = np.uint32(0x5BD1E995)
    offset = 0
    for key in range(len(lengths)):
        end = offset + lengths[key]
        h = np.uint32(np.uint32(0x9747B28C) ^ np.uint32(lengths[key]))
        while offset + 4 <= end:
            k = np.uint32(0)
            for byte in range(4):
                k |= np.uint32(data[offset + byte]) << np.uint32(8 * byte)
            k = np.uint32(k * m)
            k ^= k >> np.uint32(24)
            h = np.uint32(np.uint32(h * m) ^ np.uint32(k * m))
            offset += 4
        if offset < end:
            for byte in range(end - offset):
                h ^= np.uint32(data[offset + byte]) << np.uint32(8 * byte)
            h = np.uint32(h * m)
            offset = end
        h ^= h >> np.uint32(13)
        h = np.uint32(h * m)
        h ^= h >> np.uint32(15)
        hashes[key] = h
