"""Where the texts of any rows lie in memory, so that a kernel reads them in any order and nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.frame import Frame, Rows
from tilth.text.strings import Strings, strings_of

Addresses = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Located:
    """`n` texts by their addresses.

    Attributes:
        starts: the address of the first byte of each, shape `(n,)`.
        sizes: bytes of each, shape `(n,)`.
        limits: bytes that can be read from each start on, shape `(n,)`.
        held: what the memory belongs to.
    """

    starts: Addresses
    sizes: Addresses
    limits: Addresses
    held: tuple[object, ...]


class Texts:
    """The texts of one column of a frame, to be located by row."""

    def __init__(self, frame: Frame, column: str) -> None:
        self._frame, self._column = frame, column
        self._chunks: list[Strings] = []
        values = frame.dataset.data.table.column(column)
        plain = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        self._in_place = plain and frame.dataset._indices is None
        if self._in_place:
            self._ends = np.cumsum([len(chunk) for chunk in values.chunks], dtype=np.int64)
            self._values = values.chunks

    def at(self, rows: Rows) -> Located:
        """The texts of these rows, in any order."""
        if not self._in_place:
            distinct, place = np.unique(rows, return_inverse=True)
            text = strings_of(self._frame.take(self._column, distinct))
            return _in(text, place)
        frame = self._frame
        real = rows if frame.rows is None else frame.rows[rows]
        chunk_of = np.searchsorted(self._ends, real, side="right")
        starts, sizes, limits = (np.empty(len(rows), dtype=np.int64) for _ in range(3))
        held: list[object] = []
        for number in np.unique(chunk_of):
            here = np.flatnonzero(chunk_of == number)
            chunk = self._values[number]
            found = _bounds(chunk, real[here] - (self._ends[number] - len(chunk)))
            starts[here], sizes[here], limits[here] = found
            held.append(chunk)
        return Located(starts, sizes, limits, tuple(held))

    def sizes(self, rows: Rows) -> Addresses:
        """Bytes of the texts of these rows; of a column that has to be read for it, the mean of all."""
        if self._in_place:
            return self.at(rows).sizes
        data = self._frame.dataset.data
        return np.full(len(rows), data.nbytes // max(1, data.num_rows), dtype=np.int64)


def cuts(sizes: Rows, most_bytes: int, most: int) -> Iterator[tuple[int, int]]:
    """Where to cut items of these sizes into parts of bounded bytes and count; a part has one item at least."""
    ends = np.cumsum(sizes)
    lo = 0
    while lo < len(sizes):
        before = int(ends[lo - 1]) if lo else 0
        fits = int(np.searchsorted(ends, before + most_bytes, side="right"))
        hi = min(max(fits, lo + 1), lo + most)
        yield lo, hi
        lo = hi


def _bounds(chunk: pa.Array, places: Rows) -> tuple[Addresses, Addresses, Addresses]:
    """Address, size and readable bytes of the texts at these places of one array."""
    _, offsets, data = chunk.buffers()
    if offsets is None or data is None:
        nothing = np.zeros(len(places), dtype=np.int64)
        return nothing, nothing, nothing
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    bounds = np.frombuffer(offsets, dtype=width)
    first = bounds[places + chunk.offset].astype(np.int64)
    last = bounds[places + chunk.offset + 1].astype(np.int64)
    return data.address + first, last - first, data.size - first


def _in(text: Strings, place: Rows) -> Located:
    first = text.offsets[:-1][place]
    starts = text.data.ctypes.data + first
    return Located(starts, text.offsets[1:][place] - first, len(text.data) - first, (text.data,))
