"""The loops of the search in tiles: quantise, place items, scan for what may be among the best, choose by exact score.

What may be among the best is known from bounds. With û, v̂ for what the codes of a user u and an item v stand for,

    |u . v - û . v̂| = |u . (v - v̂) + (u - û) . v̂| <= |u| |v - v̂| + |u - û| |v̂|                    (Cauchy-Schwarz)

so a score lies within that reach of its approximation, and an item whose highest possible score is below the lowest
possible ones of enough others is out.
"""

import numpy as np

from encoders.arrays import Float32Array, Int8Array, Int32Array, Int64Array, UInt8Array
from encoders.compiled import compiled
from encoders.index.int8_tile_scores import AXES, SHIFT, TILE, TOGETHER, lowest_bit, score_four, score_one

ROOM = 5
"""Times what is looked for that a user's buffer holds: cut when it is full."""
_STEPS = 20
_INT8 = np.float32(127.0)


@compiled("void(float32[:, ::1], int8[:, ::1], float32[::1], float32[::1], float32[::1], int32[::1])")
def quantise(
    vectors: Float32Array,
    codes: Int8Array,
    scales: Float32Array,
    lengths: Float32Array,
    errors: Float32Array,
    offsets: Int32Array,
) -> None:
    """Vectors v (n, D) as ``scales * codes``, D bytes each.

    Filled are ``codes`` (n, D), ``scales`` (n,), ``lengths`` |v|, ``errors`` |v - scale * code|, and ``offsets``: what
    the shift of the items' bytes has added to the scores of a user with these codes, negated.
    """
    for row in range(len(vectors)):
        peak, square = np.float32(0.0), np.float32(0.0)
        for axis in range(vectors.shape[1]):
            peak = max(peak, abs(vectors[row, axis]))
            square += vectors[row, axis] * vectors[row, axis]
        scale = peak / _INT8
        inverse = np.float32(1.0) / scale if scale > 0 else np.float32(0.0)
        missed, total = np.float32(0.0), np.int32(0)
        for axis in range(vectors.shape[1]):
            code = np.rint(min(max(vectors[row, axis] * inverse, -_INT8), _INT8))
            rest = vectors[row, axis] - scale * code
            missed += rest * rest
            codes[row, axis] = np.int8(code)
            total += np.int32(code)
        scales[row], lengths[row], errors[row] = scale, np.sqrt(square), np.sqrt(missed)
        offsets[row] = -SHIFT * total


@compiled()
def _replace_root(scores: Float32Array, rows: Int64Array, score: np.float32, row: int) -> None:
    """Put an entry in the place of the least of a heap (binary, the root is the least)."""
    size = len(scores)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[at] = scores[child]
        rows[at] = rows[child]
        at = child
    scores[at] = score
    rows[at] = row


@compiled()
def _reached(scores: Float32Array, filled: int, keep: int, low: np.float32) -> np.float32:
    """What at least ``keep`` of the ``filled`` scores reach, and hardly more of them, where so many reach ``low``.

    Bisection, as each step counts at the speed of vectors, where a quickselect or a heap goes score by score.
    """
    high = scores[0]
    for place in range(filled):
        high = max(high, scores[place])
    for _ in range(_STEPS):
        middle = np.float32(0.5) * low + np.float32(0.5) * high
        count = np.float32(0.0)  # of integers a loop would be half as fast
        for place in range(filled):
            count += np.float32(1.0) if scores[place] >= middle else np.float32(0.0)
        if count >= keep:
            low = middle
            if count == keep:
                break
        else:
            high = middle
    return low


@compiled()
def _score(user: Float32Array, items: Float32Array, bias: Float32Array, row: int) -> np.float32:
    score: np.float32 = bias[row]
    for axis in range(len(user)):
        score += user[axis] * items[row, axis]
    return score


@compiled("void(int32[:, :], int64[::1], int64[::1])")
def group(places: Int32Array, starts: Int64Array, users: Int64Array) -> None:
    """Who wants which cluster: fill ``users`` with the rows of ``places`` that name a cluster, cluster by cluster.

    Parameters
    ----------
    places : (B, p), clusters, -1 for none
    starts : (clusters + 1,), is filled with where each cluster's users start
    users : (B * p,)
    """
    starts[:] = 0
    for user in range(len(places)):
        for place in places[user]:
            starts[place + 1] += place >= 0
    for cluster in range(1, len(starts)):
        starts[cluster] += starts[cluster - 1]
    at = starts[:-1].copy()
    for user in range(len(places)):
        for place in places[user]:
            if place >= 0:
                users[at[place]] = user
                at[place] += 1


@compiled()
def _tighten(
    user: Float32Array, items: Float32Array, bias: Float32Array, highs: Float32Array, lows: Float32Array, rows: Int32Array, filled: int, keep: int,
    least: np.float32, best: Float32Array, best_rows: Int64Array,
) -> tuple[int, np.float32]:  # fmt: skip
    """Drop the entries that can't be among the best ``keep``; returns how many stay, and what another one has to reach.

    Where too many can't be told apart by their bounds, their exact scores take the place of these.
    """
    low = np.float32(np.inf)
    for place in range(filled):
        low = min(low, lows[place])
    least = _reached(lows, filled, keep, max(low, least))
    stay = 0
    for place in range(filled):
        high, low, row = highs[place], lows[place], rows[place]
        highs[stay], lows[stay], rows[stay] = high, low, row
        stay += high >= least
    if stay > len(highs) - TILE:
        best[:], best_rows[:] = -np.inf, -1
        for place in range(stay):
            row = rows[place]
            if row < len(bias):  # else it came after the snapshot
                score = _score(user, items, bias, row)
                if score > best[0]:
                    _replace_root(best, best_rows, score, row)
        stay = 0
        for place in range(keep):
            highs[stay], lows[stay], rows[stay] = best[place], best[place], best_rows[place]
            stay += best_rows[place] >= 0
        least = best[0]
    return stay, least


@compiled(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], int8[:, ::1], int32[::1], float32[::1], float32[:, ::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1], uint8[:, :, :, ::1], float32[:, ::1], float32[:, ::1], "
    "int32[:, ::1], float32[:, ::1], int64, float32[:, ::1], int32[:, ::1], int64[::1])"
)
def scan(
    users: Float32Array,
    items: Float32Array,
    bias: Float32Array,
    codes: Int8Array,
    offsets: Int32Array,
    user_scales: Float32Array,
    reaches: Float32Array,
    starts: Int64Array,
    wanting: Int64Array,
    first_tile: Int64Array,
    next_tile: Int64Array,
    tiles: UInt8Array,
    scales: Float32Array,
    biases: Float32Array,
    rows: Int32Array,
    spans: Float32Array,
    keep: int,
    highs: Float32Array,
    found: Int32Array,
    filled: Int64Array,
) -> None:
    """Score the items of the clusters that each user wants and keep those that may be among the ``keep`` best of them.

    Parameters
    ----------
    users, items, bias : (B, d), (N, d) and (N,), for exact scores
    codes, offsets, user_scales : of ``quantise``
    reaches : (B, 2), |u| and |u - û|; with less than that some of the best may be missed
    starts, wanting : of ``group``; a tile is read once for all who want it
    first_tile, next_tile : (clusters,) and (tiles,), the tiles of each cluster as a chain that ends with -1
    tiles : (tiles, D / AXES, TILE, AXES), codes + SHIFT of an item a column
    scales, biases, rows : (tiles, TILE), of each column; -inf is the bias of an empty one
    spans : (tiles, 2), the largest |v - v̂| and |v̂| of a tile
    highs, found, filled : (B, room), (B, room) and (B,), filled with the highest that each score can be, the rows, in
        no order, and how many there are; ``room`` is at least ``keep + 2 * TILE``
    """
    room = found.shape[1]
    lows = np.empty((len(users), room), np.float32)
    spares = (np.empty(keep, np.float32), np.empty(keep, np.int64))
    least = np.full(len(users), -np.inf, np.float32)
    scores, bounds = np.empty((TOGETHER, TILE), np.float32), np.empty(TOGETHER, np.float32)
    margins, above = np.empty(TOGETHER, np.float32), np.empty(TOGETHER, np.uint64)
    filled[:] = 0
    for cluster in range(len(first_tile)):
        first, end = starts[cluster], starts[cluster + 1]
        tile = first_tile[cluster] if first < end else -1
        while tile >= 0:
            at = first
            while at < end:
                together = TOGETHER if end - at >= TOGETHER else 1
                for number in range(together):
                    user = wanting[at + number]
                    margins[number] = reaches[user, 0] * spans[tile, 0] + reaches[user, 1] * spans[tile, 1]
                    bounds[number] = least[user] - margins[number]
                at_tile = (tiles[tile], scales[tile], biases[tile])
                if together == 1:
                    score_one(*at_tile, codes, offsets, user_scales, wanting, at, bounds, scores, above)
                else:
                    score_four(*at_tile, codes, offsets, user_scales, wanting, at, bounds, scores, above)
                for number in range(together):
                    columns = above[number]
                    if columns == 0:
                        continue
                    user = wanting[at + number]
                    place = filled[user]
                    while columns != 0:
                        column = lowest_bit(columns)
                        columns &= columns - np.uint64(1)
                        highs[user, place] = scores[number, column] + margins[number]
                        lows[user, place] = scores[number, column] - margins[number]
                        found[user, place] = rows[tile, column]
                        place += 1
                    if place > room - TILE:
                        buffer = (highs[user], lows[user], found[user])
                        place, least[user] = _tighten(
                            users[user], items, bias, *buffer, place, keep, least[user], *spares
                        )
                    filled[user] = place
                at += together
            tile = next_tile[tile]
    for user in range(len(users)):
        if filled[user] > keep:
            buffer = (highs[user], lows[user], found[user])
            filled[user], _ = _tighten(users[user], items, bias, *buffer, filled[user], keep, least[user], *spares)
        found[user, filled[user] :] = -1


@compiled(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], int32[:, ::1], float32[:, ::1], int64[::1], int64[:, ::1], "
    "float32[:, ::1], float32[:, ::1], int64[:, ::1])"
)
def choose(
    users: Float32Array,
    items: Float32Array,
    bias: Float32Array,
    found: Int32Array,
    highs: Float32Array,
    filled: Int64Array,
    changed_rows: Int64Array,
    amounts: Float32Array,
    best: Float32Array,
    chosen: Int64Array,
) -> None:
    """The best of what was found and of what is changed, by exact score; best first, -1 behind the last.

    Parameters
    ----------
    users : (B, d), times the score scale
    items, bias : (N, d) and (N,)
    found, highs, filled : of ``scan``
    changed_rows, amounts : (B, A), rows (-1 for none) and what is added to their scores; one may come twice
    best, chosen : (B, k), filled with scores and rows
    """
    k, a = chosen.shape[1], changed_rows.shape[1]
    for user in range(len(users)):
        scores, rows, c = best[user], chosen[user], filled[user]
        scores[:] = -np.inf
        rows[:] = -1
        # the likely best first: most of the rest is then out without an exact score
        likely = np.float32(np.inf)
        for place in range(c):
            likely = min(likely, highs[user, place])
        if c > k + a:
            likely = _reached(highs[user], c, k + a, likely)
        for turn in range(2):
            for place in range(c):
                row, high = int(found[user, place]), highs[user, place]
                # a search may already know rows that came after the snapshot
                if row >= len(bias) or (high >= likely) != (turn == 0):
                    continue
                change = np.float32(0.0)
                for number in range(a):
                    if changed_rows[user, number] == row:
                        change += amounts[user, number]
                if high + change > scores[0]:
                    score = _score(users[user], items, bias, row) + change
                    if score > scores[0]:
                        _replace_root(scores, rows, score, row)
        # what was not found may have been raised into the best
        for number in range(a):
            row = changed_rows[user, number]
            if row < 0 or row >= len(bias) or not amounts[user, number] > 0:
                continue
            known = False
            for place in range(c):
                known |= found[user, place] == row
            for earlier in range(number):
                known |= changed_rows[user, earlier] == row and amounts[user, earlier] > 0
            if known:
                continue
            score = _score(users[user], items, bias, row)
            for other in range(a):
                if changed_rows[user, other] == row:
                    score += amounts[user, other]
            if score > scores[0]:
                _replace_root(scores, rows, score, row)
        # the heap empties from its root, so the last place is filled first
        for last in range(k - 1, 0, -1):
            score, row = scores[last], rows[last]
            scores_left, rows_left = scores[:last], rows[:last]
            least, least_row = scores[0], rows[0]
            _replace_root(scores_left, rows_left, score, row)
            scores[last], rows[last] = least, least_row


@compiled(
    "void(int64[::1], int64[::1], int8[:, ::1], float32[::1], float32[::1], float32[::1], float32[::1], int64[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1], uint8[:, :, :, ::1], float32[:, ::1], float32[:, ::1], "
    "int32[:, ::1], float32[:, ::1], int64[::1])"
)
def place(
    new_rows: Int64Array,
    clusters: Int64Array,
    codes: Int8Array,
    vector_scales: Float32Array,
    lengths: Float32Array,
    errors: Float32Array,
    vector_biases: Float32Array,
    first_tile: Int64Array,
    next_tile: Int64Array,
    cluster_of: Int64Array,
    filled: Int64Array,
    used: Int64Array,
    tiles: UInt8Array,
    scales: Float32Array,
    biases: Float32Array,
    rows: Int32Array,
    spans: Float32Array,
    at: Int64Array,
) -> None:
    """Put ``new_rows`` (n,) into their ``clusters`` (n,) and take them out of where they were; -inf biases are hidden.

    ``at`` (N,) says in which column of which tile each row is (tile * TILE + column, -1 nowhere), ``cluster_of``
    (tiles,) whose a tile is, ``filled`` (tiles,) how many of its columns are taken, ``used`` (1,) how many tiles are.
    """
    for number in range(len(new_rows)):
        row, cluster = new_rows[number], clusters[number]
        hidden = not vector_biases[number] > -np.inf
        if at[row] >= 0:
            tile, column = at[row] // TILE, at[row] % TILE
            if hidden:
                biases[tile, column] = -np.inf  # its place waits for its return
            elif cluster_of[tile] != cluster:
                biases[tile, column] = -np.inf
                at[row] = -1
        if hidden:
            continue
        if at[row] < 0:
            tile = first_tile[cluster]
            if tile < 0 or filled[tile] == TILE:
                tile = used[0]
                used[0] += 1
                next_tile[tile] = first_tile[cluster]
                first_tile[cluster] = tile
                cluster_of[tile] = cluster
            at[row] = tile * TILE + filled[tile]
            filled[tile] += 1
        tile, column = at[row] // TILE, at[row] % TILE
        for axis in range(codes.shape[1]):
            tiles[tile, axis // AXES, column, axis % AXES] = codes[number, axis] + SHIFT
        scales[tile, column] = vector_scales[number]
        biases[tile, column] = vector_biases[number]
        rows[tile, column] = row
        spans[tile, 0] = max(spans[tile, 0], errors[number])
        spans[tile, 1] = max(spans[tile, 1], lengths[number] + errors[number])
