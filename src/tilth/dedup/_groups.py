"""Groups from verified pairs: greedy stars and connected components. Rows are counted in order of priority."""

from __future__ import annotations

import numpy as np

from tilth.text.kernel import kernel


@kernel
def by_worse(one, other, similarity, rows):
    """Pairs by the worse row of each: those of row `i` lie at `bounds[i]` to `bounds[i + 1]`.

    Gives the bounds, the better row of each pair and its similarity.
    """
    bounds = np.zeros(rows + 2, dtype=np.int64)
    for at in range(len(one)):
        bounds[max(one[at], other[at]) + 2] += 1
    for row in range(rows):
        bounds[row + 2] += bounds[row + 1]
    better = np.empty(len(one), dtype=np.int64)
    values = np.empty(len(one), dtype=np.float32)
    for at in range(len(one)):
        worse = max(one[at], other[at])
        place = bounds[worse + 1]
        bounds[worse + 1] += 1
        better[place] = min(one[at], other[at])
        values[place] = similarity[at]
    return bounds[: rows + 1], better, values


@kernel
def direct(bounds, better, similarity, stands, how):
    """A row goes if a row before it that stays is paired with it; the first of those stands for it.

    `stands` is each row's own number at first.
    """
    for row in range(len(stands)):
        first = row
        for at in range(bounds[row], bounds[row + 1]):
            other = better[at]
            if other < first and stands[other] == other:
                first = other
                how[row] = similarity[at]
        stands[row] = first


@kernel
def component(bounds, better, similarity, stands, how):
    """The first row of all that are connected stands for them; `stands` is each row's own number at first.

    Gives for each row whether `how` is its similarity to that row; else it is that of the best pair it is in.
    """
    rows = len(stands)
    for row in range(rows):
        for at in range(bounds[row], bounds[row + 1]):
            one, other = root(stands, row), root(stands, better[at])
            # The smaller number is the better row.
            stands[max(one, other)] = min(one, other)
    best = np.zeros(rows, dtype=np.float32)
    for row in range(rows):
        stands[row] = root(stands, row)
        for at in range(bounds[row], bounds[row + 1]):
            other = better[at]
            best[row] = max(best[row], similarity[at])
            best[other] = max(best[other], similarity[at])
    paired = np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        if stands[row] == row:
            paired[row] = True
            how[row] = 1
            continue
        how[row] = best[row]
        for at in range(bounds[row], bounds[row + 1]):
            if better[at] == stands[row]:
                how[row] = similarity[at]
                paired[row] = True
    return paired


@kernel
def root(stands, row):
    """The first row that `row` is connected with; paths are halved on the way."""
    while stands[row] != row:
        stands[row] = stands[stands[row]]
        row = stands[row]
    return row
