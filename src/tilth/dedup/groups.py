"""Groups of rows that say the same: who stands for whom, what goes, and what a user can see of it.

Every step that compares rows with rows, by whatever measure, is a `Deduplicator`: it finds `Groups`, and from there on
they are all alike. Groups come from verified pairs only. In a `direct` group each row was found similar to the very row
that stays; a `component` is all that pairs connect, however long the chain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset, DatasetDict, concatenate_datasets
from datasets.fingerprint import Hasher

from tilth.dedup.keep import Keep, keep_column
from tilth.errors import ArgumentError
from tilth.frame import Frame, Rows, in_format_of, materialised, select_rows, stored
from tilth.step import Codes, DatasetStep, Dropped, Outcome, fingerprint_after, require

if TYPE_CHECKING:
    from tilth.dedup.index import Index

Cluster: TypeAlias = Literal["direct", "component"]
Similarities: TypeAlias = npt.NDArray[np.float32]

MARKS = pa.schema(
    [
        pa.field("duplicate_of", pa.int64()),
        pa.field("duplicate_similarity", pa.float32()),
        pa.field("duplicate_reason", pa.string()),
        pa.field("cluster", pa.int64()),
    ]
)
"""The columns that `mark_only` adds; a subclass may have more of them."""

NULL_TEXT, DUPLICATE, NEAR_DUPLICATE = np.uint8(1), np.uint8(2), np.uint8(3)
"""The codes of the reasons of a `Deduplicator`, of which a subclass may have the first two only."""


@dataclass(frozen=True, eq=False)
class Groups:
    """For each of `n` rows which one stands for it.

    Attributes:
        kept: the row that stands for it, itself where none does or where there is nothing to compare, shape `(n,)`.
        similarity: of the two, 1 where a row stands for itself, shape `(n,)`.
        codes: 0 for a row that stays, else its reason, counted from one in the step's `reasons`, shape `(n,)`.
    """

    kept: Rows
    similarity: Similarities
    codes: Codes

    @classmethod
    def alone(cls, n: int) -> Groups:
        """Of `n` rows each one stays."""
        return cls(np.arange(n, dtype=np.int64), np.ones(n, dtype=np.float32), np.zeros(n, dtype=np.uint8))

    def enter(self, rows: Rows, kept: Rows, similarity: Similarities) -> None:
        """Drop as near duplicates those of `rows` for which another one stands in `kept`.

        Args:
            rows: some of the rows, shape `(m,)`.
            kept: the row that stands for each, shape `(m,)`.
            similarity: of the two, shape `(m,)`.
        """
        gone = kept != rows
        self.kept[rows[gone]] = kept[gone]
        self.similarity[rows[gone]] = similarity[gone]
        self.codes[rows[gone]] = NEAR_DUPLICATE

    def copy(self, copies: Rows, originals: Rows) -> None:
        """Drop rows that equal an original: what stands for the original stands for its copy, too.

        Args:
            copies: shape `(m,)`.
            originals: the row that each of them equals, of which it is known what stands for it, shape `(m,)`.
        """
        self.kept[copies] = self.kept[originals]
        self.similarity[copies] = self.similarity[originals]
        near = self.codes[originals] == NEAR_DUPLICATE
        self.codes[copies] = np.where(near, NEAR_DUPLICATE, DUPLICATE)


class Deduplicator(DatasetStep):
    """A dataset step that finds groups of rows and keeps one row of each. Subclasses write `groups`."""

    keep: Keep

    reasons: ClassVar[tuple[str, ...]] = ("null_text", "duplicate", "near_duplicate")
    row_evidence: ClassVar[tuple[str, ...]] = ("kept_row",)
    marks: ClassVar[pa.Schema] = MARKS

    @property
    def reads(self) -> tuple[str, ...]:
        """What is compared, and the column that `keep` looks at."""
        compared, other = super().reads, keep_column(self.keep)
        return compared if other is None or other in compared else (*compared, other)

    @property
    def reads_text(self) -> tuple[str, ...]:
        """What is compared."""
        return super().reads

    @abstractmethod
    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Find the groups of `ds`, whose format is the plain one.

        Args:
            ds: the rows.
            splits: how many rows belong to each of several splits, one after the other: a row of an earlier split is
                better than one of a later split, whatever `keep` says.
        """

    def run(self, ds: Dataset) -> Outcome:
        """Find the groups and drop all rows but one of each, or all rows of each for `keep="none"`."""
        return Outcome.without(self._dropped(self.groups(ds)), len(ds))

    def clusters(self, ds: Dataset) -> Dataset:
        """The rows that are in a group of two or more, and nothing dropped.

        Returns:
            `row`; `cluster`, the number of the row that stands for the group; `kept_row`, which is the same, or null
            where `keep="none"` keeps none; and `similarity` of the two. Sorted by cluster, then by row.

        Raises:
            MissingColumnError: a column that the step reads is absent.
            ColumnTypeError: such a column has a type that the step cannot read.
            TypeError: `ds` is not a `Dataset`.
        """
        if not isinstance(ds, Dataset):
            raise TypeError(f"{self}.clusters works on a Dataset, not on {type(ds).__name__}; give it one split.")
        self.check(ds.features.arrow_schema)
        found = self.groups(ds.with_format(None))
        members = np.flatnonzero(_in_a_group(found))
        members = members[np.argsort(found.kept[members], kind="stable")]
        cluster = found.kept[members]
        nothing = np.full(len(members), self.keep == "none")
        return Dataset(
            pa.table(
                {
                    "row": members,
                    "cluster": cluster,
                    "kept_row": pa.array(cluster, mask=nothing),
                    "similarity": found.similarity[members],
                }
            )
        )

    def apply(
        self,
        ds: Any,
        *,
        mark_only: bool = False,
        across: Sequence[str] | None = None,
        index: Index | str | Path | None = None,
        within: bool = True,
    ) -> Any:
        """This step done to a whole dataset, which is left as it is.

        Args:
            ds: a `Dataset`, or a `DatasetDict`.
            mark_only: drop nothing and add columns instead: `duplicate_of` (the row that stands for this one, null for
                a row that stays), `duplicate_similarity`, `duplicate_reason` and `cluster` (the row that stands for the
                group, for the members of a group of two or more).
            across: splits of a `DatasetDict` to compare with each other, the one whose rows stay first:
                `across=["test", "train"]` takes the test set out of the training set. Splits that are not named are
                left as they are. Without it each split is done by itself.
            index: rows that were seen before, or the folder of them; whatever is in there goes, too. See `NotIn`.
            within: with an index, whether rows are compared with each other as well.

        Raises:
            ArgumentError: `across` names a split that there is not, or `ds` has no splits; or `mark_only` would
                overwrite a column; or the index was built by a step with other fields.
            MissingColumnError: a column that the step reads is absent.
            ColumnTypeError: such a column has a type that the step cannot read.
        """
        if index is not None:
            from tilth.dedup.not_in import NotIn

            where = str(index) if isinstance(index, Path) else index
            return NotIn(self, where, within).apply(ds, mark_only=mark_only, across=across)
        if not within:
            raise ArgumentError(f"{self}: within=False leaves nothing to compare rows with; give an index.")
        if across is not None:
            return self._apply_across(ds, across, mark_only)
        if not mark_only:
            return super().apply(ds)
        if isinstance(ds, DatasetDict):
            return DatasetDict({split: self.apply(part, mark_only=True) for split, part in ds.items()})
        if not isinstance(ds, Dataset):
            return super().apply(ds)
        self.check(ds.features.arrow_schema)
        return self._marked(ds, str(Hasher.hash([fingerprint_after(ds, self), "marks"])))

    def _dropped(self, found: Groups) -> Dropped:
        codes = self._codes(found)
        rows = np.flatnonzero(codes)
        return Dropped(rows, codes[rows], self._evidence(found, rows))

    def _evidence(self, found: Groups, rows: Rows) -> pa.StructArray:
        """For each of these rows, which are dropped, the row that stands for it, and how similar they are."""
        alone = found.kept[rows] == rows
        kept, similarity = pa.array(found.kept[rows], mask=alone), pa.array(found.similarity[rows], mask=alone)
        return pa.StructArray.from_arrays([kept, similarity], names=["kept_row", "similarity"])

    def _codes(self, found: Groups) -> Codes:
        """The reasons, those of the rows that stood for others among them where no copy is to stay."""
        if self.keep != "none":
            return found.codes
        codes = found.codes.copy()
        gone = np.flatnonzero(codes > NULL_TEXT)
        # The group's worst reason speaks for the row that stood for it: a near duplicate is one on both sides.
        np.maximum.at(codes, found.kept[gone], codes[gone])
        return codes

    def _marked(self, ds: Dataset, fingerprint: str) -> Dataset:
        taken = [name for name in self.marks.names if name in ds.column_names]
        if taken:
            raise ArgumentError(
                f"{self}: mark_only adds the columns {self.marks.names}, but the data has {taken} already."
            )

        def marks() -> Iterator[pa.Table]:
            yield self._marks(self.groups(ds.with_format(None)))

        frame = Frame(ds.with_format(None) if ds._indices is None else materialised(ds))
        # Nothing is compared where the marks are found on disk.
        written = stored(frame.dataset, fingerprint, self.marks, marks())
        return in_format_of(ds, frame.lay_over(written, fingerprint).dataset)

    def _marks(self, found: Groups) -> pa.Table:
        codes = self._codes(found)
        unmarked = (codes == 0) | (found.kept == np.arange(len(codes)))
        return pa.table(
            [
                pa.array(found.kept, mask=unmarked),
                pa.array(found.similarity, mask=unmarked),
                pa.array([None, *self.reasons], pa.string()).take(pa.array(codes)),
                pa.array(found.kept, mask=~_in_a_group(found)),
            ],
            schema=MARKS,
        )

    def _apply_across(self, ds: Any, names: Sequence[str], mark_only: bool) -> Any:
        if not isinstance(ds, DatasetDict):
            raise ArgumentError(f"{self}: across={names!r} compares splits, but {type(ds).__name__} has none.")
        known = not isinstance(names, str) and all(name in ds for name in names)
        if not known or len(set(names)) != len(names) or not names:
            raise ArgumentError(
                f"{self}: across={names!r} is not allowed; it must be a list that names splits once, of {list(ds)}."
            )
        if mark_only:
            raise ArgumentError(
                f"{self}: mark_only and across do not go together; a mark counts the rows of one split."
            )
        columns = list(self.reads)
        for name in names:
            self.check(ds[name].features.arrow_schema)
        parts = [ds[name].with_format(None).select_columns(columns) for name in names]
        sizes = [len(part) for part in parts]
        found = self.groups(concatenate_datasets(parts), sizes)
        codes, ends = self._codes(found), np.cumsum(sizes)
        made = dict(ds)
        for name, size, end in zip(names, sizes, ends, strict=True):
            stay = np.flatnonzero(codes[end - size : end] == 0)
            others = [ds[other]._fingerprint for other in names]
            made[name] = select_rows(ds[name], stay, str(Hasher.hash([self.fingerprint, name, list(names), others])))
        return DatasetDict(made)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows that were verified to be similar, each once.

    Attributes:
        one: a row of each pair, shape `(pairs,)`.
        other: the other one, shape `(pairs,)`.
        similarity: of the two, shape `(pairs,)`.
    """

    one: Rows
    other: Rows
    similarity: Similarities


def grouped(
    order: Rows,
    pairs: Pairs,
    cluster: Cluster,
    n: int,
    similar: Callable[[Rows, Rows], Similarities] | None = None,
) -> tuple[Rows, Similarities]:
    """Groups of verified pairs.

    Args:
        order: rows, best first; only these take part.
        pairs: which of them are similar; a pair names two of these rows.
        cluster: `direct`: best first, a row goes if it is similar to one that stays, and the best of those stands for
            it. `component`: the best row of all that are connected stands for them.
        n: how many rows there are in all.
        similar: the similarity of two rows each, for rows of a component that are in no pair with the one that stays;
            without it that of the best pair they are in is given.

    Returns:
        `kept` and `similarity` of `Groups`, of shape `(n,)`.
    """
    from tilth.dedup import _groups

    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(len(order))
    bounds, better, similarity = _groups.by_worse(rank[pairs.one], rank[pairs.other], pairs.similarity, len(order))
    stands = np.arange(len(order), dtype=np.int64)
    how = np.ones(len(order), dtype=np.float32)
    if cluster == "direct":
        _groups.direct(bounds, better, similarity, stands, how)
    else:
        paired = _groups.component(bounds, better, similarity, stands, how)
        lacking = np.flatnonzero(~paired)
        if similar is not None and len(lacking):
            how[lacking] = similar(order[lacking], order[stands[lacking]])
    kept, found = np.arange(n, dtype=np.int64), np.ones(n, dtype=np.float32)
    kept[order] = order[stands]
    found[order] = how
    return kept, found


def in_splits(order: Rows, splits: Sequence[int] | None) -> Rows:
    """Rows, best first, so that those of an earlier split come before those of a later one."""
    if splits is None:
        return order
    ends = np.cumsum(np.asarray(splits, dtype=np.int64))
    return order[np.argsort(np.searchsorted(ends, order, side="right"), kind="stable")]


def check_cluster(step: Deduplicator, cluster: str) -> None:
    """Refuse a kind of group that there is not.

    Raises:
        ArgumentError: it is neither `direct` nor `component`.
    """
    require(cluster in ("direct", "component"), step, "cluster", "'direct' or 'component'")


def _in_a_group(found: Groups) -> npt.NDArray[np.bool_]:
    """Whether each row shares its group with another."""
    sizes = np.bincount(found.kept, minlength=len(found.kept))
    return np.asarray(sizes[found.kept] > 1)
