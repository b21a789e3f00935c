"""A profile as stored bytes: a MessagePack map. Fields are only ever added to it, never renamed or removed.

Arrays are little-endian bytes, so a reader in any language can read them directly. A row that an older prefstream wrote
lacks newer fields; they get their defaults. ``format`` grows when the meaning of a field changes.
"""

import functools

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import PrefstreamError
from streams.state.user_actions import UserActions

FORMAT = 1
NO_ACTIONS = UserActions()


class EventLog(msgspec.Struct, kw_only=True):
    """Parallel arrays: ``items`` u64 (hashes of item ids), ``types`` u8, ``times`` i64 (UTC ms), ``ids`` u64.

    ``written`` i64 is Kafka's time of the events (UTC ms); rows of release 0.1.0 and pending events lack it.
    """

    items: bytes = b""
    types: bytes = b""
    times: bytes = b""
    ids: bytes = b""
    written: bytes = b""


class EncoderSums(msgspec.Struct, kw_only=True):
    """Decayed sums in the vector space of one encoder version, as of ``time_ms`` (UTC ms).

    ``sums`` is f32 (T, d); ``mass`` is f32 (T,), their total weight.
    """

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
    """Offsets, in this log, of the last events that came into the profile by the topic ``rerouted``."""

    topic: str
    topic_id: str
    partition: int
    offsets: list[int]


class ClosedSpans(msgspec.Struct, array_like=True, frozen=True):
    """Offsets of a log that came before its user moved to another partition: ``spans`` holds first and end by turns."""

    topic: str
    topic_id: str
    partition: int
    spans: list[int]


class Counters(msgspec.Struct, kw_only=True):
    """Counts of events: applied by type (click, browse, purchase), duplicates, and dropped from a full ``pending``."""

    applied: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    duplicates: int = 0
    pending_dropped: int = 0


class RecommendedList(msgspec.Struct, kw_only=True):
    """The last recommendation of a user.

    ``items`` is u64 (hashes of item ids, best first); ``reasons`` is u8 (codes: index of the kind in REASON_KINDS, plus
    one); ``id`` is the hash of the recommendation id; ``encoder`` is the version that ranked it.
    """

    items: bytes
    reasons: bytes
    id: int
    encoder: str


class ProfileState(msgspec.Struct, kw_only=True):
    """All stored state of a user except the preference vectors."""

    format: int = FORMAT
    recents: EventLog = msgspec.field(default_factory=EventLog)
    pending: EventLog = msgspec.field(default_factory=EventLog)
    sums: list[EncoderSums] = msgspec.field(default_factory=list)
    purchased_items: bytes = b""
    purchased_times: bytes = b""
    seen_ids: bytes = b""
    fences: list[AppliedOffset] = msgspec.field(default_factory=list)
    """The applied offset of each log."""
    firsts: list[int] = msgspec.field(default_factory=list)
    """For each of ``fences``, the first offset of the span that ends there: the log brought all events of the span. -1:
    unknown."""
    paths: list[str] = msgspec.field(default_factory=list)
    """For the last entries of ``fences``, the path that they came by: see `LogId.counts`."""
    days: list[int] = msgspec.field(default_factory=list)
    """For the last entries of ``fences``, the day (since 1970) when their last record was received; 0: unknown."""
    counters: Counters = msgspec.field(default_factory=Counters)
    sent_on: list[ReroutedOffsets] = msgspec.field(default_factory=list)
    """Offsets of rerouted events, for each log to which they were first written. Rows of release 0.1.0 have them."""
    spans: list[ClosedSpans] = msgspec.field(default_factory=list)
    """Spans that ended when the input topics grew."""
    partition_count: int = 0
    """Partitions of each input when the row was saved; 0: unknown."""
    forgotten_ms: int = 0
    """Kafka's time (UTC ms) of the last command to forget. Events written up to then are only counted."""
    actions: UserActions | None = None
    offered: RecommendedList | None = None
    """The list that was recommended last."""
    taken_items: bytes = b""
    """u64, hashes of the recommended items that the user visited, the oldest first."""
    taken_reasons: bytes = b""
    """u8, codes of the reasons why they were recommended, as in `RecommendedList`."""


class StateError(PrefstreamError):
    """A stored profile is broken."""


class NewerState(PrefstreamError):
    """A stored profile was written by a newer release. It is not broken: this worker is too old to read it."""


class _FormatOnly(msgspec.Struct):
    """The one field of a row that every release can read."""

    format: int = FORMAT


_encoder = msgspec.msgpack.Encoder()
_format_decoder = msgspec.msgpack.Decoder(_FormatOnly)


@functools.cache
def _decoder(fields: frozenset[str]) -> "msgspec.msgpack.Decoder[ProfileState]":
    """Return a decoder of rows that also have these fields, which features store."""
    more = [(name, bytes, b"") for name in sorted(fields - set(ProfileState.__struct_fields__))]
    kind = (
        msgspec.defstruct("ProfileStateOfFeatures", more, bases=(ProfileState,), kw_only=True) if more else ProfileState
    )
    return msgspec.msgpack.Decoder(kind)


def is_erased(state: ProfileState) -> bool:
    """Return whether a profile holds nothing of a user who was forgotten, and has no event since."""
    events = state.recents.items, state.pending.items, state.purchased_items
    has_actions = state.actions is not None and not state.actions.is_empty
    return state.forgotten_ms > 0 and not any(events) and not state.sums and not has_actions


def encode_state(state: ProfileState) -> bytes:
    """Encode a profile as stored bytes."""
    return _encoder.encode(state)


def decode_state(data: bytes, user_id: str, fields: frozenset[str] = frozenset()) -> ProfileState:
    """Decode a profile from its stored bytes.

    ``fields`` are the fields that features store. Raises `StateError` if the bytes are broken, `NewerState` if a newer
    release wrote them.
    """
    try:
        state = _decoder(fields).decode(data)
    except msgspec.MsgspecError as error:
        _refuse_newer_format(_format_of(data), user_id)
        raise StateError(
            f"The stored profile of user {user_id!r} is broken ({error}): restore the row from a backup."
        ) from None
    _refuse_newer_format(state.format, user_id)
    for log in (state.recents, state.pending):
        if not len(log.items) == len(log.times) == len(log.ids) == 8 * len(log.types) or (
            len(log.written) not in (0, len(log.ids))
        ):
            raise StateError(
                f"The stored profile of user {user_id!r} is broken (its events' columns differ in length): "
                "restore the row from a backup."
            )
    if any(kind >= len(state.counters.applied) for log in (state.recents, state.pending) for kind in log.types):
        raise NewerState(f"The stored profile of user {user_id!r} has events of an unknown type: upgrade this worker.")
    return state


def _format_of(data: bytes) -> int:
    """Return the format of a row that can't be decoded; `FORMAT` if even that can't be read."""
    try:
        return _format_decoder.decode(data).format
    except msgspec.MsgspecError:
        return FORMAT


def _refuse_newer_format(stored: int, user_id: str) -> None:
    if stored > FORMAT:
        raise NewerState(
            f"The stored profile of user {user_id!r} has format {stored}, this prefstream knows up to {FORMAT}: "
            "upgrade this worker."
        )


def times(data: bytes) -> NDArray[np.int64]:
    """Read stored bytes as an int64 array."""
    return np.frombuffer(data, "<i8")


def hashes(data: bytes) -> NDArray[np.uint64]:
    """Read stored bytes as a uint64 array."""
    return np.frombuffer(data, "<u8")


def types(data: bytes) -> NDArray[np.uint8]:
    """Read stored bytes as a uint8 array."""
    return np.frombuffer(data, "u1")
