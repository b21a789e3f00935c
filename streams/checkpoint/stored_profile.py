"""A profile as stored bytes: a MessagePack map whose fields are only ever added, never renamed or removed.

Arrays are little-endian bytes, so a reader in any language takes them as they are. A row of an older prefstream lacks
newer fields and gets their defaults; ``format`` grows when a meaning changes.
"""

import functools

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import PrefstreamError

FORMAT = 1


class EventLog(msgspec.Struct, kw_only=True):
    """Parallel arrays: ``items`` u64 (hashes of item ids), ``types`` u8, ``times`` i64 (UTC ms), ``ids`` u64."""

    items: bytes = b""
    types: bytes = b""
    times: bytes = b""
    ids: bytes = b""


class EncoderSums(msgspec.Struct, kw_only=True):
    """Decayed sums in the space of one encoder version: ``sums`` f32 (T, d), ``mass`` f32 (T,), as of ``time_ms``."""

    encoder: str
    sums: bytes
    mass: bytes
    time_ms: int


class AppliedOffset(msgspec.Struct, array_like=True, frozen=True):
    """Events of this log below ``next_offset`` are in the profile already."""

    topic: str
    topic_id: str
    partition: int
    next_offset: int


class ReroutedOffsets(msgspec.Struct, array_like=True, frozen=True):
    """Events of this log that are in the profile and came by way of ``rerouted``: the offsets of the last ones."""

    topic: str
    topic_id: str
    partition: int
    offsets: list[int]


class Counters(msgspec.Struct, kw_only=True):
    """Events applied by type (click, browse, purchase), duplicates dropped, events dropped from a full ``pending``."""

    applied: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    duplicates: int = 0
    pending_dropped: int = 0


class RecommendedList(msgspec.Struct, kw_only=True):
    """The last recommendation: ``items`` u64 (hashes of item ids, best first), ``reasons`` u8 (codes: the place of the
    kind in REASON_KINDS and one), hash of its id, the encoder version that ranked it."""

    items: bytes
    reasons: bytes
    id: int
    encoder: str


class ProfileState(msgspec.Struct, kw_only=True):
    """Everything the store keeps of a user beside the preference vectors."""

    format: int = FORMAT
    recents: EventLog = msgspec.field(default_factory=EventLog)
    pending: EventLog = msgspec.field(default_factory=EventLog)
    sums: list[EncoderSums] = msgspec.field(default_factory=list)
    purchased_items: bytes = b""
    purchased_times: bytes = b""
    seen_ids: bytes = b""
    fences: list[AppliedOffset] = msgspec.field(default_factory=list)
    counters: Counters = msgspec.field(default_factory=Counters)
    sent_on: list[ReroutedOffsets] = msgspec.field(default_factory=list)
    forgotten_ms: int = 0
    """Kafka's time of the last command to forget; events written up to then only count, whenever they are read."""
    offered: RecommendedList | None = None
    taken_items: bytes = b""
    """u64, hashes of the recommended items that the user went to, the oldest first."""
    taken_reasons: bytes = b""
    """u8, why each was recommended, as in ``RecommendedList``."""


class StateError(PrefstreamError):
    """A stored profile that is broken."""


class NewerState(PrefstreamError):
    """A stored profile of a newer release: nothing is wrong with it, this worker is too old."""


_encoder = msgspec.msgpack.Encoder()


@functools.cache
def _decoder(fields: frozenset[str]) -> "msgspec.msgpack.Decoder[ProfileState]":
    """A decoder of rows that have these fields of features too."""
    more = [(name, bytes, b"") for name in sorted(fields - set(ProfileState.__struct_fields__))]
    kind = (
        msgspec.defstruct("ProfileStateOfFeatures", more, bases=(ProfileState,), kw_only=True) if more else ProfileState
    )
    return msgspec.msgpack.Decoder(kind)


def encode_state(state: ProfileState) -> bytes:
    """The stored bytes of a profile."""
    return _encoder.encode(state)


def decode_state(data: bytes, user_id: str, fields: frozenset[str] = frozenset()) -> ProfileState:
    """Decode a profile from its stored bytes.

    ``fields`` are those that features store. `StateError` if the bytes are broken, `NewerState` if a newer release
    wrote them.
    """
    try:
        state = _decoder(fields).decode(data)
    except msgspec.MsgspecError as error:
        raise StateError(
            f"The stored profile of user {user_id!r} is broken ({error}): restore the row from a backup."
        ) from None
    for log in (state.recents, state.pending):
        if not len(log.items) == len(log.times) == len(log.ids) == 8 * len(log.types):
            raise StateError(
                f"The stored profile of user {user_id!r} is broken (its events' columns differ in length): "
                "restore the row from a backup."
            )
    if any(kind >= len(state.counters.applied) for log in (state.recents, state.pending) for kind in log.types):
        raise NewerState(f"The stored profile of user {user_id!r} has events of an unknown type: upgrade this worker.")
    if state.format > FORMAT:
        raise NewerState(
            f"The stored profile of user {user_id!r} has format {state.format}, this prefstream knows up to {FORMAT}: "
            "upgrade this worker."
        )
    return state


def times(data: bytes) -> NDArray[np.int64]:
    """int64 array of stored bytes."""
    return np.frombuffer(data, "<i8")


def hashes(data: bytes) -> NDArray[np.uint64]:
    """uint64 array of stored bytes."""
    return np.frombuffer(data, "<u8")


def types(data: bytes) -> NDArray[np.uint8]:
    """uint8 array of stored bytes."""
    return np.frombuffer(data, "u1")
