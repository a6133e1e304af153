"""Near-duplicate removal: rows whose word n-grams overlap by a threshold, found by MinHash and verified exactly.

MinHash (Broder, 1997) gives each text a sketch that agrees with another in each place with the probability of their
Jaccard similarity; bands of the sketch (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3) bring
similar texts into the same bucket. A candidate counts only when the exact similarity of the two shingle sets reaches
the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.keep import Keep, check_keep, keep_column, priority
from tilth.frame import Frame, Rows
from tilth.step import DatasetStep, Dropped, Outcome, require
from tilth.text.strings import strings, strings_of
from tilth.text.threads import ordered_map

if TYPE_CHECKING:
    from tilth.dedup._greedy import Buckets

_PAIRS_AT_ONCE = 2_048
_MISS_WEIGHT = 0.98
"""Of the two errors that bands trade, how much a missed duplicate weighs: a false candidate costs only its check."""


@dataclass(frozen=True)
class MinHash(DatasetStep):
    """Keep one row of each group of near-duplicates.

    Every dropped row is at least `threshold` similar to the kept row that its evidence names. Identical word sequences
    are folded before anything is compared. A text of fewer words than `ngram` is one shingle; a null is dropped for a
    reason of its own. Use `Exact` when only identical rows should go.

    Args:
        column: the text.
        threshold: Jaccard similarity of the sets of word n-grams, above 0 and at most 1.
        ngram: words in a shingle.
        num_perm: places in a sketch.
        bands: buckets that each text goes into; chosen for the threshold when None.
        rows: places that make one bucket key; chosen for the threshold when None.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go), `max:COLUMN`,
            `min:COLUMN`, or a mapping of one column to its values from best to worst.
        verify: compare candidates exactly. Without it the sketch's own estimate decides.
        seed: of the hashes.

    Examples:
        >>> from datasets import Dataset
        >>> text = "the quick brown fox jumps over the lazy dog while the cat sleeps on the mat all day"
        >>> ds = Dataset.from_dict({"text": [text, text + " long", "something else"]})
        >>> MinHash("text", threshold=0.8).apply(ds)["text"][:] == [text, "something else"]
        True
    """

    column: str
    threshold: float = 0.8
    ngram: int = 5
    num_perm: int = 128
    bands: int | None = None
    rows: int | None = None
    keep: Keep = "first"
    verify: bool = True
    seed: int = 1

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "duplicate", "near_duplicate")
    row_evidence: ClassVar[tuple[str, ...]] = ("kept_row",)

    def __post_init__(self) -> None:
        require(0 < self.threshold <= 1, self, "threshold", "above 0 and at most 1")
        require(1 <= self.ngram <= 1000, self, "ngram", "from 1 to 1000")
        require(2 <= self.num_perm <= 4096, self, "num_perm", "from 2 to 4096")
        require((self.bands is None) == (self.rows is None), self, "bands", "given together with rows, or not at all")
        if self.bands is not None and self.rows is not None:
            require(self.bands >= 1, self, "bands", "one or more")
            require(self.rows >= 1, self, "rows", "one or more")
            fits = self.bands * self.rows <= self.num_perm
            require(fits, self, "bands", f"at most num_perm / rows = {self.num_perm // self.rows}")
        check_keep(self, self.keep)

    @property
    def reads(self) -> tuple[str, ...]:
        """The text, and the column that `keep` looks at."""
        other = keep_column(self.keep)
        return (self.column,) if other is None or other == self.column else (self.column, other)

    @property
    def reads_text(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    @property
    def shape(self) -> tuple[int, int]:
        """Bands, and rows in each, that are used."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return best_shape(self.threshold, self.num_perm)

    def curve(self, similarity: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The probability that two texts of this similarity become candidates: `1 - (1 - s ** rows) ** bands`.

        Examples:
            >>> [round(float(MinHash("text", bands=16, rows=8).curve(s)), 3) for s in (0.5, 0.8, 0.9)]
            [0.061, 0.947, 1.0]
        """
        bands, rows = self.shape
        return np.asarray(1 - (1 - np.asarray(similarity, dtype=np.float64) ** rows) ** bands)

    def run(self, ds: Dataset) -> Outcome:
        """Find the groups and drop all rows but one of each."""
        from tilth.dedup._greedy import Buckets
        from tilth.dedup._sketch import sketch

        frame = Frame.of(ds)
        order = priority(self, self.keep, ds, [self.column])
        bands, rows = self.shape

        if not len(ds):
            return Outcome.without(Dropped.none(), 0)

        keys = np.empty((len(ds), bands), dtype=np.uint64)
        prints = np.empty((len(ds), self.num_perm), dtype=np.uint8)
        digests = np.empty((len(ds), 2), dtype=np.uint64)
        valid = np.empty(len(ds), dtype=np.bool_)

        def sketched(table: pa.Table, first: int) -> None:
            text = strings(table, self.column, str(self))
            here = slice(first, first + len(text))
            valid[here] = text.valid
            keys[here], prints[here], digests[here] = sketch(text, self.ngram, self.num_perm, bands, rows, self.seed)

        for _ in frame.map_batches(sketched, [self.column]):
            pass

        kept = np.arange(len(ds), dtype=np.int64)
        similarity = np.ones(len(ds), dtype=np.float32)
        codes = np.zeros(len(ds), dtype=np.uint8)
        order = order[valid[order]]
        first_of = fold(digests[order])
        folded = first_of != np.arange(len(order))
        codes[order[folded]] = 2
        kept[order[folded]] = order[first_of[folded]]

        single = order[~folded]
        # What belongs to folded rows is let go before the groups are formed.
        prints = prints[single]
        buckets = Buckets(keys[single])
        keys, digests = keys[:0].copy(), digests[:0].copy()
        self._thin(frame, single, buckets, prints, kept, similarity, codes)
        # A copy of a row that went is stood for by what stands for that row, if it is as similar to it: it is equal.
        copies = order[folded]
        originals = kept[copies]
        similarity[copies] = np.where(codes[originals] == 3, similarity[originals], 1)
        codes[copies] = np.where(codes[originals] == 3, 3, 2)
        kept[copies] = kept[originals]
        codes[~valid] = 1
        if self.keep == "none":
            stood_for = np.unique(kept[codes > 1])
            codes[stood_for] = 2
        return Outcome.without(_dropped(codes, kept, similarity), len(ds))

    def _thin(
        self,
        frame: Frame,
        single: Rows,
        buckets: Buckets,
        prints: npt.NDArray[np.uint8],
        kept: Rows,
        similarity: npt.NDArray[np.float32],
        codes: npt.NDArray[np.uint8],
    ) -> None:
        """Decide on the distinct rows `single`, best first, and enter those that go."""
        from tilth.dedup._greedy import GOES, Pairs, decide

        pairs = Pairs()
        state = np.zeros(len(single), dtype=np.uint8)
        stands = np.zeros(len(single), dtype=np.int32)
        how = np.zeros(len(single), dtype=np.float32)
        quota = 1
        while True:
            rows, others = decide(buckets, prints, pairs, self.threshold, state, stands, how, quota)
            if not len(rows):
                break
            quota = min(2 * quota, 1024)
            if self.verify:
                values = self._verified(frame, single[rows], single[others])
            else:
                values = _estimates(prints, rows, others)
            pairs.add(rows, others, values)
        gone = state == GOES
        kept[single[gone]] = single[stands[gone]]
        similarity[single[gone]] = how[gone]
        codes[single[gone]] = 3

    def _verified(self, frame: Frame, rows: Rows, leaders: Rows) -> npt.NDArray[np.float32]:
        from tilth.dedup._sketch import similarities

        by_leader = np.lexsort((rows, leaders))
        parts = [by_leader[at : at + _PAIRS_AT_ONCE] for at in range(0, len(by_leader), _PAIRS_AT_ONCE)]

        def compared(part: Rows) -> npt.NDArray[np.float32]:
            theirs, leader_of = np.unique(leaders[part], return_inverse=True)
            ours, place = np.unique(rows[part], return_inverse=True)
            texts = [strings_of(frame.take(self.column, taken)) for taken in (theirs, ours)]
            return similarities(texts[0], leader_of, texts[1], place, self.ngram)

        values = np.empty(len(rows), dtype=np.float32)
        for part, found in zip(parts, ordered_map(compared, parts), strict=True):
            values[part] = found
        return values


@cache
def best_shape(threshold: float, num_perm: int) -> tuple[int, int]:
    """Bands and rows that make the fewest weighted errors: dissimilar candidates, and similar texts that never meet.

    Each error is the area under or over the candidate curve on its side of the threshold, as in datasketch and
    text-dedup; a miss weighs more here, since every candidate is verified.
    """
    below, above = np.linspace(0, threshold, 200), np.linspace(threshold, 1, 200)
    best, least = (1, num_perm), float("inf")
    for rows in range(1, num_perm + 1):
        for bands in range(1, num_perm // rows + 1):
            false = np.trapezoid(1 - (1 - below**rows) ** bands, below)
            missed = np.trapezoid((1 - above**rows) ** bands, above)
            error = (1 - _MISS_WEIGHT) * false + _MISS_WEIGHT * missed
            if error < least:
                best, least = (bands, rows), float(error)
    return best


def fold(digests: npt.NDArray[np.uint64]) -> Rows:
    """For each row the first row with the same 128-bit digest, shape `(rows,)`."""
    if not len(digests):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    begins = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(axis=1)])
    group = np.cumsum(begins) - 1
    first_of = np.empty(len(digests), dtype=np.int64)
    # lexsort is stable, so the first of a group is its first row.
    first_of[order] = order[np.flatnonzero(begins)][group]
    return first_of


def _estimates(prints: npt.NDArray[np.uint8], rows: Rows, others: Rows) -> npt.NDArray[np.float32]:
    agree = (prints[rows] == prints[others]).mean(axis=1)
    # Two places that differ still agree in a byte once in 256.
    return np.asarray(np.clip((agree - 1 / 256) / (1 - 1 / 256), 0, 1), dtype=np.float32)


def _dropped(codes: npt.NDArray[np.uint8], kept: Rows, similarity: npt.NDArray[np.float32]) -> Dropped:
    rows = np.flatnonzero(codes)
    alone = (codes[rows] == 1) | (kept[rows] == rows)
    evidence = pa.StructArray.from_arrays(
        [pa.array(kept[rows], mask=alone), pa.array(similarity[rows].astype(np.float32), mask=alone)],
        names=["kept_row", "similarity"],
    )
    return Dropped(rows, codes[rows], evidence)
