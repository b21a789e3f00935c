"""Which partition a user's events belong to: the hashes of the two families of Kafka producers."""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled

Partitioner = Literal["murmur2", "crc32"]


def partitions_of(user_ids: Sequence[str], count: int, partitioner: Partitioner) -> NDArray[np.int32]:
    """The partition of each user among ``count``.

    ``murmur2`` is the default of the Java clients (and ``murmur2_random`` of librdkafka), ``crc32`` the default of
    librdkafka (``consistent_random``).

    Examples
    --------
    >>> partitions_of(["u1", "u2"], 4, "murmur2").dtype
    dtype('int32')
    """
    keys = [user.encode() for user in user_ids]
    if partitioner == "crc32":
        hashes = np.fromiter((zlib.crc32(key) for key in keys), np.int64, len(keys))
    else:
        hashes = (murmur2(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64)
    return (hashes % count).astype(np.int32)


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """MurmurHash2 as in org.apache.kafka.common.utils.Utils, all keys at once.

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
    """Fill ``hashes`` (n,) with those of keys of so many bytes, one behind the other."""
    m = np.uint32(0x5BD1E995)
    at = 0
    for key in range(len(lengths)):
        end = at + lengths[key]
        h = np.uint32(np.uint32(0x9747B28C) ^ np.uint32(lengths[key]))
        while at + 4 <= end:
            k = np.uint32(0)
            for place in range(4):
                k |= np.uint32(data[at + place]) << np.uint32(8 * place)
            k = np.uint32(k * m)
            k ^= k >> np.uint32(24)
            h = np.uint32(np.uint32(h * m) ^ np.uint32(k * m))
            at += 4
        if at < end:
            for place in range(end - at):
                h ^= np.uint32(data[at + place]) << np.uint32(8 * place)
            h = np.uint32(h * m)
            at = end
        h ^= h >> np.uint32(13)
        h = np.uint32(h * m)
        h ^= h >> np.uint32(15)
        hashes[key] = h
