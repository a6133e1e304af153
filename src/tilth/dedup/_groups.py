"""Groups from verified pairs: greedy stars and connected components. Rows are counted in order of priority."""

from __future__ import annotations

import numpy as np

from tilth.text.kernel import kernel


@kernel
def direct(bounds, better, similarity, stands, how):
    """A row goes if a row before it that stays is paired with it; the first of those stands for it.

    The pairs of row `i` with better rows, ascending, lie at `bounds[i]` to `bounds[i + 1]`.
    """
    for row in range(len(stands)):
        stands[row] = row
        for at in range(bounds[row], bounds[row + 1]):
            other = better[at]
            if stands[other] == other:
                stands[row] = other
                how[row] = similarity[at]
                break


@kernel
def component(bounds, better, similarity, stands, how):
    """The first row of all that are connected stands for them.

    Gives for each row whether `how` is its similarity to that row; else it is that of the best pair it is in.
    """
    rows = len(stands)
    for row in range(rows):
        stands[row] = row
    for row in range(rows):
        for at in range(bounds[row], bounds[row + 1]):
            one, other = root(stands, row), root(stands, better[at])
            # The smaller number is the better row.
            stands[max(one, other)] = min(one, other)
    paired = np.zeros(rows, dtype=np.bool_)
    best = np.zeros(rows, dtype=np.float32)
    for row in range(rows):
        stands[row] = root(stands, row)
        for at in range(bounds[row], bounds[row + 1]):
            other = better[at]
            best[row] = max(best[row], similarity[at])
            best[other] = max(best[other], similarity[at])
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
