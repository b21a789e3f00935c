"""Which partition a user's events belong to: the hashes of the two families of Kafka producers."""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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

    Keys are laid out as rows of 32-bit little-endian words; step by step every key that is long enough mixes in its
    next word, then its last one to three bytes.

    Examples
    --------
    >>> [hex(h) for h in murmur2([b"21", b"foobar"]).tolist()]
    ['0xc5f2f8ec', '0xd0e47bbe']
    """
    if not keys:
        return np.empty(0, np.uint32)
    m = np.uint32(0x5BD1E995)
    lengths = np.fromiter((len(key) for key in keys), np.int64, len(keys))
    width = int(lengths.max() + 3) // 4 * 4 + 4  # room for a whole word after the last one
    padded = np.frombuffer(b"".join(key.ljust(width, b"\0") for key in keys), np.uint8).reshape(len(keys), width)
    words = padded.view("<u4")
    h = np.uint32(0x9747B28C) ^ lengths.astype(np.uint32)
    full = lengths // 4
    with np.errstate(over="ignore"):
        for column in range(int(full.max())):
            k = words[:, column] * m
            k ^= k >> np.uint32(24)
            h = np.where(column < full, (h * m) ^ (k * m), h)
        rest = words[np.arange(len(keys)), full]  # zero padding leaves just the last one to three bytes
        h = np.where(lengths % 4 > 0, (h ^ rest) * m, h)
        h ^= h >> np.uint32(13)
        h *= m
        h ^= h >> np.uint32(15)
    return h.astype(np.uint32)
