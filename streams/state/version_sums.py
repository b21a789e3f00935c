"""Users between encoder versions: each version's sums stay in its own space, and are seen from others through maps.

A row keeps, for each version that folded events of the user, a part of the sums in that version's space. The parts are
disjoint: together they are all that has left the recents. A version folds into its own part only and writes the others
back byte for byte, so workers of two versions may have a user in turns and nothing is lost; nor is it by going back to
the former version, which finds its own part as it left it. For ranking, the others' parts are mapped into the space
that serves and added (`ProfileTable.older`); no other place meets two spaces, and there they are one already.
Events in the recents have no vectors, so they are exact in every version.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from streams.arrays import Float64Array, IntpArray, floats
from streams.state.decayed_sums import NO_TIME, Sums, merge
from streams.state.embedding_map import EmbeddingMap
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import OtherSums, ProfileTable

KEPT = 2
"""Parts of other versions that a row keeps beside that of the version that serves; of more, the oldest is moved over
for good (it stays a sum of the same events, in another space)."""

_AT_ONCE = 4_096
"""Users whose parts are mapped in one go: some MB, which stay in a core's cache."""

Maps = Mapping[str, EmbeddingMap]


def change_encoder(
    table: ProfileTable, former: str, version: str, shape: ProfileShape, maps: Maps, half_life_s: Float64Array
) -> set[str]:
    """Let all users in memory be served by another version; returns the versions with sums that no map is known for.

    Afterwards the items of the recents are unknown until they are looked up in the new index, and the preference
    vectors are blank until the users are ranked.
    """
    slots = table.all_slots()
    folded = slots[table.sums_time[slots] != NO_TIME]
    sums, total_weight = table.sums[folded].astype("<f4"), table.total_weight[folded].astype("<f4")
    for slot, s, m, time_ms in zip(folded.tolist(), sums, total_weight, table.sums_time[folded].tolist(), strict=True):
        part = OtherSums(former, s.tobytes(), m.tobytes(), time_ms)
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
        owners = np.array([slot for slot, _ in own], np.intp)
        table.sums[owners], table.total_weight[owners], table.sums_time[owners] = _unpack([part for _, part in own])
        for slot, part in own:
            drop_part(table, slot, part)
    return map_into(table, list(table.other_sums), maps, half_life_s)


def fits(part: OtherSums, shape: ProfileShape) -> bool:
    """Whether a part has the sizes of this shape."""
    return len(part.total_weight) == 4 * shape.half_lives and len(part.sums) == len(part.total_weight) * shape.dimension


def set_sums(table: ProfileTable, slot: int, part: OtherSums) -> None:
    """A part in the space that serves becomes the slot's own sums."""
    table.sums[slot] = floats(part.sums).reshape(table.sums.shape[1:])
    table.total_weight[slot] = floats(part.total_weight)
    table.sums_time[slot] = part.time_ms


def drop_part(table: ProfileTable, slot: int, part: OtherSums) -> None:
    """A part is in the slot's own sums now."""
    left = [one for one in table.other_sums[slot] if one is not part]
    if left:
        table.other_sums[slot] = left
    else:
        del table.other_sums[slot]


def map_into(table: ProfileTable, slots: Iterable[int], maps: Maps, half_life_s: Float64Array) -> set[str]:
    """Work out what these users carry of other versions' sums, in the space that serves.

    Returns the versions that some of them have sums of and no map is known for: those wait in the row, untouched.
    """
    unknown: set[str] = set()
    groups: defaultdict[tuple[str, int], list[tuple[int, OtherSums]]] = defaultdict(list)
    with_parts = [slot for slot in slots if slot in table.other_sums]
    table.drop_mapped(np.array(with_parts, np.intp))
    for slot in with_parts:
        if len(table.other_sums[slot]) > KEPT:
            _move_oldest(table, slot, maps, half_life_s)
        for place, part in enumerate(table.other_sums.get(slot, ())):
            if part.encoder not in maps:
                unknown.add(part.encoder)
            elif _is_sound(part, maps[part.encoder]):
                groups[part.encoder, place].append((slot, part))  # by place: no slot twice in a group
    chunks = [
        (version, found[start : start + _AT_ONCE])
        for (version, _), found in groups.items()
        for start in range(0, len(found), _AT_ONCE)
    ]
    for version, found in chunks:
        owners = np.array([slot for slot, _ in found], np.intp)
        before = Sums(
            table.mapped_sums[owners].astype(np.float64),
            table.mapped_total_weight[owners].astype(np.float64),
            table.mapped_time[owners],
        )
        after = merge(before, _mapped([part for _, part in found], maps[version]), half_life_s)
        table.mapped_sums[owners], table.mapped_total_weight[owners], table.mapped_time[owners] = after
    return unknown


def _move_oldest(table: ProfileTable, slot: int, maps: Maps, half_life_s: Float64Array) -> None:
    """Move the oldest parts beyond `KEPT` into the slot's own sums."""
    while len(table.other_sums.get(slot, ())) > KEPT:
        movable = [part for part in table.other_sums[slot] if part.encoder in maps]
        movable = [part for part in movable if _is_sound(part, maps[part.encoder])]
        if not movable:
            return
        oldest = min(movable, key=lambda part: part.time_ms)
        one: IntpArray = np.array([slot], np.intp)
        own = Sums(table.sums[one], table.total_weight[one], table.sums_time[one])
        table.sums[one], table.total_weight[one], table.sums_time[one] = merge(
            own, _mapped([oldest], maps[oldest.encoder]), half_life_s
        )
        drop_part(table, slot, oldest)


def _is_sound(part: OtherSums, to: EmbeddingMap) -> bool:
    return len(part.total_weight) == 4 * to.half_lives and len(part.sums) == len(part.total_weight) * to.matrix.shape[0]


def _mapped(parts: list[OtherSums], to: EmbeddingMap) -> Sums:
    return to.apply(*_unpack(parts))


def _unpack(parts: list[OtherSums]) -> Sums:
    """Parts of one version as arrays."""
    total_weight = floats(b"".join([part.total_weight for part in parts])).reshape(len(parts), -1)  # (S, T)
    sums = floats(b"".join([part.sums for part in parts])).reshape(*total_weight.shape, -1)  # (S, T, d)
    times_ms = np.array([part.time_ms for part in parts], np.int64)
    return Sums(sums.astype(np.float64), total_weight.astype(np.float64), times_ms)
