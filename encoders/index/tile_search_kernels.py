"""Compiled loops of the search in tiles: quantise vectors, store items, scan for candidates, choose by exact score.

A candidate is an item that may be among the best. Bounds of the scores decide. Let û and v̂ be the vectors that the
int8 codes of a user u and an item v stand for. Then

    |u . v - û . v̂| = |u . (v - v̂) + (u - û) . v̂| <= |u| |v - v̂| + |u - û| |v̂|                    (Cauchy-Schwarz)

so an exact score differs from the score of the codes by no more than the right side. An item is no candidate if its
highest possible score is below the lowest possible scores of enough other items.
"""

import numpy as np

from encoders.arrays import Float32Array, Int8Array, Int32Array, Int64Array, UInt8Array
from encoders.compiled import compiled
from encoders.index.int8_tile_scores import AXES, SHIFT, TILE, TOGETHER, lowest_bit, score_four, score_one

ROOM = 5
"""Entries of a user's buffer for each item that the search asks for; a full buffer is cut."""
_STEPS = 20  # of bisection
_INT8 = np.float32(127.0)  # largest code


@compiled("void(float32[:, ::1], int8[:, ::1], float32[::1], float32[::1], float32[::1], int32[::1])")
def quantise(
    vectors: Float32Array,
    codes: Int8Array,
    scales: Float32Array,
    lengths: Float32Array,
    errors: Float32Array,
    offsets: Int32Array,
) -> None:
    """Write vectors v as ``scales * codes``, one byte an axis.

    Parameters
    ----------
    vectors : (n, D)
    codes : (n, D), filled
    scales : (n,), filled
    lengths : (n,), filled with |v|
    errors : (n,), filled with |v - scale * code|
    offsets : (n,), filled with -SHIFT times the sum of each row's codes: where a row is a user's, this cancels what the
        shift of the items' bytes adds to the user's scores
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
    """Replace the least entry of a binary heap, whose root is the least."""
    size = len(scores)
    node = 0
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        if child + 1 < size and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[node] = scores[child]
        rows[node] = rows[child]
        node = child
    scores[node] = score
    rows[node] = row


@compiled()
def _reached(scores: Float32Array, filled: int, keep: int, low: np.float32) -> np.float32:
    """Find a threshold that at least ``keep`` of the first ``filled`` scores reach, and hardly more of them.

    At least ``keep`` scores must reach ``low``.
    """
    # bisection, because each step counts with vector instructions; a quickselect or a heap goes score by score
    high = scores[0]
    for entry in range(filled):
        high = max(high, scores[entry])
    for _ in range(_STEPS):
        middle = np.float32(0.5) * low + np.float32(0.5) * high
        count = np.float32(0.0)  # a float: with an integer the loop takes twice the time
        for entry in range(filled):
            count += np.float32(1.0) if scores[entry] >= middle else np.float32(0.0)
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
def group(probed: Int32Array, starts: Int64Array, users: Int64Array) -> None:
    """Sort users by the inverted lists that they probe: fill ``users`` with rows of ``probed``, list by list.

    Parameters
    ----------
    probed : (B, p), the lists that each user probes, -1 for none
    starts : (lists + 1,), filled with the index in ``users`` where each list's users start
    users : (B * p,), filled
    """
    starts[:] = 0
    for user in range(len(probed)):
        for probe in probed[user]:
            starts[probe + 1] += probe >= 0
    for number in range(1, len(starts)):
        starts[number] += starts[number - 1]
    ends = starts[:-1].copy()
    for user in range(len(probed)):
        for probe in probed[user]:
            if probe >= 0:
                users[ends[probe]] = user
                ends[probe] += 1


@compiled()
def _tighten(
    user: Float32Array,
    items: Float32Array,
    bias: Float32Array,
    highs: Float32Array,
    lows: Float32Array,
    rows: Int32Array,
    filled: int,
    keep: int,
    least: np.float32,
    best: Float32Array,
    best_rows: Int64Array,
) -> tuple[int, np.float32]:
    """Drop the entries that can't be among the best ``keep``.

    Returns how many entries stay, and the score that another item has to reach. Where the bounds leave too many
    entries, exact scores replace them. ``best`` and ``best_rows`` (keep,) are working memory.
    """
    low = np.float32(np.inf)
    for entry in range(filled):
        low = min(low, lows[entry])
    least = _reached(lows, filled, keep, max(low, least))
    stay = 0
    for entry in range(filled):
        high, low, row = highs[entry], lows[entry], rows[entry]
        highs[stay], lows[stay], rows[stay] = high, low, row
        stay += high >= least
    if stay > len(highs) - TILE:
        best[:], best_rows[:] = -np.inf, -1
        for entry in range(stay):
            row = rows[entry]
            if row < len(bias):  # else the item came after the snapshot
                score = _score(user, items, bias, row)
                if score > best[0]:
                    _replace_root(best, best_rows, score, row)
        stay = 0
        for entry in range(keep):
            highs[stay], lows[stay], rows[stay] = best[entry], best[entry], best_rows[entry]
            stay += best_rows[entry] >= 0
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
    grouped: Int64Array,
    first_tile: Int64Array,
    next_tile: Int64Array,
    tiles: UInt8Array,
    scales: Float32Array,
    biases: Float32Array,
    rows: Int32Array,
    spans: Float32Array,
    keep: int,
    highs: Float32Array,
    candidates: Int32Array,
    counts: Int64Array,
) -> None:
    """Score the items of the lists that each user probes, and keep those that may be among the user's ``keep`` best.

    Parameters
    ----------
    users, items, bias : (B, d), (N, d) and (N,), for exact scores
    codes, offsets, user_scales : the users, as ``quantise`` writes them
    reaches : (B, 2), |u| and |u - û|; with smaller values some of the best items may be missed
    starts, grouped : users by list, as ``group`` writes them
    first_tile, next_tile : (lists,) and (tiles,), the tiles of each list as a chain that ends with -1
    tiles : (tiles, D / AXES, TILE, AXES), codes + SHIFT, an item a column
    scales, biases, rows : (tiles, TILE), of each column; an empty column has the bias -inf
    spans : (tiles, 2), the largest |v - v̂| and the largest |v̂| of each tile
    highs, candidates : (B, room), filled with the highest possible score and the row of each candidate, in no order;
        ``room`` is at least ``keep + 2 * TILE``
    counts : (B,), filled with how many candidates each user has
    """
    room = candidates.shape[1]
    lows = np.empty((len(users), room), np.float32)
    spares = (np.empty(keep, np.float32), np.empty(keep, np.int64))
    least = np.full(len(users), -np.inf, np.float32)
    scores, bounds = np.empty((TOGETHER, TILE), np.float32), np.empty(TOGETHER, np.float32)
    margins, above = np.empty(TOGETHER, np.float32), np.empty(TOGETHER, np.uint64)
    counts[:] = 0
    for number in range(len(first_tile)):
        first, end = starts[number], starts[number + 1]
        tile = first_tile[number] if first < end else -1
        while tile >= 0:
            # each tile is read once for all users of its list
            begin = first
            while begin < end:
                together = TOGETHER if end - begin >= TOGETHER else 1
                for lane in range(together):
                    user = grouped[begin + lane]
                    margins[lane] = reaches[user, 0] * spans[tile, 0] + reaches[user, 1] * spans[tile, 1]
                    bounds[lane] = least[user] - margins[lane]
                of_tile = (tiles[tile], scales[tile], biases[tile])
                if together == 1:
                    score_one(*of_tile, codes, offsets, user_scales, grouped, begin, bounds, scores, above)
                else:
                    score_four(*of_tile, codes, offsets, user_scales, grouped, begin, bounds, scores, above)
                for lane in range(together):
                    columns = above[lane]
                    if columns == 0:
                        continue
                    user = grouped[begin + lane]
                    count = counts[user]
                    while columns != 0:
                        column = lowest_bit(columns)
                        columns &= columns - np.uint64(1)
                        highs[user, count] = scores[lane, column] + margins[lane]
                        lows[user, count] = scores[lane, column] - margins[lane]
                        candidates[user, count] = rows[tile, column]
                        count += 1
                    if count > room - TILE:
                        buffer = (highs[user], lows[user], candidates[user])
                        count, least[user] = _tighten(
                            users[user], items, bias, *buffer, count, keep, least[user], *spares
                        )
                    counts[user] = count
                begin += together
            tile = next_tile[tile]
    for user in range(len(users)):
        if counts[user] > keep:
            buffer = (highs[user], lows[user], candidates[user])
            counts[user], _ = _tighten(users[user], items, bias, *buffer, counts[user], keep, least[user], *spares)
        candidates[user, counts[user] :] = -1


@compiled(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], int32[:, ::1], float32[:, ::1], int64[::1], int64[:, ::1], "
    "float32[:, ::1], float32[:, ::1], int64[:, ::1])"
)
def choose(
    users: Float32Array,
    items: Float32Array,
    bias: Float32Array,
    candidates: Int32Array,
    highs: Float32Array,
    counts: Int64Array,
    changed_rows: Int64Array,
    changes: Float32Array,
    best: Float32Array,
    chosen: Int64Array,
) -> None:
    """Choose the best of the candidates and of the items whose score is changed, by exact score.

    Parameters
    ----------
    users : (B, d), times the score scale
    items, bias : (N, d) and (N,)
    candidates, highs, counts : as ``scan`` writes them
    changed_rows, changes : (B, A), rows (-1 for none) and what is added to their scores; a row that comes twice gets
        both
    best, chosen : (B, k), filled with scores and rows, best first; behind the last item the row is -1
    """
    k, a = chosen.shape[1], changed_rows.shape[1]
    for user in range(len(users)):
        scores, rows, count = best[user], chosen[user], counts[user]
        scores[:] = -np.inf
        rows[:] = -1
        # the likely best go first: most other candidates then need no exact score
        likely = np.float32(np.inf)
        for candidate in range(count):
            likely = min(likely, highs[user, candidate])
        if count > k + a:
            likely = _reached(highs[user], count, k + a, likely)
        for turn in range(2):
            for candidate in range(count):
                row, high = int(candidates[user, candidate]), highs[user, candidate]
                # the tiles may already hold rows that came after the snapshot
                if row >= len(bias) or (high >= likely) != (turn == 0):
                    continue
                change = np.float32(0.0)
                for number in range(a):
                    if changed_rows[user, number] == row:
                        change += changes[user, number]
                if high + change > scores[0]:
                    score = _score(users[user], items, bias, row) + change
                    if score > scores[0]:
                        _replace_root(scores, rows, score, row)
        # an item that is no candidate may have been raised into the best
        for number in range(a):
            row = changed_rows[user, number]
            if row < 0 or row >= len(bias) or not changes[user, number] > 0:
                continue
            known = False
            for candidate in range(count):
                known |= candidates[user, candidate] == row
            for earlier in range(number):
                known |= changed_rows[user, earlier] == row and changes[user, earlier] > 0
            if known:
                continue
            score = _score(users[user], items, bias, row)
            for other in range(a):
                if changed_rows[user, other] == row:
                    score += changes[user, other]
            if score > scores[0]:
                _replace_root(scores, rows, score, row)
        # the heap empties from its root, so the output is filled from its end
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
def store_items(
    new_rows: Int64Array,
    lists: Int64Array,
    codes: Int8Array,
    vector_scales: Float32Array,
    lengths: Float32Array,
    errors: Float32Array,
    vector_biases: Float32Array,
    first_tile: Int64Array,
    next_tile: Int64Array,
    list_of: Int64Array,
    filled: Int64Array,
    used: Int64Array,
    tiles: UInt8Array,
    scales: Float32Array,
    biases: Float32Array,
    rows: Int32Array,
    spans: Float32Array,
    columns: Int64Array,
) -> None:
    """Store items in tiles of their lists, and hide the columns that they had in other lists.

    Parameters
    ----------
    new_rows, lists : (n,), rows of the items and the list that each belongs to
    codes, vector_scales, lengths, errors : the items, as ``quantise`` writes them
    vector_biases : (n,); an item with the bias -inf is hidden
    first_tile, next_tile, tiles, scales, biases, rows, spans : as in ``scan``, changed
    list_of : (tiles,), the list that each tile belongs to, changed
    filled : (tiles,), how many columns of each tile are taken, changed
    used : (1,), how many tiles are taken, changed
    columns : (N,), where each row is: tile * TILE + column, or -1 for nowhere; changed
    """
    for number in range(len(new_rows)):
        row, own_list = new_rows[number], lists[number]
        hidden = not vector_biases[number] > -np.inf
        if columns[row] >= 0:
            tile, column = columns[row] // TILE, columns[row] % TILE
            if hidden:
                biases[tile, column] = -np.inf  # the column is kept for the item's return
            elif list_of[tile] != own_list:
                biases[tile, column] = -np.inf
                columns[row] = -1
        if hidden:
            continue
        if columns[row] < 0:
            tile = first_tile[own_list]
            if tile < 0 or filled[tile] == TILE:
                tile = used[0]
                used[0] += 1
                next_tile[tile] = first_tile[own_list]
                first_tile[own_list] = tile
                list_of[tile] = own_list
            columns[row] = tile * TILE + filled[tile]
            filled[tile] += 1
        tile, column = columns[row] // TILE, columns[row] % TILE
        for axis in range(codes.shape[1]):
            tiles[tile, axis // AXES, column, axis % AXES] = codes[number, axis] + SHIFT
        scales[tile, column] = vector_scales[number]
        biases[tile, column] = vector_biases[number]
        rows[tile, column] = row
        spans[tile, 0] = max(spans[tile, 0], errors[number])
        spans[tile, 1] = max(spans[tile, 1], lengths[number] + errors[number])
