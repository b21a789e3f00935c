"""A stored profile in a form that people can read."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from schemas.events import EVENT_TYPES
from schemas.fields import MAX_INT64
from streams.arrays import floats
from streams.checkpoint.stored_profile import (
    NO_ACTIONS,
    AppliedOffset,
    EncoderSums,
    EventLog,
    decode_state,
    hashes,
    is_erased,
    times,
    types,
)
from streams.stores.base import StoredProfile


class ItemView(msgspec.Struct, kw_only=True):
    """An item by its hash, with id and title if they are known."""

    hash: str
    item_id: str | None = None
    title: str | None = None


class EventView(msgspec.Struct, kw_only=True):
    """A remembered event."""

    time_ms: int
    type: str
    item: ItemView


class PurchaseView(msgspec.Struct, kw_only=True):
    """A purchase; its item is not recommended for ranking.exclude_purchased_days."""

    time_ms: int
    item: ItemView


class HiddenView(msgspec.Struct, kw_only=True):
    """An item that the user has hidden."""

    until_ms: int | None  # None: for ever
    item: ItemView


class ConsentView(msgspec.Struct, kw_only=True):
    """A consent that was given or withdrawn."""

    purpose: str
    given: bool
    time_ms: int


class SumView(msgspec.Struct, kw_only=True):
    """The total weight of the older events, summed under one half-life."""

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
    """All that is stored about a user, as `profile show --json` prints it."""

    user_id: str
    partition: int
    term: int  # a fencing token, as in Raft: it grows whenever the partition changes its worker
    save: int  # number of the save within the term
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
    refunds: list[PurchaseView]
    hidden: list[HiddenView]
    hidden_labels: int  # brands and categories that are hidden; their names are not stored
    consents: list[ConsentView]
    sums: list[SumView]
    fences: list[dict[str, str | int]]  # the applied offsets; the JSON key keeps its old name
    nearest: list[NearView] | None = None  # None: the item vectors could not be read


def view_profile(row: StoredProfile, half_lives_s: Mapping[str, Sequence[float]]) -> ProfileView:
    """Make the view of a stored profile.

    Parameters
    ----------
    row : the stored profile
    half_lives_s : half-lives by encoder version, for the versions that are known here

    Raises
    ------
    StateError
        The stored profile is broken, or was written by a newer prefstream.
    """
    state = decode_state(row.state, row.user_id)
    actions = state.actions or NO_ACTIONS
    purchases = zip(hashes(state.purchased_items).tolist(), times(state.purchased_times).tolist(), strict=True)
    return ProfileView(
        user_id=row.user_id,
        partition=row.partition,
        term=row.version >> 32,
        save=row.version & 0xFFFFFFFF,
        encoder=row.encoder,
        forgotten=row.expires_s > 0 or is_erased(state),
        expires_s=row.expires_s,
        applied=dict(zip(EVENT_TYPES, state.counters.applied, strict=False)),
        duplicates=state.counters.duplicates,
        pending_dropped=state.counters.pending_dropped,
        seen_ids=len(hashes(state.seen_ids)),
        recents=_events(state.recents),
        pending=_events(state.pending),
        purchases=[PurchaseView(time_ms=time_ms, item=_item(item)) for item, time_ms in purchases],
        refunds=[PurchaseView(time_ms=time_ms, item=_item(item)) for item, (time_ms, _) in actions.refunds.items()],
        hidden=[
            HiddenView(until_ms=None if until_ms == MAX_INT64 else until_ms, item=_item(item))
            for item, (_, _, until_ms) in actions.hidden_items.items()
        ],
        hidden_labels=len(actions.hidden_labels),
        consents=[
            ConsentView(purpose=purpose, given=given, time_ms=time_ms)
            for purpose, (time_ms, _, given) in actions.consents.items()
        ],
        sums=[view for sums in state.sums for view in _sums(sums, half_lives_s.get(sums.encoder, ()))],
        fences=[_applied_offset(applied) for applied in state.fences],
    )


def items_of(view: ProfileView) -> list[ItemView]:
    """Return every item that the view names by its hash."""
    events = [event.item for event in view.recents + view.pending]
    purchases = [purchase.item for purchase in view.purchases + view.refunds]
    return events + purchases + [hidden.item for hidden in view.hidden]


def mixed_preference(row: StoredProfile) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """The preference vector of a user, mixed over the half-lives: float32 (d,); None if the user has none (yet)."""
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


def _applied_offset(applied: AppliedOffset) -> dict[str, str | int]:
    return {
        "topic": applied.topic,
        "topic_id": applied.topic_id,
        "partition": applied.partition,
        "next_offset": applied.next_offset,
    }
