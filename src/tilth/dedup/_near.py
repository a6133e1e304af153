"""Vectors whose cosine reaches a threshold: candidates by products that bound it from above, each one verified.

A row is given by its coordinates along a few directions and by what it has beyond them as one number more. The product
of two such rows is never less than that of the whole vectors (Cauchy and Schwarz), so what it leaves out needs no
second look. Rows are counted by rank, the best one first; `order` has the vector of each.
"""

from __future__ import annotations

import numpy as np

from tilth.dedup._products import COLUMNS, ROWS, exact_product, products, put
from tilth.text.kernel import kernel

FIRST, CONNECT, ALL = 0, 1, 2
"""What is looked for: the first similar row, one similar row of each group, or all of them."""

_CHUNK = 256
_TILE = 32
"""Panels that are multiplied with all rows of a chunk before the next ones: so many fit into the cache."""
_REMEMBERED = 8


@kernel
def squares_of(vectors, squares):
    """The product of each vector with itself, made as `cosine` makes products."""
    rows, dims = vectors.shape
    flat = vectors.reshape(-1)
    for row in range(rows):
        squares[row] = exact_product(flat, row * dims, flat, row * dims, dims)


@kernel
def cosine(vectors, squares, one, other):
    """The cosine of two vectors, 1 where they are equal."""
    dims = vectors.shape[1]
    flat = vectors.reshape(-1)
    product = exact_product(flat, one * dims, flat, other * dims, dims)
    return min(1.0, product / np.sqrt(squares[one] * squares[other]))


@kernel
def cosines(vectors, squares, one, other, found):
    """The cosines of pairs of vectors."""
    for pair in range(len(one)):
        found[pair] = cosine(vectors, squares, one[pair], other[pair])


@kernel
def enter(ranks, rows, cells, store):
    """Put rows into the panels of their cells."""
    panels, numbers, following, first, last, filled, used = store
    for at in range(len(ranks)):
        cell = cells[at]
        column = filled[cell] % COLUMNS
        if column == 0:
            fresh = used[0]
            used[0] += 1
            following[fresh] = -1
            if filled[cell] == 0:
                first[cell] = fresh
            else:
                following[last[cell]] = fresh
            last[cell] = fresh
        place = last[cell] * COLUMNS + column
        put(rows[at], panels, place)
        numbers[place] = ranks[at]
        filled[cell] += 1


@kernel
def by_cell(probes, cells):
    """Which rows look into which cell: their places in `probes`, flat, cell by cell, and where each cell begins."""
    bounds = np.zeros(cells + 2, dtype=np.int64)
    flat = probes.reshape(-1)
    for at in range(len(flat)):
        bounds[flat[at] + 2] += 1
    for cell in range(cells):
        bounds[cell + 2] += bounds[cell + 1]
    places = np.empty(len(flat), dtype=np.int64)
    for at in range(len(flat)):
        places[bounds[flat[at] + 1]] = at
        bounds[flat[at] + 1] += 1
    return places, bounds[: cells + 1]


@kernel
def search(what, x, depth, probed, places, bounds, lo, hi, store, space, least, threshold, ranks, stands, first, how):
    """Compare rows with those in the cells they look into: the part `lo` to `hi` of `places`.

    Args:
        what: `FIRST` writes to `first` and `how`, flat as `places` counts; the others give back the pairs.
        x: the rows, flat.
        depth: numbers in a row.
        probed: cells that a row looks into.
        places: as `by_cell` gives them.
        bounds: likewise.
        lo: where to begin.
        hi: where to end.
        store: as `enter` fills it.
        space: vectors, their squares, and the vector of each rank.
        least: what a product must reach for the pair to be verified.
        threshold: what the cosine must reach.
        ranks: of the rows.
        stands: for each rank one that is connected with it, itself at the root; not used unless `what` is `CONNECT`.
        first: the first similar rank, -1 where there is none.
        how: its cosine.

    Returns:
        Ranks and cosines of pairs: those that are similar, or enough of them to connect what is.
    """
    panels, numbers, following, begins, _, filled, _ = store
    vectors, squares, order = space
    live = np.empty(_CHUNK, dtype=np.int64)
    tile = np.empty(_TILE, dtype=np.int64)
    starts = np.zeros(ROWS, dtype=np.int64)
    wanted = np.empty(ROWS, dtype=np.float32)
    out = np.empty(ROWS * COLUMNS, dtype=np.float32)
    known = np.empty((_CHUNK, _REMEMBERED), dtype=np.int64)
    knows = np.zeros(_CHUNK, dtype=np.int64)
    one, other, similar = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.float32)
    pairs = 0
    cell = np.searchsorted(bounds, lo, side="right") - 1
    at = lo
    while at < hi:
        while bounds[cell + 1] <= at:
            cell += 1
        end = min(hi, bounds[cell + 1], at + _CHUNK)
        many = end - at
        live[:many] = places[at:end]
        knows[:] = 0
        panel, before = begins[cell] if filled[cell] else -1, 0
        while panel >= 0 and many:
            tiles = 0
            while panel >= 0 and tiles < _TILE:
                tile[tiles] = panel
                tiles += 1
                panel = following[panel]
            for group in range(0, many, ROWS):
                waiting = min(ROWS, many - group)
                for place in range(ROWS):
                    starts[place] = live[min(group + place, many - 1)] // probed * depth
                    wanted[place] = least if place < waiting else np.inf
                for number in range(tiles):
                    if not products(x, starts, panels, tile[number] * depth * COLUMNS, depth, wanted, out, 0):
                        continue
                    width = min(COLUMNS, filled[cell] - before - number * COLUMNS)
                    for place in range(min(ROWS, many - group)):
                        if wanted[place] == np.inf:
                            continue
                        mine = live[group + place]
                        rank = ranks[mine // probed]
                        for column in range(width):
                            if not out[place * COLUMNS + column] >= least:
                                continue
                            theirs = numbers[tile[number] * COLUMNS + column]
                            if what == CONNECT:
                                group_of = _top(stands, theirs)
                                if _holds(known[group + place], knows[group + place], group_of):
                                    continue
                            value = cosine(vectors, squares, order[rank], order[theirs])
                            if value < threshold:
                                continue
                            if what == FIRST:
                                first[mine], how[mine] = theirs, value
                                wanted[place] = np.inf
                                waiting -= 1
                                break
                            if what == CONNECT:
                                known[group + place, knows[group + place] % _REMEMBERED] = group_of
                                knows[group + place] += 1
                            if pairs == len(one):
                                one, other, similar = _longer(one), _longer(other), _longer(similar)
                            one[pairs], other[pairs], similar[pairs] = rank, theirs, value
                            pairs += 1
                    if what == FIRST and waiting == 0:
                        break
            before += tiles * COLUMNS
            if what == FIRST:
                left = 0
                for place in range(many):
                    if first[live[place]] < 0:
                        live[left] = live[place]
                        left += 1
                many = left
        at = end
    return one[:pairs], other[:pairs], similar[:pairs]


@kernel
def within(what, rows, space, least, threshold, ranks, stands, how):
    """Compare neighbouring rows, given as in `search`, with each other.

    `FIRST` sets `stands` and `how` of a rank for which an earlier one of these stands that stays itself, as
    `CONNECT` sets `stands` to the first of all that are connected; `ALL` gives back the pairs.
    """
    vectors, squares, order = space
    many, depth = rows.shape
    panels = np.zeros(-(-many // COLUMNS) * COLUMNS * depth, dtype=np.float32)
    for at in range(many):
        put(rows[at], panels, at)
    x = rows.reshape(-1)
    starts = np.zeros(ROWS, dtype=np.int64)
    wanted = np.empty(ROWS, dtype=np.float32)
    out = np.empty(ROWS * COLUMNS, dtype=np.float32)
    one, other, similar = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.float32)
    pairs = 0
    for group in range(0, many, ROWS):
        for place in range(ROWS):
            starts[place] = min(group + place, many - 1) * depth
            wanted[place] = least if group + place < many else np.inf
        for begin in range(0, group + ROWS, COLUMNS):
            if not products(x, starts, panels, begin * depth, depth, wanted, out, 0):
                continue
            for place in range(min(ROWS, many - group)):
                if wanted[place] == np.inf:
                    continue
                rank = ranks[group + place]
                for column in range(min(COLUMNS, group + place - begin)):
                    if not out[place * COLUMNS + column] >= least:
                        continue
                    theirs = ranks[begin + column]
                    if what == FIRST and stands[theirs] != theirs:
                        continue
                    if what == CONNECT and _top(stands, rank) == _top(stands, theirs):
                        continue
                    value = cosine(vectors, squares, order[rank], order[theirs])
                    if value < threshold:
                        continue
                    if what == FIRST:
                        stands[rank], how[rank] = theirs, value
                        wanted[place] = np.inf
                        break
                    if what == CONNECT:
                        join(stands, rank, theirs)
                        continue
                    if pairs == len(one):
                        one, other, similar = _longer(one), _longer(other), _longer(similar)
                    one[pairs], other[pairs], similar[pairs] = rank, theirs, value
                    pairs += 1
    return one[:pairs], other[:pairs], similar[:pairs]


@kernel
def join_all(stands, one, other):
    """Connect pairs of ranks."""
    for pair in range(len(one)):
        join(stands, one[pair], other[pair])


@kernel
def join(stands, one, other):
    """Connect two ranks; the better of their roots becomes that of both."""
    first, second = _top(stands, one), _top(stands, other)
    root = min(first, second)
    stands[max(first, second)] = root
    # Whoever was passed on the way is brought nearer to the root.
    for start in (one, other):
        row = start
        while stands[row] != root and row != root:
            stands[row], row = root, stands[row]


@kernel
def flatten(stands):
    """Each rank's root in its place."""
    for row in range(len(stands)):
        # A root is never behind its row.
        stands[row] = stands[stands[row]]


@kernel
def _top(stands, row):
    while stands[row] != row:
        row = stands[row]
    return row


@kernel
def _holds(known, knows, group):
    found = False
    for place in range(min(knows, len(known))):
        found |= known[place] == group
    return found


@kernel
def _longer(values):
    more = np.empty(2 * len(values), dtype=values.dtype)
    more[: len(values)] = values
    return more
