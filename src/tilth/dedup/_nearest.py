"""The nearest of a few vectors to each of many: every product computed, block by block, the closest ones exactly.

A matrix product in 32 bits rounds differently in blocks of different shapes. What comes within that rounding of the
best is computed again in 64 bits, so the answer does not depend on how the rows were cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.text.kernel import kernel

Vectors = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 1024
_OTHERS_AT_ONCE = 4096
_ROUNDING = 1e-5


def nearest(vectors: Vectors, others: Vectors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each vector the row of `others` with the largest inner product, and that product.

    Args:
        vectors: rows of length 1 or of zeros, shape `(n, d)`.
        others: rows of length 1, shape `(m, d)`.

    Returns:
        Rows of `others`, the first of equal ones, and products, both of shape `(n,)`; -1 and 0 for a row of zeros.
    """
    best = np.full(len(vectors), -1, dtype=np.int64)
    most = np.zeros(len(vectors))
    rows = np.flatnonzero(vectors.any(axis=1))
    most[rows] = -np.inf
    for lo in range(0, len(rows), _ROWS_AT_ONCE):
        here = rows[lo : lo + _ROWS_AT_ONCE]
        part = np.ascontiguousarray(vectors[here], dtype=np.float32)
        for first in range(0, len(others), _OTHERS_AT_ONCE):
            products = part @ others[first : first + _OTHERS_AT_ONCE].T
            least = np.maximum(products.max(axis=1), most[here]) - _ROUNDING
            near, other = np.nonzero(products >= least[:, None])
            _take_best(part, others, near, other + first, here, best, most)
    return best, most.astype(np.float32)


@kernel
def _take_best(part, others, near, other, here, best, most):
    for at in range(len(near)):
        total = 0.0
        for place in range(part.shape[1]):
            total += np.float64(part[near[at], place]) * np.float64(others[other[at], place])
        row = here[near[at]]
        if total > most[row] or (total == most[row] and other[at] < best[row]):
            most[row] = total
            best[row] = other[at]
