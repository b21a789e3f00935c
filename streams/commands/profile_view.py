"""A stored profile as something to read: what the system believes of a user."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from schemas.events import EVENT_TYPES
from streams.arrays import floats
from streams.checkpoint.stored_profile import AppliedOffset, EncoderSums, EventLog, decode_state, hashes, times, types
from streams.stores.base import StoredProfile


class ItemView(msgspec.Struct, kw_only=True):
    """An item by its hash; id and title where somebody knows them."""

    hash: str
    item_id: str | None = None
    title: str | None = None


class EventView(msgspec.Struct, kw_only=True):
    """A remembered event."""

    time_ms: int
    type: str
    item: ItemView


class PurchaseView(msgspec.Struct, kw_only=True):
    """A purchase that keeps its item out of the lists for a while."""

    time_ms: int
    item: ItemView


class SumView(msgspec.Struct, kw_only=True):
    """What one half-life's sum of older events weighs."""

    encoder: str
    half_life_s: float | None
    mass: float
    time_ms: int


class NearView(msgspec.Struct, kw_only=True):
    """An item near the user's mixed preference."""

    item_id: str
    title: str | None
    similarity: float


class ProfileView(msgspec.Struct, kw_only=True):
    """Everything a row tells."""

    user_id: str
    partition: int
    term: int
    save: int
    encoder: str
    forgotten: bool
    expires_s: int
    applied: dict[str, int]
    duplicates: int
    pending_dropped: int
    seen_ids: int
    recents: list[EventView]
    pending: list[EventView]
    purchases: list[PurchaseView]
    sums: list[SumView]
    fences: list[dict[str, str | int]]
    nearest: list[NearView] | None = None  # None: the item vectors were not to be had


def view_profile(row: StoredProfile, half_lives_s: Mapping[str, Sequence[float]]) -> ProfileView:
    """Read a row.

    Parameters
    ----------
    row : the stored profile
    half_lives_s : half-lives of those encoder versions that are known here

    Raises
    ------
    StateError
        The row is broken, or of a newer prefstream.
    """
    state = decode_state(row.state, row.user_id)
    bought = zip(hashes(state.purchased_items).tolist(), times(state.purchased_times).tolist(), strict=True)
    return ProfileView(
        user_id=row.user_id,
        partition=row.partition,
        term=row.version >> 32,
        save=row.version & 0xFFFFFFFF,
        encoder=row.encoder,
        forgotten=row.expires_s > 0,
        expires_s=row.expires_s,
        applied=dict(zip(EVENT_TYPES, state.counters.applied, strict=False)),
        duplicates=state.counters.duplicates,
        pending_dropped=state.counters.pending_dropped,
        seen_ids=len(hashes(state.seen_ids)),
        recents=_events(state.recents),
        pending=_events(state.pending),
        purchases=[PurchaseView(time_ms=time_ms, item=_item(item)) for item, time_ms in bought],
        sums=[view for sums in state.sums for view in _sums(sums, half_lives_s.get(sums.encoder, ()))],
        fences=[_fence(fence) for fence in state.fences],
    )


def items_of(view: ProfileView) -> list[ItemView]:
    """Every item that the view names by its hash."""
    events = [event.item for event in view.recents + view.pending]
    return events + [bought.item for bought in view.purchases]


def mixed_preference(row: StoredProfile) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """The mixed preference vector of a row, float32 (d,); None where it prefers nothing (yet)."""
    mixed = floats(row.mixed)
    return mixed if np.any(mixed) else None


def _item(item: int) -> ItemView:
    return ItemView(hash=f"{item:016x}")


def _events(log: EventLog) -> list[EventView]:
    columns = zip(hashes(log.items).tolist(), types(log.types).tolist(), times(log.times).tolist(), strict=True)
    return [EventView(time_ms=time_ms, type=_type(code), item=_item(item)) for item, code, time_ms in columns]


def _type(code: int) -> str:
    return EVENT_TYPES[code] if code < len(EVENT_TYPES) else f"type {code}"


def _sums(sums: EncoderSums, half_lives_s: Sequence[float]) -> list[SumView]:
    mass = floats(sums.mass).tolist()
    known = half_lives_s if len(half_lives_s) == len(mass) else [None] * len(mass)
    return [
        SumView(encoder=sums.encoder, half_life_s=half_life, mass=weight, time_ms=sums.time_ms)
        for half_life, weight in zip(known, mass, strict=True)
    ]


def _fence(fence: AppliedOffset) -> dict[str, str | int]:
    return {
        "topic": fence.topic,
        "topic_id": fence.topic_id,
        "partition": fence.partition,
        "next_offset": fence.next_offset,
    }
