"""Rows that are alike, found block by block: each block is compared with what was found to stay before, then in itself.

A row that goes is never compared with again, and a row is done with as soon as one that stays is found for it. So rows
that lie close together, however many, do not each meet all the others, and no list of pairs is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tilth.dedup import _near
from tilth.dedup._products import COLUMNS, Floats
from tilth.dedup._space import PROBED, ROUNDING, Cells, Space, room
from tilth.dedup.groups import Pairs
from tilth.frame import Rows
from tilth.text.threads import ordered_map

_BLOCK = 4_096
_ROWS_AT_ONCE = 256
_PROBES_AT_ONCE = 8_192
_RECALL = 0.995
"""Of the similar pairs of a sample so many are found; of all pairs then 99 of 100 nearly surely."""
_SAMPLE = 2_048
_ENOUGH = 20_000
_WORTH_WHILE = 0.3
"""The share of the cells from which looking into all of them costs no more."""

Found: TypeAlias = "tuple[Rows, Rows, Floats]"
"""Pairs of ranks, the worse one first, and their cosines."""


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring ranks.

    Attributes:
        ranks: shape `(m,)`.
        rows: as they are compared: some coordinates and the rest, or whole vectors, shape `(m, numbers)`.
        probes: the cells that each row is compared with, its own first, shape `(m, cells)`.
    """

    ranks: Rows
    rows: Floats
    probes: npt.NDArray[np.int32]

    def only(self, chosen: npt.NDArray[np.bool_]) -> Block:
        """Some of them."""
        return self if chosen.all() else Block(self.ranks[chosen], self.rows[chosen], self.probes[chosen])


class Alike(ABC):
    """A search among the vectors of a space for those whose cosine is `threshold` or more.

    Args:
        space: the vectors.
        order: the places of all of them, best first, shape `(n,)`. A place in it is a rank.
        threshold: of the cosine.
    """

    def __init__(self, space: Space, order: Rows, threshold: float) -> None:
        self.space, self.order, self.threshold = space, order, threshold
        self.vectors = space.vectors, space.squares, order
        self.least = np.float32(threshold - ROUNDING)

    @cached_property
    def depth(self) -> int | None:
        """Along how many directions rows are compared before they are verified; None for whole vectors."""
        return self.space.depth_for(self.threshold)

    @abstractmethod
    def clear(self) -> None:
        """Forget all rows."""

    @abstractmethod
    def add(self, block: Block) -> None:
        """Remember these rows, which are worse than those remembered."""

    @abstractmethod
    def first(self, block: Block) -> tuple[Rows, Floats]:
        """For each of these rows the best remembered one that is similar, or -1, and their cosine."""

    @abstractmethod
    def pairs_with(self, block: Block, what: int, stands: Rows) -> Found:
        """Pairs of these rows and remembered ones that are similar: `ALL` of them, or such that `CONNECT` what is."""

    def probes(self, places: Rows, coordinates: Floats | None) -> npt.NDArray[np.int32]:
        """The cells that rows are compared with, where there are cells."""
        return np.zeros((len(places), 1), dtype=np.int32)

    def direct(self) -> tuple[Rows, Floats]:
        """For each rank the first one that stays and is similar, itself where there is none, and their cosine."""
        stands, how = self._alone()
        for block in self._blocks():
            first, cosine = self.first(block)
            gone = first >= 0
            stands[block.ranks[gone]], how[block.ranks[gone]] = first[gone], cosine[gone]
            left = block.only(~gone)
            self._within(_near.FIRST, left, stands, how)
            self.add(left.only(stands[left.ranks] == left.ranks))
        return stands, how

    def connected(self) -> tuple[Rows, Floats]:
        """For each rank the first of all that similar pairs connect it with, and their cosine, however small."""
        stands, how = self._alone()
        for block in self._blocks():
            one, other, _ = self.pairs_with(block, _near.CONNECT, stands)
            _near.join_all(stands, one, other)
            self._within(_near.CONNECT, block, stands, how)
            self.add(block)
        _near.flatten(stands)
        gone = np.flatnonzero(stands != np.arange(len(stands)))
        how[gone] = self.space.cosines(self.order[gone], self.order[stands[gone]])
        return stands, how

    def pairs(self, most: int) -> Pairs | None:
        """All pairs of ranks that are similar, or None if there are more than `most`."""
        stands, how = self._alone()
        found: list[Found] = []
        many = 0
        for block in self._blocks():
            found += [self.pairs_with(block, _near.ALL, stands), self._within(_near.ALL, block, stands, how)]
            self.add(block)
            many += sum(len(part[0]) for part in found[-2:])
            if many > most:
                return None
        return Pairs(*joined(found))

    def _alone(self) -> tuple[Rows, Floats]:
        n = len(self.order)
        return np.arange(n, dtype=np.int64), np.ones(n, dtype=np.float32)

    def _blocks(self) -> Iterator[Block]:
        self.clear()
        for lo in range(0, len(self.order), _BLOCK):
            yield self._block(np.arange(lo, min(lo + _BLOCK, len(self.order)), dtype=np.int64))

    def _block(self, ranks: Rows) -> Block:
        places = self.order[ranks]
        depth = max(self.depth or 0, self.needs)
        coordinates = self.space.coordinates(places, depth) if depth else None
        if self.depth is None or coordinates is None:
            rows = np.ascontiguousarray(self.space.vectors[places])
        else:
            rows = self.space.bounded(places, coordinates, self.depth)
        return Block(ranks, rows, self.probes(places, coordinates))

    @property
    def needs(self) -> int:
        """Coordinates without which `probes` cannot do."""
        return 0

    def _within(self, what: int, block: Block, stands: Rows, how: Floats) -> Found:
        found: Found = _near.within(
            what, block.rows, self.vectors, self.least, self.threshold, block.ranks, stands, how
        )
        return found


class InCells(Alike):
    """Rows are compared with all that lie in the cells nearest to them; in one cell that is with all.

    Args:
        space: the vectors.
        order: the places of all of them, best first.
        threshold: of the cosine.
        cells: None for a single one.
        probed: cells that a row is compared with.
    """

    def __init__(
        self, space: Space, order: Rows, threshold: float, cells: Cells | None = None, probed: int = PROBED
    ) -> None:
        super().__init__(space, order, threshold)
        self.cells, self.probed = cells, probed
        self._many = 1 if cells is None else cells.many

    @classmethod
    def with_recall(cls, space: Space, order: Rows, threshold: float) -> InCells:
        """The search that compares as few rows as it must to find nearly all similar pairs, as a sample shows."""
        cells = space.cells
        needed = cls(space, order, threshold)._needed(cells)
        probed = int(np.quantile(needed, _RECALL, method="higher")) if len(needed) else 0
        if probed > cells.many * _WORTH_WHILE:
            return cls(space, order, threshold)
        return cls(space, order, threshold, cells, max(probed, PROBED))

    def _needed(self, cells: Cells) -> Rows:
        """For some similar pairs how many cells the one must look into to find the other."""
        n, rng = len(self.order), np.random.default_rng(2)
        self.clear()
        self.add(self._block(np.sort(rng.choice(n, min(n, _SAMPLE), replace=False))))
        found: list[Found] = []
        for number in rng.permutation(-(-n // _BLOCK)):
            ranks = np.arange(number * _BLOCK, min((number + 1) * _BLOCK, n), dtype=np.int64)
            one, other, cosine = self.pairs_with(self._block(ranks), _near.ALL, ranks)
            found.append((one[one != other], other[one != other], cosine[one != other]))
            if sum(len(part[0]) for part in found) >= _ENOUGH:
                break
        one, other, _ = joined(found)
        needed = np.zeros(len(one), dtype=np.int64)
        for lo in range(0, len(one), _BLOCK):
            here = slice(lo, lo + _BLOCK)
            homes = cells.nearest(self.space.coordinates(self.order[one[here]], cells.depth), 1)[:, 0]
            scores = cells.scores(self.space.coordinates(self.order[other[here]], cells.depth))
            needed[here] = (scores >= scores[np.arange(len(scores)), homes, None]).sum(axis=1)
        return needed

    @property
    def needs(self) -> int:
        """As many coordinates as the centres have."""
        return 0 if self.cells is None else self.cells.depth

    def clear(self) -> None:
        """Forget all rows."""
        panels = len(self.order) // COLUMNS + self._many + 1
        numbers = self.space.vectors.shape[1] if self.depth is None else self.depth + 1
        self._store = (
            room(panels * COLUMNS * numbers),
            np.empty(panels * COLUMNS, dtype=np.int64),
            np.empty(panels, dtype=np.int32),
            np.full(self._many, -1, dtype=np.int32),
            np.full(self._many, -1, dtype=np.int32),
            np.zeros(self._many, dtype=np.int64),
            np.zeros(1, dtype=np.int64),
        )

    def add(self, block: Block) -> None:
        """Put rows into their cells."""
        _near.enter(block.ranks, block.rows, block.probes[:, 0], self._store)

    def first(self, block: Block) -> tuple[Rows, Floats]:
        """For each row the best one in its cells that is similar."""
        shape = block.probes.shape
        first, how = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        self._search(_near.FIRST, block, block.ranks, first.reshape(-1), how.reshape(-1))
        best = np.where(first < 0, len(self.order), first).argmin(axis=1)
        rows = np.arange(len(best))
        return first[rows, best], how[rows, best]

    def pairs_with(self, block: Block, what: int, stands: Rows) -> Found:
        """Pairs of these rows and those in their cells."""
        none = np.zeros(0, dtype=np.int64)
        return self._search(what, block, stands, none, none.astype(np.float32))

    def probes(self, places: Rows, coordinates: Floats | None) -> npt.NDArray[np.int32]:
        """The nearest cells."""
        if self.cells is None or coordinates is None:
            return super().probes(places, coordinates)
        return self.cells.nearest(coordinates, self.probed)

    def _search(self, what: int, block: Block, stands: Rows, first: Rows, how: Floats) -> Found:
        places, bounds = _near.by_cell(block.probes, self._many)
        step = _ROWS_AT_ONCE if self.cells is None else _PROBES_AT_ONCE

        def searched(lo: int) -> Found:
            found: Found = _near.search(
                what,
                block.rows.reshape(-1),
                block.rows.shape[1],
                block.probes.shape[1],
                places,
                bounds,
                lo,
                min(lo + step, len(places)),
                self._store,
                self.vectors,
                self.least,
                self.threshold,
                block.ranks,
                stands,
                first,
                how,
            )
            return found

        return joined(list(ordered_map(searched, range(0, len(places), step))))


def joined(parts: list[Found]) -> Found:
    """Pairs that were found in several parts."""
    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    one, other, similarity = (np.concatenate(found) for found in zip(nothing, *parts, strict=True))
    return one, other, similarity
