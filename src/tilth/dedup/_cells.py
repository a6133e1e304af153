"""Main directions of vectors, what they bound, and cells around centres: the loops of `_space`."""

from __future__ import annotations

import numpy as np

from tilth.dedup._products import COLUMNS, ROWS, products, reaching
from tilth.text.bits import ones, trailing_zeros
from tilth.text.kernel import kernel

_HALVINGS = 14


@kernel
def add_up(rows, cells, sums):
    """Add each row to the sum of its cell."""
    for row in range(len(rows)):
        for place in range(rows.shape[1]):
            sums[cells[row], place] += rows[row, place]


@kernel
def orthonormal(rows):
    """The same space by orthonormal rows (Gram and Schmidt, twice); those that add nothing to it become zero."""
    found = rows.astype(np.float64)
    for row in range(len(found)):
        size = np.sqrt((found[row] ** 2).sum())
        for _ in range(2):
            for other in range(row):
                product = (found[row] * found[other]).sum()
                found[row] -= product * found[other]
        left = np.sqrt((found[row] ** 2).sum())
        if left > 1e-6 * size:
            found[row] /= left
        else:
            found[row] = 0
    return found.astype(np.float32)


@kernel
def bounded(coordinates, squares, slack, made):
    """The leading coordinates of each row, as many as there is room for in `made`, and what it has beyond them."""
    depth = made.shape[1] - 1
    for row in range(len(made)):
        rest = np.float64(squares[row])
        for place in range(depth):
            value = coordinates[row, place]
            made[row, place] = value
            rest -= np.float64(value) * np.float64(value)
        made[row, depth] = np.sqrt(max(rest, 0.0) + slack)


@kernel
def nearest_cells(coordinates, depth, panels, cells, probes):
    """For each row the cell whose centre is nearest, and then the others of those that are, in no order."""
    rows, stride = coordinates.shape
    x = coordinates.reshape(-1)
    starts = np.zeros(ROWS, dtype=np.int64)
    wanted = np.full(ROWS, -np.inf, dtype=np.float32)
    blocks = -(-cells // COLUMNS)
    scores = np.empty(blocks * ROWS * COLUMNS, dtype=np.float32)
    for row in range(0, rows, ROWS):
        for place in range(ROWS):
            starts[place] = min(row + place, rows - 1) * stride
        for block in range(blocks):
            products(x, starts, panels, block * depth * COLUMNS, depth, wanted, scores, block * ROWS * COLUMNS)
        for place in range(ROWS):
            for column in range(cells - (blocks - 1) * COLUMNS, COLUMNS):
                scores[((blocks - 1) * ROWS + place) * COLUMNS + column] = np.nan
        for place in range(min(ROWS, rows - row)):
            _largest(scores, place * COLUMNS, blocks, probes[row + place])


@kernel
def _largest(scores, at, blocks, chosen):
    """The places of the largest scores, the largest of all first; of nearly equal ones at the edge the first ones.

    Block `i` of the scores begins at `at + i * ROWS * COLUMNS`.
    """
    many = len(chosen)
    edge = np.float32(np.inf)
    low, high, guess, step = -edge, edge, np.float32(0), np.float32(0.5)
    for _ in range(_HALVINGS):
        count = 0
        for block in range(blocks):
            count += ones(reaching(scores, at + block * ROWS * COLUMNS, guess))
        if count < many:
            high = guess
            guess = np.float32(guess - step)
        else:
            low = guess
            guess = np.float32(guess + step)
        if count == many:
            break
        # Centres and rows have a length of at most one.
        step = np.float32(step / 2)
    taken = 0
    for least, most in ((high, edge), (low, high)):
        for block in range(blocks):
            begin = at + block * ROWS * COLUMNS
            bits = reaching(scores, begin, least) & ~reaching(scores, begin, most)
            while bits and taken < many:
                column = trailing_zeros(bits)
                bits &= bits - np.uint64(1)
                chosen[taken] = block * COLUMNS + column
                taken += 1
    best = 0
    for place in range(taken):
        if _score(scores, at, chosen[place]) > _score(scores, at, chosen[best]):
            best = place
    chosen[0], chosen[best] = chosen[best], chosen[0]


@kernel
def _score(scores, at, cell):
    return scores[at + cell // COLUMNS * ROWS * COLUMNS + cell % COLUMNS]
