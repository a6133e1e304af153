"""Addresses of the texts of rows, read off the offsets of the chunks that they lie in."""

from __future__ import annotations

import numpy as np

from tilth.text.bits import eight_at, four_at
from tilth.text.kernel import kernel


@kernel
def locate(chunks, width, rows, starts, sizes, limits):
    """For each row the address of its text, its bytes, and the bytes that can be read from there on.

    Args:
        chunks: for each chunk the row after its last, the addresses of its offsets and of its data, and the size of
            the data, shape `(chunks, 4)`.
        width: bytes of an offset, 4 or 8.
        rows: shape `(n,)`.
        starts: filled, shape `(n,)`, as are `sizes` and `limits`.
    """
    for at in range(len(rows)):
        row = rows[at]
        low, high = 0, len(chunks)
        while low < high:
            middle = (low + high) // 2
            if chunks[middle, 0] <= row:
                low = middle + 1
            else:
                high = middle
        place = row - (chunks[low - 1, 0] if low > 0 else 0)
        offsets = chunks[low, 1] + width * place
        if width == 8:
            first, last = np.int64(eight_at(offsets, 0)), np.int64(eight_at(offsets, 8))
        else:
            first, last = np.int64(four_at(offsets, 0)), np.int64(four_at(offsets, 4))
        starts[at] = chunks[low, 2] + first
        sizes[at] = last - first
        limits[at] = chunks[low, 3] - first
