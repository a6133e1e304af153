"""Near-duplicate removal by exact comparison: all pairs of rows that are as similar as asked, and no estimate.

No pair is missed and none is guessed, so this is what other ways to find near duplicates are measured by. Most pairs
are never looked at: an index of the rarest tokens of each row brings together those that can be similar at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, cast

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.groups import NULL_TEXT, Cluster, Deduplicator, Groups, Pairs, check_cluster, grouped, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.dedup.units import Preset, Unit, Units, check_units, units_of
from tilth.errors import ArgumentError
from tilth.frame import Frame, Rows
from tilth.step import require

if TYPE_CHECKING:
    from tilth.dedup._compared import Compared
    from tilth.dedup.units import WithUnits

Metric: TypeAlias = Literal["jaccard", "rouge_l", "edit"]

METRICS = ("jaccard", "rouge_l", "edit")


@dataclass(frozen=True)
class Pairwise(Deduplicator):
    """Keep one row of each group of rows that are similar, compared exactly.

    For some ten thousand rows, and as ground truth. Time follows the pairs that have rare words in common, memory the
    words of all rows and the pairs that are similar, of which there may be 134 million. Use `MinHash` for more rows.

    Identical sequences of units are folded before anything is compared, as duplicates. Two texts without any unit are
    identical. A null is dropped for a reason of its own. Units are known by hashes of 64 bits.

    Args:
        column: the text.
        metric: `jaccard`: of the sets of n-grams, as `MinHash` has it. `rouge_l`: the F-measure of the longest common
            subsequence of units, 2 L / (m + n) (Lin, 2004); the self-instruct rule (Wang et al., 2022) drops an
            instruction at 0.7. `edit`: 1 less the share of the longer text's units that it takes to change one text
            into the other by inserting, deleting and replacing units (Levenshtein).
        threshold: of the similarity, above 0 and at most 1.
        ngram: units in a shingle of `jaccard`, 5 where it is None.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go), `max:COLUMN`,
            `min:COLUMN`, or a mapping of one column to its values from best to worst.
        unit: `word`, or `char` for characters other than white space. Words where it is None, characters for `edit`.
        cluster: `direct`: every row that goes is at least `threshold` similar to the very row that stays.
            `component`: of all rows that are connected by similar pairs one stays; the evidence has the similarity of
            the two, which can be below the threshold.
        preset: what the three options below are where they are None: `code` and `math` tell cases apart and count
            punctuation, `web` takes all numbers for the same, `chat` is what is done without one.
        fold_case: whether upper and lower case are the same; by default they are.
        fold_numbers: whether all runs of digits are the same; by default they are not.
        punctuation: whether punctuation marks and symbols count as words; by default they do not.

    Examples:
        >>> from datasets import Dataset
        >>> texts = ["Write a short story about a cat.", "Write a short poem about a cat.", "Add 2 and 3."]
        >>> ds = Dataset.from_dict({"text": texts})
        >>> Pairwise("text", metric="rouge_l", threshold=0.7).pairs(ds).to_list()
        [{'row': 0, 'other': 1, 'similarity': 0.8571428656578064}]
        >>> Pairwise("text", metric="rouge_l", threshold=0.7).apply(ds)["text"][:]
        ['Write a short story about a cat.', 'Add 2 and 3.']
    """

    column: str
    metric: Metric = "jaccard"
    threshold: float = 0.8
    ngram: int | None = None
    keep: Keep = "first"
    unit: Unit | None = None
    cluster: Cluster = "direct"
    preset: Preset | None = None
    fold_case: bool | None = None
    fold_numbers: bool | None = None
    punctuation: bool | None = None

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(self.metric in METRICS, self, "metric", "'jaccard', 'rouge_l' or 'edit'")
        require(0 < self.threshold <= 1, self, "threshold", "above 0 and at most 1")
        if self.metric == "jaccard":
            require(self.ngram is None or 1 <= self.ngram <= 1000, self, "ngram", "from 1 to 1000, or None for 5")
        else:
            require(self.ngram is None, self, "ngram", f"None: {self.metric!r} has no n-grams")
        check_keep(self, self.keep)
        check_cluster(self, self.cluster)
        check_units(self if self.unit is not None else replace(self, unit="word"))

    @property
    def units(self) -> Units:
        """What texts are cut into, by the metric, the preset and the options."""
        unit: Unit = self.unit or ("char" if self.metric == "edit" else "word")
        return replace(units_of(cast("WithUnits", self)), unit=unit)

    def pairs(self, ds: Dataset) -> Dataset:
        """All pairs of rows that are as similar as asked, copies among them.

        Returns:
            `row` and `other`, which comes after it, and their `similarity`. Sorted by row, then by other row.

        Raises:
            ArgumentError: there are more than 134 million of them.
            MissingColumnError: the column is absent.
            ColumnTypeError: it does not hold text.
            TypeError: `ds` is not a `Dataset`.
        """
        if not isinstance(ds, Dataset):
            raise TypeError(f"{self}.pairs works on a Dataset, not on {type(ds).__name__}; give it one split.")
        self.check(ds.features.arrow_schema)
        compared = self._read(ds.with_format(None), np.arange(len(ds), dtype=np.int64))
        with self._listed():
            row, other, similarity = compared.with_copies(compared.pairs(self.threshold))
        by_row = np.lexsort((other, row))
        return Dataset(pa.table({"row": row[by_row], "other": other[by_row], "similarity": similarity[by_row]}))

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Fold rows that are equal, find all similar pairs of the others, and group them."""
        compared = self._read(ds, in_splits(priority(self, self.keep, ds, [self.column]), splits))
        with self._listed():
            one, other, similarity = compared.pairs(self.threshold)
        best_first = np.arange(len(compared.single), dtype=np.int64)
        pairs = Pairs(one, other, similarity.astype(np.float32))
        kept, how = grouped(best_first, pairs, self.cluster, len(best_first), compared.similar)
        found = Groups.alone(len(ds))
        found.codes[~compared.valid] = NULL_TEXT
        found.enter(compared.single, compared.single[kept], how)
        copies = np.flatnonzero(compared.first_of != np.arange(len(compared.order)))
        found.copy(compared.order[copies], compared.order[compared.first_of[copies]])
        return found

    @contextmanager
    def _listed(self) -> Iterator[None]:
        from tilth.dedup._join import MOST_PAIRS, TooManyPairsError

        try:
            yield
        except TooManyPairsError:
            raise ArgumentError(
                f"{self}: column {self.column!r} has more than {MOST_PAIRS:,} pairs of rows that are similar at "
                f"threshold={self.threshold}. Use MinHash, which does not list them, or a higher threshold."
            ) from None

    def _read(self, ds: Dataset, order: Rows) -> Compared:
        from tilth.dedup._compared import Compared

        metric = METRICS.index(self.metric)
        return Compared.read(Frame.of(ds), self.column, order, metric, self.units.mode, self.ngram or 5, str(self))
