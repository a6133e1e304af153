"""Rows as vectors: those that say something, each text once, from an embedder or from a column that holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.dedup._cut import blank
from tilth.dedup._equal import digest
from tilth.dedup._fold import fold
from tilth.dedup._space import Space, room
from tilth.embed.embedder import Embedder, Vectors, unit
from tilth.errors import ArgumentError, StepError
from tilth.frame import Frame, Rows
from tilth.text.strings import one_array, strings

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of which equal ones are folded.

    Attributes:
        valid: whether each row is text, shape `(rows,)`.
        blank: whether there is nothing but white space in it, likewise.
        order: rows that are text, best first, shape `(n,)`.
        first_of: for each of them the place in `order` of the first that is equal, shape `(n,)`.
        single: those that are the first, best first.
    """

    valid: Mask
    blank: Mask
    order: Rows
    first_of: Rows
    single: Rows

    @classmethod
    def read(cls, frame: Frame, column: str, order: Rows, who: str) -> Texts:
        """Read a column.

        Args:
            frame: the rows.
            column: the text.
            order: all rows, best first.
            who: the step's name, for errors.
        """
        n = len(frame)
        valid, empty = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        digests = np.zeros((n, 2), dtype=np.uint64)

        def taken(table: pa.Table, first: int) -> None:
            text = strings(table, column, who)
            here = slice(first, first + len(text))
            valid[here] = text.valid
            digest(text, False, digests[here])
            rows, nowhere = np.arange(len(text)), np.zeros(len(text), dtype=np.int64)
            empty[here] = blank(text, rows, nowhere, nowhere)

        for _ in frame.map_batches(taken, [column]):
            pass
        order = order[valid[order]]
        first_of = fold(digests, order)
        return cls(valid, empty, order, first_of, order[first_of == np.arange(len(order))])

    @property
    def copies(self) -> tuple[Rows, Rows]:
        """The rows that equal a better one, and that one."""
        places = np.flatnonzero(self.first_of != np.arange(len(self.order)))
        return self.order[places], self.order[self.first_of[places]]


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors of rows.

    Attributes:
        space: the vectors; zeros for a row that is like no other.
        rows: those that are not, best first, shape `(n,)`.
        places: of each in the space, shape `(n,)`.
    """

    space: Space
    rows: Rows
    places: Rows

    @classmethod
    def of(cls, frame: Frame, texts: Texts, column: str, embedder: Embedder | None, who: str) -> Embedded | None:
        """The vectors of the single texts of a frame.

        Args:
            frame: the rows.
            texts: of the same rows.
            column: what is embedded or, without an embedder, what holds the vectors.
            embedder: one that is fitted.
            who: the step's name, for errors.

        Returns:
            None where no row has a vector.

        Raises:
            ArgumentError: the vectors of a column are not all of one length.
        """
        rows = np.sort(texts.single)
        vectors = _filled(frame.select(rows), column, embedder, rows, who)
        if vectors is None:
            return None
        space = Space.of(vectors)
        places = np.searchsorted(rows, texts.single)
        chosen = (space.squares[places] > 0) & ~texts.blank[texts.single]
        return cls(space, texts.single[chosen], places[chosen]) if chosen.any() else None


def _filled(frame: Frame, column: str, embedder: Embedder | None, rows: Rows, who: str) -> Vectors | None:
    """The vectors of all rows of a frame, of length 1 or zeros, shape `(len(frame), d)`; None where none has one."""
    made: Vectors | None = None
    work = _reader(column, rows, who) if embedder is None else _asker(column, embedder)
    at = 0
    for valid, found in frame.map_batches(work, [column]):
        here = slice(at, at + len(valid))
        at = here.stop
        if made is None:
            if not len(found):
                continue
            made = room(len(frame), found.shape[1])
            made[: here.start] = 0
        made[here] = 0
        if len(found) and found.shape[1] != made.shape[1]:
            row = rows[here.start + int(np.flatnonzero(valid)[0])]
            raise _uneven(who, column, row, found.shape[1], made.shape[1])
        if len(found):
            made[here][valid] = found
    return made


Batch: TypeAlias = "tuple[Mask, Vectors]"
"""Which rows have a vector, and those vectors."""


def _asker(column: str, embedder: Embedder) -> Callable[[pa.Table, int], Batch]:
    def asked(table: pa.Table, _: int) -> Batch:
        vectors = embedder.embed(table.column(column))
        if vectors.shape != (table.num_rows, embedder.dims):
            raise StepError(
                f"{embedder}.embed gave vectors of shape {vectors.shape} for {table.num_rows} texts, each of which "
                f"should have {embedder.dims} numbers."
            )
        return np.ones(len(vectors), dtype=np.bool_), unit(vectors)

    return asked


def _reader(column: str, rows: Rows, who: str) -> Callable[[pa.Table, int], Batch]:
    def read(table: pa.Table, first: int) -> Batch:
        values = table.column(column)
        lengths = one_array(pc.fill_null(pc.list_value_length(values), 0)).to_numpy(zero_copy_only=False)
        valid = lengths > 0
        size = int(lengths[valid][0]) if valid.any() else 0
        uneven = np.flatnonzero(valid & (lengths != size))
        if len(uneven):
            raise _uneven(who, column, rows[first + uneven[0]], lengths[uneven[0]], size)
        flat = one_array(pc.list_flatten(values)).cast(pa.float32()).to_numpy(zero_copy_only=False)
        return valid, unit(flat.reshape(-1, size) if size else np.zeros((0, 0), dtype=np.float32))

    return read


def _uneven(who: str, column: str, row: int, size: int, before: int) -> ArgumentError:
    return ArgumentError(
        f"{who}: the vector in row {row} of {column!r} has {size} numbers, but those before it have {before}."
    )
