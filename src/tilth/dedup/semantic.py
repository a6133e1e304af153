"""Removal of rows that mean the same: rows whose vectors point the same way.

Each row is a vector, made by an embedder, and two rows are similar when the cosine of the angle between their vectors
reaches a threshold. Asked for a share of the rows instead, it finds the threshold that leaves so many: pruning as in
SemDeDup (Abbas et al., 2023, arXiv:2303.09540), which looks for near vectors within cells of k-means, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.groups import NULL_TEXT, Cluster, Deduplicator, Groups, Similarities, check_cluster, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.embed.embedder import Embedder
from tilth.errors import ArgumentError, ColumnTypeError
from tilth.frame import Frame, Rows
from tilth.step import require

if TYPE_CHECKING:
    from tilth.dedup._alike import Alike
    from tilth.dedup._embedded import Embedded, Texts

Search: TypeAlias = Literal["auto", "exact", "approximate", "usearch"]

EXACT_ROWS = 200_000
"""Up to so many rows `auto` compares all with all."""
EXACT_FRACTION_ROWS = 2**15
"""The same for `fraction`, which takes several passes at low thresholds."""
MOST_PAIRS = 2**27
"""More pairs than this are not listed: as a table they would take gigabytes."""

_PASSES = 16
_NEAR_ENOUGH = 1e-3


@dataclass(frozen=True)
class Semantic(Deduplicator):
    """Keep one row of each group of rows whose vectors are similar.

    Which similarity means the same depends on the embedder, so there is no default: look at `pairs`. Every row that
    goes was compared exactly with the row that stands for it.

    Equal texts are folded before anything is compared, as duplicates. A null is dropped for a reason of its own; a
    text in which there is nothing, or for which there is no vector, is like no other. Exactly one of `embedder` and
    `embeddings` is given, and exactly one of `threshold` and `fraction`.

    Args:
        column: the text.
        embedder: what turns texts into vectors. One that must be fitted and is not is fitted to the rows at hand.
        threshold: of the cosine, above 0 and at most 1.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go), `max:COLUMN`,
            `min:COLUMN`, or a mapping of one column to its values from best to worst.
        fraction: the share of all rows that is to stay, above 0 and below 1: the threshold is chosen so that about so
            many do. Copies and nulls go in any case.
        embeddings: a column that holds the vectors, lists of numbers all of one length, in place of an embedder.
        cluster: `direct`: every row that goes is at least `threshold` similar to the very row that stays.
            `component`: of all rows that are connected by similar pairs one stays; the evidence has the similarity of
            the two, which can be below the threshold.
        search: `exact` compares all rows and misses nothing, in time that grows with their square. `approximate`
            compares each row with those in the cells near it and finds 99 of 100 similar pairs or more. `auto` is
            exact up to 200,000 rows, with `fraction` up to 32,768. `usearch` walks through a graph (HNSW).

    Examples:
        >>> from datasets import Dataset
        >>> from tilth.embed import TfidfSvd
        >>> texts = ["How do I sort a list?", "How do I sort a list", "How can I sort lists?", "Name a prime."]
        >>> ds = Dataset.from_dict({"text": texts})
        >>> Semantic("text", TfidfSvd(dims=64), threshold=0.9).apply(ds)["text"][:]
        ['How do I sort a list?', 'How can I sort lists?', 'Name a prime.']
        >>> Semantic("text", TfidfSvd(dims=64), fraction=0.5).apply(ds)["text"][:]
        ['How do I sort a list?', 'Name a prime.']
    """

    column: str
    embedder: Embedder | None = None
    threshold: float | None = None
    keep: Keep = "first"
    fraction: float | None = None
    embeddings: str | None = None
    cluster: Cluster = "direct"
    search: Search = "auto"

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(isinstance(self.column, str) and bool(self.column), self, "column", "the name of a column")
        if self.embedder is not None:
            require(isinstance(self.embedder, Embedder), self, "embedder", "an embedder, such as TfidfSvd()")
            fits = "None where an embedder makes the vectors; leave one of the two out"
            require(self.embeddings is None, self, "embeddings", fits)
        else:
            named = isinstance(self.embeddings, str) and self.embeddings != ""
            require(named, self, "embeddings", "the name of a column that holds vectors, where there is no embedder")
        if self.fraction is None:
            allowed = self.threshold is not None and 0 < self.threshold <= 1
            require(allowed, self, "threshold", "above 0 and at most 1, where there is no fraction")
        else:
            require(
                self.threshold is None, self, "threshold", "None where a fraction is given; leave one of the two out"
            )
            require(0 < self.fraction < 1, self, "fraction", "above 0 and below 1")
            require(self.keep != "none", self, "keep", "a policy by which rows stay, where a fraction of them is to")
        require(self.search in ("auto", "exact", "approximate", "usearch"), self, "search", _SEARCHES)
        check_keep(self, self.keep)
        check_cluster(self, self.cluster)

    @property
    def reads(self) -> tuple[str, ...]:
        """The text, the vectors where a column holds them, and the column that `keep` looks at."""
        others = [self.embeddings] if self.embeddings is not None else []
        return tuple(dict.fromkeys([self.column, *others, *super().reads]))

    @property
    def reads_text(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    def check(self, schema: pa.Schema) -> None:
        """Refuse data that this step cannot work on, before any work."""
        super().check(schema)
        if self.embeddings is not None:
            kind = schema.field(self.embeddings).type
            if not _holds_vectors(kind):
                raise ColumnTypeError(str(self), self.embeddings, kind, "vectors, lists of numbers")

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Fold rows that are equal, make vectors of the others, and group those that are similar."""
        found = Groups.alone(len(ds))
        order = in_splits(priority(self, self.keep, ds, [self.column]), splits)
        texts, embedded = self._read(ds, order)
        found.codes[~texts.valid] = NULL_TEXT
        if embedded is not None:
            _, stands, how = self._grouped(embedded, self._wanted(len(ds), texts, embedded))
            found.enter(embedded.rows, embedded.rows[stands], how)
        found.copy(*texts.copies)
        return found

    def threshold_for(self, ds: Dataset) -> float:
        """The threshold that leaves the asked share of rows, or as near to it as any.

        Returns:
            `threshold` where there is one; 1 where nothing has to go.

        Raises:
            MissingColumnError: a column that the step reads is absent.
            ColumnTypeError: such a column has a type that the step cannot read.
            TypeError: `ds` is not a `Dataset`.
        """
        ds = self._checked(ds, "threshold_for")
        if self.threshold is not None:
            return self.threshold
        texts, embedded = self._read(ds, priority(self, self.keep, ds, [self.column]))
        if embedded is None:
            return 1.0
        return self._grouped(embedded, self._wanted(len(ds), texts, embedded))[0]

    def pairs(self, ds: Dataset) -> Dataset:
        """The pairs of rows that are similar, copies among them; what a threshold should be can be seen here.

        Returns:
            `row` and `other`, which comes after it, and the `similarity` of the two, 1 for copies. Sorted by row, then
            by other row. An approximate search can miss some.

        Raises:
            ArgumentError: there are more than 134 million of them, or the step has no `threshold`.
            MissingColumnError: a column that the step reads is absent.
            ColumnTypeError: such a column has a type that the step cannot read.
            TypeError: `ds` is not a `Dataset`.
        """
        ds = self._checked(ds, "pairs")
        if self.threshold is None:
            raise ArgumentError(f"{self}.pairs needs a threshold; this step has a fraction. See threshold_for.")
        texts, embedded = self._read(ds, np.arange(len(ds), dtype=np.int64))
        one, other, similarity = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        if embedded is not None:
            pairs = self._alike(embedded, self.threshold).pairs(MOST_PAIRS)
            if pairs is None:
                raise self._too_many()
            one, other, similarity = embedded.rows[pairs.one], embedded.rows[pairs.other], pairs.similarity
        one, other, similarity = self._with_copies(texts, one, other, similarity)
        row, after = np.minimum(one, other), np.maximum(one, other)
        by_row = np.lexsort((after, row))
        return Dataset(pa.table({"row": row[by_row], "other": after[by_row], "similarity": similarity[by_row]}))

    def _checked(self, ds: Dataset, what: str) -> Dataset:
        if not isinstance(ds, Dataset):
            raise TypeError(f"{self}.{what} works on a Dataset, not on {type(ds).__name__}; give it one split.")
        self.check(ds.features.arrow_schema)
        return ds.with_format(None)

    def _read(self, ds: Dataset, order: Rows) -> tuple[Texts, Embedded | None]:
        """The texts, and the vectors if there is a text."""
        from tilth.dedup._embedded import Embedded, Texts

        frame = Frame.of(ds)
        texts = Texts.read(frame, self.column, order, str(self))
        if not len(texts.single):
            return texts, None
        embedder = self.embedder
        if embedder is not None and not embedder.is_fitted:
            embedder = embedder.fitted(ds, self.column)
        column = self.column if self.embeddings is None else self.embeddings
        return texts, Embedded.of(frame, texts, column, embedder, str(self))

    def _wanted(self, rows: int, texts: Texts, embedded: Embedded) -> int | None:
        """How many of the embedded rows are to stay."""
        if self.fraction is None:
            return None
        like_no_other = len(texts.single) - len(embedded.rows)
        return max(0, round(self.fraction * rows) - like_no_other)

    def _grouped(self, embedded: Embedded, wanted: int | None) -> tuple[float, Rows, Similarities]:
        """The threshold, the rank that stands for each and how similar the two are."""
        if wanted is None:
            assert self.threshold is not None
            return (self.threshold, *self._at(embedded, self.threshold))
        rows = len(embedded.rows)
        ranks = np.arange(rows, dtype=np.int64)
        best = 1.0, ranks, np.ones(rows, dtype=np.float32)
        low, high, fewest, most, off = 0.0, 1.0, 0, rows, rows - wanted
        for _ in range(_PASSES):
            if off <= _NEAR_ENOUGH * rows:
                break
            # By a straight line between what is known, but well between.
            share = min(max((wanted - fewest) / max(1, most - fewest), 0.2), 0.8)
            threshold = low + share * (high - low)
            stands, how = self._at(embedded, threshold)
            left = int((stands == ranks).sum())
            if abs(left - wanted) < off:
                best, off = (threshold, stands, how), abs(left - wanted)
            if left > wanted:
                high, most = threshold, left
            else:
                low, fewest = threshold, left
        return best

    def _at(self, embedded: Embedded, threshold: float) -> tuple[Rows, Similarities]:
        alike = self._alike(embedded, threshold)
        return alike.direct() if self.cluster == "direct" else alike.connected()

    def _alike(self, embedded: Embedded, threshold: float) -> Alike:
        space, places = embedded.space, embedded.places
        if self.search == "usearch":
            from tilth.dedup._graph import InGraph

            return InGraph(space, places, threshold)
        from tilth.dedup._alike import InCells

        few = len(places) <= (EXACT_ROWS if self.fraction is None else EXACT_FRACTION_ROWS)
        if self.search == "exact" or (self.search == "auto" and few):
            return InCells(space, places, threshold)
        if self.fraction is not None:
            return InCells(space, places, threshold, space.cells)
        return InCells.with_recall(space, places, threshold)

    def _with_copies(
        self, texts: Texts, one: Rows, other: Rows, similarity: Similarities
    ) -> tuple[Rows, Rows, Similarities]:
        """Pairs of all rows, if these are those of the first of equal ones."""
        leaders = texts.order[texts.first_of]
        members = texts.order[np.argsort(leaders, kind="stable")]
        sizes = np.bincount(leaders, minlength=len(texts.valid))
        begins = np.cumsum(sizes) - sizes
        copied = np.flatnonzero(sizes > 1)
        many = (sizes[one].astype(np.float64) * sizes[other]).sum() + (sizes[copied].astype(np.float64) ** 2).sum()
        if many > MOST_PAIRS:
            raise self._too_many()
        one, other = np.concatenate([one, copied]), np.concatenate([other, copied])
        similarity = np.concatenate([similarity, np.ones(len(copied), dtype=np.float32)])
        times = sizes[one] * sizes[other]
        pair = np.repeat(np.arange(len(one)), times)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(times) - times, times)
        first = members[begins[one[pair]] + within // sizes[other[pair]]]
        second = members[begins[other[pair]] + within % sizes[other[pair]]]
        # A group of copies has each of its pairs twice, and each row with itself.
        once = (one[pair] != other[pair]) | (first < second)
        return first[once], second[once], similarity[pair[once]]

    def _too_many(self) -> ArgumentError:
        return ArgumentError(f"{self} finds more than {MOST_PAIRS:,} pairs; `clusters` lists the groups.")


_SEARCHES = "'auto', 'exact', 'approximate' or 'usearch'"


def _holds_vectors(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))
