"""Where the texts of any rows lie in memory, so that a kernel reads them in any order and nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.frame import Frame, Rows
from tilth.text.mapped import MappedFiles
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
    held: object


class Texts:
    """The texts of one column of a frame, to be located by row."""

    def __init__(
        self, frame: Frame, column: str, copies: pa.ChunkedArray | None = None, of: Rows | None = None
    ) -> None:
        """The texts of a frame, or of some of its rows as copies in memory.

        Args:
            frame: the rows.
            column: the one that is read.
            copies: its values in the rows `of`.
            of: these rows, ascending.
        """
        self._frame, self._column, self._of = frame, column, of
        values = frame.dataset.data.table.column(column) if copies is None else copies
        plain = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        self._in_place = plain and (frame.dataset._indices is None or copies is not None)
        self._mapped: MappedFiles | None = None
        self._released = 0
        if self._in_place:
            self._held = values
            self._width = 8 if pa.types.is_large_string(values.type) else 4
            self._chunks = np.zeros((len(values.chunks), 4), dtype=np.int64)
            end = 0
            for number, chunk in enumerate(values.chunks):
                end += len(chunk)
                _, offsets, data = chunk.buffers()
                if len(chunk):
                    there, size = (data.address, data.size) if data is not None else (0, 0)
                    self._chunks[number, 1:] = offsets.address + self._width * chunk.offset, there, size
                self._chunks[number, 0] = end

    def at(self, rows: Rows) -> Located:
        """The texts of these rows, in any order."""
        if not self._in_place:
            distinct, place = np.unique(rows, return_inverse=True)
            text = strings_of(self._frame.take(self._column, distinct))
            return _in(text, place)
        from tilth.dedup._locate import locate

        if self._of is not None:
            real = np.searchsorted(self._of, rows)
        else:
            real = rows if self._frame.rows is None else self._frame.rows[rows]
        starts, sizes, limits = (np.empty(len(rows), dtype=np.int64) for _ in range(3))
        locate(self._chunks, self._width, real, starts, sizes, limits)
        return Located(starts, sizes, limits, self._held)

    def release(self, rows: int | None = None) -> None:
        """Give the memory of a mapped file back, of the chunks in which no row from `rows` on lies; of all if None."""
        if not self._in_place or self._of is not None:
            return
        if self._mapped is None:
            self._mapped = MappedFiles()
        if rows is None:
            first, last = 0, len(self._chunks)
        else:
            real = rows if self._frame.rows is None or rows >= len(self._frame) else int(self._frame.rows[rows])
            first, last = self._released, int(np.searchsorted(self._chunks[:, 0], real, side="right"))
            self._released = last
        for chunk in self._held.chunks[first:last]:
            for buffer in chunk.buffers()[1:]:
                if buffer is not None:
                    self._mapped.release(buffer.address, buffer.size)

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


def _in(text: Strings, place: Rows) -> Located:
    first = text.offsets[:-1][place]
    starts = text.data.ctypes.data + first
    return Located(starts, text.offsets[1:][place] - first, len(text.data) - first, text.data)
