"""Rows with equal digests, found in time that follows their number and with twelve bytes a row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.frame import Rows
from tilth.text.kernel import kernel

_PART_ROWS = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fold(digests: npt.NDArray[np.uint64], order: Rows | None = None) -> Rows:
    """For each row the first row with the same digest.

    Args:
        digests: of 128 bits, shape `(n, 2)`.
        order: the rows that count, in the order that says which is first; all of them as they come when None.

    Returns:
        Places in `order`, shape `(len(order),)`.
    """
    order = np.arange(len(digests), dtype=np.int64) if order is None else order
    first_of = np.empty(len(order), dtype=np.int64)
    _fold(digests, order, max(0, int(len(order) // _PART_ROWS).bit_length()), first_of)
    return first_of


@kernel
def _fold(digests, order, parts, first_of):
    rows = len(order)
    # Parts by the high bits of the digests: each has a hash table that fits into the cache.
    shift = np.uint64(63 - parts)
    ends = np.zeros((1 << parts) + 1, dtype=np.int64)
    for at in range(rows):
        ends[np.int64((digests[order[at], 0] >> shift) >> np.uint64(1)) + 1] += 1
    most = ends.max()
    for part in range(1 << parts):
        ends[part + 1] += ends[part]
    parted = np.empty(rows, dtype=np.int32)
    keys = np.empty(rows, dtype=np.uint64)
    place = ends[:-1].copy()
    for at in range(rows):
        key = digests[order[at], 0]
        into = np.int64((key >> shift) >> np.uint64(1))
        parted[place[into]] = at
        keys[place[into]] = key
        place[into] += 1
    bits = 4
    while (1 << bits) < 2 * most:
        bits += 1
    table = np.empty(1 << bits, dtype=np.int32)
    for part in range(1 << parts):
        first, last = ends[part], ends[part + 1]
        here = 4
        while (1 << here) < 2 * (last - first):
            here += 1
        mask = np.uint64((1 << here) - 1)
        for slot in range(1 << here):
            table[slot] = -1
        for at in range(first, last):
            row = parted[at]
            slot = (keys[at] * _GOLDEN) >> np.uint64(64 - here)
            while True:
                other = table[slot]
                if other < 0:
                    table[slot] = at - first
                    first_of[row] = row
                    break
                if keys[first + other] == keys[at]:
                    found = parted[first + other]
                    if digests[order[found], 1] == digests[order[row], 1]:
                        first_of[row] = found
                        break
                slot = (slot + np.uint64(1)) & mask
