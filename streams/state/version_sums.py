"""The sums of users that several encoder versions have served.

A row keeps a part of the sums for each version that folded events of the user, in the vector space of that version.
The parts are disjoint. Together they hold all events that have left the recents. A version folds events into its own
part only, and writes the other parts back byte for byte. So workers of two versions may process a user in turns without
losing an event. Going back to the former version loses nothing either: its part is unchanged.

For ranking, the other parts are mapped into the vector space of the active encoder and added (`ProfileTable.older`).
Sums of different vector spaces are never added. Events in the recents have no vectors, so they are exact in every
version.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from streams.arrays import Float64Array, IntpArray, floats
from streams.state.decayed_sums import NO_TIME, Sums, merge, rank_in_group
from streams.state.embedding_map import EmbeddingMap
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import OtherSums, ProfileTable

KEPT = 2
"""Parts of other versions that a row keeps beside the part of the active encoder.

If there are more, the oldest is mapped and moved into the active encoder's part for good. It then is a sum of the same
events in another vector space.
"""

_AT_ONCE = 4_096
"""Users whose parts are mapped at once: some MB, which stay in a core's cache."""

Maps = Mapping[str, EmbeddingMap]


def change_encoder(
    table: ProfileTable, former: str, version: str, shape: ProfileShape, maps: Maps, half_life_s: Float64Array
) -> set[str]:
    """Switch all users in memory to another encoder version.

    Returns the versions that have sums but no map. Afterwards the items of the recents are unknown until they are
    looked up in the new index, and the preference vectors are blank until the users are ranked.
    """
    slots = table.all_slots()
    folded = slots[table.sums_time[slots] != NO_TIME]
    sums, total_weight = table.sums[folded].astype("<f4"), table.total_weight[folded].astype("<f4")
    columns = zip(folded.tolist(), sums, total_weight, table.sums_time[folded].tolist(), strict=True)
    for slot, user_sums, weights, time_ms in columns:
        part = OtherSums(former, user_sums.tobytes(), weights.tobytes(), time_ms)
        table.other_sums.setdefault(slot, []).append(part)
    table.resize_vectors(shape)
    table.rows[slots] = -1
    own = [
        (slot, part)
        for slot, parts in table.other_sums.items()
        for part in parts
        if part.encoder == version and fits(part, shape)
    ]
    if own:
        add_sums(table, [slot for slot, _ in own], [part for _, part in own], half_life_s)
        for slot, part in own:
            drop_part(table, slot, part)
    return map_into(table, list(table.other_sums), maps, half_life_s)


def fits(part: OtherSums, shape: ProfileShape) -> bool:
    """Return whether a part has the sizes of this shape."""
    return len(part.total_weight) == 4 * shape.half_lives and len(part.sums) == len(part.total_weight) * shape.dimension


def set_sums(table: ProfileTable, slot: int, part: OtherSums) -> None:
    """Set a slot's own sums from a part in the vector space of the active encoder."""
    table.sums[slot] = floats(part.sums).reshape(table.sums.shape[1:])
    table.total_weight[slot] = floats(part.total_weight)
    table.sums_time[slot] = part.time_ms


def add_sums(table: ProfileTable, slots: list[int], parts: list[OtherSums], half_life_s: Float64Array) -> None:
    """Add parts in the vector space of the active encoder to their slots' own sums.

    ``slots`` holds the slot of each part. A slot may have several parts of one encoder version: they hold different
    events.
    """
    owners = np.array(slots, np.intp)
    turns = rank_in_group(owners)
    for turn in range(int(turns.max(initial=-1)) + 1):
        owner = owners[turns == turn]
        own = Sums(table.sums[owner], table.total_weight[owner], table.sums_time[owner])
        part = _unpack([parts[index] for index in np.flatnonzero(turns == turn).tolist()])
        table.sums[owner], table.total_weight[owner], table.sums_time[owner] = merge(own, part, half_life_s)


def drop_part(table: ProfileTable, slot: int, part: OtherSums) -> None:
    """Remove a part of a slot, whose events are in the slot's own sums now."""
    remaining = [other for other in table.other_sums[slot] if other is not part]
    if remaining:
        table.other_sums[slot] = remaining
    else:
        del table.other_sums[slot]


def map_into(table: ProfileTable, slots: Iterable[int], maps: Maps, half_life_s: Float64Array) -> set[str]:
    """Map the other versions' sums of these users into the vector space of the active encoder.

    Returns the versions that have sums but no map. Their sums stay in the rows unchanged.
    """
    unknown: set[str] = set()
    parts_by_map: defaultdict[tuple[str, int], list[tuple[int, OtherSums]]] = defaultdict(list)
    with_parts = [slot for slot in slots if slot in table.other_sums]
    table.drop_mapped(np.array(with_parts, np.intp))
    for slot in with_parts:
        if len(table.other_sums[slot]) > KEPT:
            _move_oldest(table, slot, maps, half_life_s)
        for position, part in enumerate(table.other_sums.get(slot, ())):
            if part.encoder not in maps:
                unknown.add(part.encoder)
            elif _is_sound(part, maps[part.encoder]):
                # keyed by position too, so that no list holds a slot twice
                parts_by_map[part.encoder, position].append((slot, part))
    chunks = [
        (version, parts[start : start + _AT_ONCE])
        for (version, _), parts in parts_by_map.items()
        for start in range(0, len(parts), _AT_ONCE)
    ]
    for version, chunk in chunks:
        owners = np.array([slot for slot, _ in chunk], np.intp)
        before = Sums(
            table.mapped_sums[owners].astype(np.float64),
            table.mapped_total_weight[owners].astype(np.float64),
            table.mapped_time[owners],
        )
        after = merge(before, _mapped([part for _, part in chunk], maps[version]), half_life_s)
        table.mapped_sums[owners], table.mapped_total_weight[owners], table.mapped_time[owners] = after
    return unknown


def _move_oldest(table: ProfileTable, slot: int, maps: Maps, half_life_s: Float64Array) -> None:
    """Map the oldest parts beyond `KEPT` and add them to the slot's own sums."""
    while len(table.other_sums.get(slot, ())) > KEPT:
        movable = [part for part in table.other_sums[slot] if part.encoder in maps]
        movable = [part for part in movable if _is_sound(part, maps[part.encoder])]
        if not movable:
            return
        oldest = min(movable, key=lambda part: part.time_ms)
        owner: IntpArray = np.array([slot], np.intp)
        own = Sums(table.sums[owner], table.total_weight[owner], table.sums_time[owner])
        table.sums[owner], table.total_weight[owner], table.sums_time[owner] = merge(
            own, _mapped([oldest], maps[oldest.encoder]), half_life_s
        )
        drop_part(table, slot, oldest)


def _is_sound(part: OtherSums, to: EmbeddingMap) -> bool:
    return len(part.total_weight) == 4 * to.half_lives and len(part.sums) == len(part.total_weight) * to.matrix.shape[0]


def _mapped(parts: list[OtherSums], to: EmbeddingMap) -> Sums:
    return to.apply(*_unpack(parts))


def _unpack(parts: list[OtherSums]) -> Sums:
    """Return parts of one version as arrays: S parts, one for each user."""
    total_weight = floats(b"".join([part.total_weight for part in parts])).reshape(len(parts), -1)  # (S, T)
    sums = floats(b"".join([part.sums for part in parts])).reshape(*total_weight.shape, -1)  # (S, T, d)
    times_ms = np.array([part.time_ms for part in parts], np.int64)
    return Sums(sums.astype(np.float64), total_weight.astype(np.float64), times_ms)
