"""Vectors, and what makes it quick to find those that are alike: their main directions, and cells.

Along its main directions a vector is known by few numbers, from which follows how alike two can be at most. Cells are
made by k-means on those numbers; a row is then compared with the rows of the cells that are nearest to it only. Nothing
here depends on the number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from tilth.dedup import _cells, _near
from tilth.dedup._products import Floats, multiplied, panels_of
from tilth.frame import Rows
from tilth.text.threads import ordered_map

PROBED = 64
"""Cells that a row is compared with, at least."""

_SAMPLE = 8_192
_COMPARED = 4_096
_ROUNDS = 8
_SLACK = 2e-6
"""Added to what is left of a squared length, so that rounding never makes it less than it is."""
ROUNDING = 2e-4
"""How far a product may be off: much more than 32-bit sums are."""
_DEPTHS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128)
_FEW = 4_096
"""With fewer rows it is not worth while to look for directions."""
_PRODUCT_NS = 0.018
_CANDIDATE_NS = 400.0
_CELL_DEPTH = 64
_TRAINED_ON = 16
"""Rows a cell from which centres are learnt."""
_TRAINING = 4
_ROWS_AT_ONCE = 512
_HELD = 2**30
"""Bytes of an array that are held in memory; a larger one is a file without a name."""


@dataclass(frozen=True, eq=False)
class Space:
    """Vectors.

    Attributes:
        vectors: rows of length 1, or of zeros where they take no part, shape `(n, d)`.
        squares: the exact product of each with itself, shape `(n,)`.
    """

    vectors: Floats
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, vectors: Floats) -> Space:
        """The space of these vectors, contiguous rows of about length 1."""
        squares = np.empty(len(vectors), dtype=np.float64)
        _over(len(vectors), lambda part: _near.squares_of(vectors[part], squares[part]))
        return cls(vectors, squares)

    def __len__(self) -> int:
        return len(self.vectors)

    def cosines(self, one: Rows, other: Rows) -> Floats:
        """The cosines of pairs of vectors."""
        found = np.empty(len(one), dtype=np.float32)
        _over(len(one), lambda at: _near.cosines(self.vectors, self.squares, one[at], other[at], found[at]))
        return found

    def depth_for(self, threshold: float) -> int | None:
        """Along how many directions to compare rows first, or None where nothing is gained by it."""
        if len(self) < _FEW:
            return None
        places = self._sample[:_COMPARED]
        some = self.coordinates(places, max(_DEPTHS))
        one, other = slice(0, len(places) // 8), slice(len(places) // 8, None)
        similar = self.vectors[places[one]] @ self.vectors[places[other]].T >= threshold
        best, least = None, _PRODUCT_NS * self.vectors.shape[1]
        for depth in _DEPTHS:
            if depth > some.shape[1]:
                break
            rows = self.bounded(places, some, depth)
            candidates = (rows[one] @ rows[other].T >= threshold - ROUNDING) & ~similar
            cost = _PRODUCT_NS * (depth + 1) + _CANDIDATE_NS * float(candidates.mean())
            if cost < least:
                best, least = depth, cost
        return best

    def coordinates(self, places: Rows, depth: int) -> Floats:
        """Vectors along the first directions, `depth` of them if there are so many."""
        return multiplied(self.vectors[places], self._panels, min(depth, len(self._directions)))

    def bounded(self, places: Rows, coordinates: Floats, depth: int) -> Floats:
        """The first coordinates of vectors, and the length of the rest; a product of two is never less than that of
        the vectors."""
        made = np.empty((len(places), depth + 1), dtype=np.float32)
        _cells.bounded(coordinates, self.squares[places], _SLACK, made)
        return made

    @cached_property
    def cells(self) -> Cells:
        """Cells in which about a sixth of the square root of all rows lie."""
        many = min(len(self), max(1, 6 * math.isqrt(len(self))))
        places = np.random.default_rng(1).choice(len(self), min(len(self), _TRAINED_ON * many), replace=False)
        parts = [places[at : at + _SAMPLE] for at in range(0, len(places), _SAMPLE)]
        return Cells.learnt(np.concatenate([self.coordinates(part, _CELL_DEPTH) for part in parts]), many)

    @cached_property
    def _sample(self) -> Rows:
        many = min(len(self), _SAMPLE)
        return np.random.default_rng(0).choice(len(self), many, replace=False).astype(np.int64)

    @cached_property
    def _directions(self) -> Floats:
        """The main directions as rows, orthonormal, found by orthogonal iteration; a sample stands for the whole."""
        sample = self.vectors[np.sort(self._sample)]
        dims = sample.shape[1]
        many = min(dims, max(_DEPTHS))
        found = np.random.default_rng(0).standard_normal((many, dims)).astype(np.float32)
        across = np.ascontiguousarray(sample.T)
        for _ in range(_ROUNDS):
            along = multiplied(sample, panels_of(found), many)
            found = np.ascontiguousarray(multiplied(across, panels_of(np.ascontiguousarray(along.T)), many).T)
            found = _cells.orthonormal(found)
        return found

    @cached_property
    def _panels(self) -> Floats:
        return panels_of(self._directions)


@dataclass(frozen=True, eq=False)
class Cells:
    """Centres of cells.

    Attributes:
        many: how many.
        depth: coordinates of each.
        panels: the centres, as `panels_of` makes them.
    """

    many: int
    depth: int
    panels: Floats

    @classmethod
    def learnt(cls, rows: Floats, many: int) -> Cells:
        """Centres of length 1, learnt from rows by spherical k-means that begins with some of them."""
        rows = np.ascontiguousarray(rows)
        centres = _unit(rows[:: max(1, len(rows) // many)][:many])
        for _ in range(_TRAINING):
            cells = cls(len(centres), rows.shape[1], panels_of(centres))
            centres = _centres(rows, cells.nearest(rows, 1)[:, 0], centres)
        return cls(len(centres), rows.shape[1], panels_of(centres))

    def nearest(self, coordinates: Floats, many: int) -> npt.NDArray[np.int32]:
        """For each row its own cell and then the other nearest ones, shape `(rows, many)`."""
        probes = np.empty((len(coordinates), min(many, self.many)), dtype=np.int32)
        rows = np.ascontiguousarray(coordinates)
        _over(
            len(rows), lambda part: _cells.nearest_cells(rows[part], self.depth, self.panels, self.many, probes[part])
        )
        return probes

    def scores(self, coordinates: Floats) -> Floats:
        """How near each row is to each centre, shape `(rows, many)`."""
        return multiplied(coordinates, self.panels, self.many)


def room(*shape: int) -> Floats:
    """Numbers to be filled in: in memory, or in a file that goes with them.

    Raises:
        OSError: the disk is full.
    """
    size = 4 * math.prod(shape)
    if size <= _HELD:
        return np.empty(shape, dtype=np.float32)
    with TemporaryFile(prefix="tilth-vectors-") as file:
        # Room that was not reserved would be found missing only when it is written to, which no one can catch.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.asarray(np.memmap(file, dtype=np.float32, mode="r+", shape=shape))


def _over(rows: int, work: Callable[[slice], None]) -> None:
    parts = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, rows, _ROWS_AT_ONCE)]
    for _ in ordered_map(work, parts):
        pass


def _centres(rows: Floats, cells: npt.NDArray[np.int32], before: Floats) -> Floats:
    sums = np.zeros(before.shape, dtype=np.float64)
    _cells.add_up(rows, cells, sums)
    centres = _unit(sums)
    empty = ~centres.any(axis=1)
    centres[empty] = before[empty]
    return centres


def _unit(rows: npt.NDArray[np.floating]) -> Floats:
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))[:, None]
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
