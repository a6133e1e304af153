"""The same search through usearch: a graph in which near vectors are neighbours (HNSW: Malkov and Yashunin, 2016,
arXiv:1603.09320).

Only rows that stay are in the graph where that is enough, so the nearest few of them decide on a row however many rows
lie close together. It grows on one thread, since its links depend on the order in which rows come; it is searched on
all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilth.dedup._alike import Alike, Block, Found, joined
from tilth.dedup._products import Floats
from tilth.errors import MissingExtraError
from tilth.frame import Rows
from tilth.text.threads import threads

_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 64
_NEAREST = 16
_MOST = 1_024
"""Neighbours that a row is compared with where all pairs are asked for; it begins with few and asks again for more."""


class InGraph(Alike):
    """Rows are compared with those that a walk through the graph finds nearest to them."""

    def clear(self) -> None:
        """Forget all rows."""
        try:
            from usearch.index import Index
        except ImportError:
            raise MissingExtraError("Semantic", "usearch", "semantic") from None
        self._graph: Any = Index(
            ndim=self.space.vectors.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )

    def add(self, block: Block) -> None:
        """Put rows into the graph."""
        if len(block.ranks):
            self._graph.add(block.ranks.astype(np.uint64), self._vectors_of(block.ranks), threads=1)

    def first(self, block: Block) -> tuple[Rows, Floats]:
        """For each row the best one of the nearest that is similar."""
        near, cosine = self._near(block.ranks, _NEAREST)
        if not near.shape[1]:
            return np.full(len(near), -1, dtype=np.int64), np.zeros(len(near), dtype=np.float32)
        worst = len(self.order)
        best = np.where(cosine >= self.threshold, near, worst)
        rows, at = np.arange(len(near)), best.argmin(axis=1)
        return np.where(best[rows, at] < worst, near[rows, at], -1), cosine[rows, at]

    def pairs_with(self, block: Block, what: int, stands: Rows) -> Found:
        """Pairs of these rows and the nearest of those in the graph."""
        ranks, many = block.ranks, _NEAREST
        found: list[Found] = []
        while len(ranks):
            near, cosine = self._near(ranks, many)
            similar = cosine >= self.threshold
            # Where the last of them is similar there may be more.
            full = similar.all(axis=1) & (near.shape[1] == many) & (many < _MOST)
            row, place = np.nonzero(similar & ~full[:, None])
            found.append((ranks[row], near[row, place], cosine[row, place]))
            ranks, many = ranks[full], min(4 * many, _MOST)
        return joined(found)

    def _near(self, ranks: Rows, many: int) -> tuple[Rows, Floats]:
        """The ranks of the nearest rows and their exact cosines, shape `(m, up to many)`; -1 and -1 where none is."""
        many = min(many, len(self._graph))
        near = np.full((len(ranks), many), -1, dtype=np.int64)
        cosine = np.full((len(ranks), many), -1, dtype=np.float32)
        if near.size:
            vectors = self._vectors_of(ranks)
            # A single vector would be answered in another shape.
            asked = vectors if len(vectors) > 1 else vectors.repeat(2, axis=0)
            found = self._graph.search(asked, many, threads=threads())
            known = np.arange(many) < found.counts[: len(ranks), None]
            near[known] = found.keys[: len(ranks)][known].astype(np.int64)
            row, place = np.nonzero(known)
            cosine[row, place] = self.space.cosines(self.order[ranks[row]], self.order[near[row, place]])
        return near, cosine

    def _vectors_of(self, ranks: Rows) -> Floats:
        return np.ascontiguousarray(self.space.vectors[self.order[ranks]])
