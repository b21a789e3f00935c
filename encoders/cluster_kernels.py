"""The loops of the candidate search: choose clusters, scan their tiles, score what was found exactly.

The best of few are kept in a heap (binary, the root is the least), the best of many in a buffer that is cut when full.
"""

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled

Codes = NDArray[np.int8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

TILE = 64
"""Items that are scanned together: four AVX-512 registers of scores."""
AXES = 8
"""Dimensions are padded to a multiple of this."""
_BUFFERS = 3  # times what is looked for


@compiled()
def _replace_root(scores: Floats, rows: Ints, score: np.float32, row: int) -> None:
    """Put an entry in the place of the least of a heap."""
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
def _part(scores: Floats, rows: Ints, low: int, high: int, bound: np.float32, lesser: Floats, lesser_rows: Ints) -> int:
    """Move what is above ``bound`` to the front of ``low`` to ``high``; returns where the rest starts.

    No branch hangs on a score: a processor would guess it wrong every other time.
    """
    at, other = low, 0
    for place in range(low, high):
        score, row = scores[place], rows[place]
        lesser[other], lesser_rows[other] = score, row
        scores[at], rows[at] = score, row
        above = score > bound
        at += above
        other += not above
    for place in range(other):
        scores[at + place], rows[at + place] = lesser[place], lesser_rows[place]
    return at


@compiled()
def _cut(scores: Floats, rows: Ints, filled: int, keep: int, spare: Floats, spare_rows: Ints) -> np.float32:
    """Move the ``keep`` largest of ``filled`` entries to the front (quickselect); returns the least of them."""
    low, high = 0, filled
    while low < keep < high:
        first, middle, last = scores[low], scores[(low + high) // 2], scores[high - 1]
        pivot = max(min(first, middle), min(max(first, middle), last))
        at = _part(scores, rows, low, high, pivot, spare, spare_rows)
        if at == low:  # nothing is above it: it is the largest, perhaps many times over
            at = _part(scores, rows, low, high, np.nextafter(pivot, np.float32(-np.inf)), spare, spare_rows)
            if at >= keep:
                break
            low = at
        elif at > keep:
            high = at
        else:
            low = at
    least: np.float32 = scores[0]
    for place in range(1, keep):
        least = min(least, scores[place])
    return least


@compiled("void(int64[:, ::1], int64[::1], int64[::1])")
def group(places: Ints, starts: Ints, users: Ints) -> None:
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
def _score_tile(user: Floats, vectors: Floats, scales: Floats, biases: Floats, scores: Floats) -> None:
    """``scores = user @ vectors * scales + biases``, all of TILE columns."""
    for column in range(TILE):
        scores[column] = np.float32(0.0)
    # eight axes a pass: with one, each pass would wait until the sums of the last are stored
    for axis in range(0, len(user), AXES):
        w0, w1, w2, w3 = user[axis], user[axis + 1], user[axis + 2], user[axis + 3]
        w4, w5, w6, w7 = user[axis + 4], user[axis + 5], user[axis + 6], user[axis + 7]
        for column in range(TILE):
            scores[column] += (
                (w0 * vectors[axis, column] + w1 * vectors[axis + 1, column])
                + (w2 * vectors[axis + 2, column] + w3 * vectors[axis + 3, column])
            ) + (
                (w4 * vectors[axis + 4, column] + w5 * vectors[axis + 5, column])
                + (w6 * vectors[axis + 6, column] + w7 * vectors[axis + 7, column])
            )
    for column in range(TILE):
        scores[column] = scores[column] * scales[column] + biases[column]


@compiled("void(float32[:, ::1], float32[:, :, ::1], float32[:, ::1], int64[:, ::1])")
def nearest(users: Floats, centroids: Floats, biases: Floats, places: Ints) -> None:
    """The clusters with the largest scores.

    Parameters
    ----------
    users : (B, D), D the padded dimension
    centroids : (tiles, D, TILE), a centroid a column
    biases : (tiles, TILE), -inf of an empty column
    places : (B, p), is filled with numbers of clusters, in no order; p is at most as many as there are
    """
    best = np.full(places.shape, -np.inf, np.float32)
    scores, ones = np.empty(TILE, np.float32), np.ones(TILE, np.float32)
    for tile in range(len(centroids)):
        for user in range(len(users)):
            _score_tile(users[user], centroids[tile], ones, biases[tile], scores)
            for column in range(TILE):
                if scores[column] > best[user, 0]:
                    _replace_root(best[user], places[user], scores[column], tile * TILE + column)


@compiled(
    "void(float32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int8[:, :, ::1], float32[:, ::1], "
    "float32[:, ::1], int64[:, ::1], int64[:, ::1])"
)
def scan(
    users: Floats,
    starts: Ints,
    wanting: Ints,
    first_tile: Ints,
    next_tile: Ints,
    tiles: Codes,
    scales: Floats,
    biases: Floats,
    rows: Ints,
    found: Ints,
) -> None:
    """Score the items of the clusters that each user wants and keep the best of them; a tile is read once for all.

    Parameters
    ----------
    users : (B, D), D the padded dimension
    starts, wanting : of ``group``
    first_tile, next_tile : (clusters,) and (tiles,), the tiles of each cluster as a chain that ends with -1
    tiles : (tiles, D, TILE), int8 vectors, an item a column
    scales, biases, rows : (tiles, TILE), of each column; -inf is the bias of an empty one
    found : (B, c), is filled with rows, in no order, -1 where there are fewer
    """
    dimension, count = users.shape[1], found.shape[1]
    scores = np.empty(TILE, np.float32)
    vectors = np.empty((dimension, TILE), np.float32)
    room = _BUFFERS * count + TILE
    best = np.empty((len(users), room), np.float32)
    best_rows = np.empty((len(users), room), np.int64)
    spare, spare_rows = np.empty(room, np.float32), np.empty(room, np.int64)
    filled = np.zeros(len(users), np.int64)
    least = np.full(len(users), -np.inf, np.float32)
    for cluster in range(len(first_tile)):
        if starts[cluster] == starts[cluster + 1]:
            continue
        tile = first_tile[cluster]
        while tile >= 0:
            for axis in range(dimension):
                for column in range(TILE):
                    vectors[axis, column] = np.float32(tiles[tile, axis, column])
            for place in range(starts[cluster], starts[cluster + 1]):
                user = wanting[place]
                _score_tile(users[user], vectors, scales[tile], biases[tile], scores)
                at, bound = filled[user], least[user]
                for column in range(TILE):
                    if scores[column] > bound:
                        best[user, at] = scores[column]
                        best_rows[user, at] = rows[tile, column]
                        at += 1
                if at > room - TILE:
                    least[user] = _cut(best[user], best_rows[user], at, count, spare, spare_rows)
                    at = count
                filled[user] = at
            tile = next_tile[tile]
    for user in range(len(users)):
        at = filled[user]
        if at > count:
            _cut(best[user], best_rows[user], at, count, spare, spare_rows)
            at = count
        found[user, :at] = best_rows[user, :at]
        found[user, at:] = -1


@compiled(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], int64[:, ::1], int64[:, ::1], float32[:, ::1], "
    "float32[:, ::1], int64[:, ::1])"
)
def choose(
    users: Floats,
    items: Floats,
    bias: Floats,
    found: Ints,
    changed_rows: Ints,
    amounts: Floats,
    best: Floats,
    chosen: Ints,
) -> None:
    """The best of what was found and of what is changed, by exact score; best first, -1 behind the last.

    Parameters
    ----------
    users : (B, d), times the score scale
    items, bias : (N, d) and (N,)
    found : (B, c), rows, -1 for none, each once
    changed_rows, amounts : (B, A), rows (-1 for none) and what is added to their scores; one may come twice
    best, chosen : (B, k), filled with scores and rows
    """
    dimension, k = users.shape[1], chosen.shape[1]
    c, a = found.shape[1], changed_rows.shape[1]
    for user in range(len(users)):
        scores, rows = best[user], chosen[user]
        scores[:] = -np.inf
        rows[:] = -1
        for place in range(c + a):
            if place < c:
                row = found[user, place]
            else:
                # what was not found may have been raised into the best
                row = changed_rows[user, place - c]
                if amounts[user, place - c] <= 0:
                    continue
                for earlier in range(c):
                    if found[user, earlier] == row:
                        row = -1
                for earlier in range(place - c):
                    if changed_rows[user, earlier] == row and amounts[user, earlier] > 0:
                        row = -1
            if row < 0:
                continue
            score = bias[row]
            for axis in range(dimension):
                score += users[user, axis] * items[row, axis]
            for change in range(a):
                if changed_rows[user, change] == row:
                    score += amounts[user, change]
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
    "void(int64[::1], int64[::1], int8[:, ::1], float32[::1], float32[::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], int8[:, :, ::1], float32[:, ::1], float32[:, ::1], int64[:, ::1], int64[::1])"
)
def place(
    new_rows: Ints,
    clusters: Ints,
    vectors: Codes,
    vector_scales: Floats,
    vector_biases: Floats,
    first_tile: Ints,
    next_tile: Ints,
    filled: Ints,
    used: Ints,
    tiles: Codes,
    scales: Floats,
    biases: Floats,
    rows: Ints,
    at: Ints,
) -> None:
    """Take ``new_rows`` (n,) out of where they are and put them into their ``clusters`` (n,); -1 puts them nowhere.

    ``at`` (N,) says in which column of which tile each row is (tile * TILE + column, -1 nowhere), ``filled`` (tiles,)
    how many columns of a tile are taken, ``used`` (1,) how many tiles.
    """
    for number in range(len(new_rows)):
        row = new_rows[number]
        if at[row] >= 0:
            tile, column = at[row] // TILE, at[row] % TILE
            biases[tile, column] = -np.inf
            rows[tile, column] = -1
            at[row] = -1
        cluster = clusters[number]
        if cluster < 0:
            continue
        tile = first_tile[cluster]
        if tile < 0 or filled[tile] == TILE:
            tile = used[0]
            used[0] += 1
            next_tile[tile] = first_tile[cluster]
            first_tile[cluster] = tile
        column = filled[tile]
        filled[tile] += 1
        for axis in range(vectors.shape[1]):
            tiles[tile, axis, column] = vectors[number, axis]
        scales[tile, column] = vector_scales[number]
        biases[tile, column] = vector_biases[number]
        rows[tile, column] = row
        at[row] = tile * TILE + column
