"""Near-duplicate removal by SimHash: a text is 64 bits, and texts whose bits are nearly the same are near duplicates.

Each bit is the majority of the same bit of the hashes of a text's shingles (Charikar, Similarity estimation techniques
from rounding algorithms, 2002): the smaller the angle between two sets of shingles, the fewer bits differ. All pairs
within a distance are found by tables (Manku, Jain and Das Sarma, Detecting near-duplicates for web crawling, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.groups import NULL_TEXT, Cluster, Deduplicator, Groups, check_cluster, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.dedup.units import Preset, Unit, check_units, units_of
from tilth.frame import Frame
from tilth.step import require
from tilth.text.strings import strings


@dataclass(frozen=True)
class SimHash(Deduplicator):
    """Keep one row of each group of texts whose fingerprints differ in few of 64 bits.

    The distance of the fingerprints is the criterion and nothing is verified. It goes with the angle between two sets
    of shingles, give or take some bits, so it says little about the Jaccard similarity of any one pair: with the
    defaults nearly all rows that go are near duplicates, but of the pairs with a Jaccard similarity of 0.8 half are
    missed, and of short texts more. A larger distance finds more, of unrelated texts as well. Use `MinHash` where each
    dropped row must be as similar as asked, and none may be missed.

    Identical sequences of words are folded before anything is compared. A fingerprint of few votes is like many others,
    so texts of fewer than `min_shingles` different shingles go as identical ones only. A null is dropped for a reason
    of its own. The similarity in the evidence is the share of equal bits.

    Args:
        column: the text.
        distance: in how many bits two fingerprints that are similar may differ, from 0 to 16. Beyond 8 unrelated texts
            meet in large datasets: of a million random fingerprints 140 pairs are within 8, 100,000 within 12.
        ngram: units in a shingle.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go), `max:COLUMN`,
            `min:COLUMN`, or a mapping of one column to its values from best to worst.
        unit: `word`, or `char` for n-grams of characters other than white space.
        min_shingles: different shingles of a text that is compared by its fingerprint.
        cluster: `direct`: every row that goes is within `distance` of the very row that stays. `component`: of all rows
            that are connected by such pairs one stays.
        preset: what the three options below are where they are None: `code` and `math` tell cases apart and count
            punctuation, `web` takes all numbers for the same, `chat` is what is done without one.
        fold_case: whether upper and lower case are the same; by default they are.
        fold_numbers: whether all runs of digits are the same; by default they are not.
        punctuation: whether punctuation marks and symbols count as words; by default they do not.

    Examples:
        >>> from datasets import Dataset
        >>> text = " ".join(f"word{number}" for number in range(200))
        >>> ds = Dataset.from_dict({"text": [text, text + " more", "something else"]})
        >>> SimHash("text").apply(ds)["text"][:] == [text, "something else"]
        True
    """

    column: str
    distance: int = 3
    ngram: int = 3
    keep: Keep = "first"
    unit: Unit = "word"
    min_shingles: int = 4
    cluster: Cluster = "direct"
    preset: Preset | None = None
    fold_case: bool | None = None
    fold_numbers: bool | None = None
    punctuation: bool | None = None

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(0 <= self.distance <= 16, self, "distance", "from 0 to 16")
        require(1 <= self.ngram <= 1000, self, "ngram", "from 1 to 1000")
        require(self.min_shingles >= 1, self, "min_shingles", "one or more")
        check_keep(self, self.keep)
        check_cluster(self, self.cluster)
        check_units(self)

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Make the fingerprints of all rows, fold rows that are equal, and group the others by distance."""
        from tilth.dedup._fold import fold
        from tilth.dedup._hamming import BITS, nearest
        from tilth.dedup._simhash import fingerprints

        n = len(ds)
        found = Groups.alone(n)
        prints, shingles = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int32)
        digests = np.empty((n, 2), dtype=np.uint64)
        mode = units_of(self).mode

        def made(table: pa.Table, first: int) -> None:
            text = strings(table, self.column, str(self))
            here = slice(first, first + len(text))
            prints[here], shingles[here], digests[here] = fingerprints(text, mode, self.ngram)
            found.codes[here] = np.where(text.valid, 0, NULL_TEXT)

        for _ in Frame.of(ds).map_batches(made, [self.column]):
            pass
        order = in_splits(priority(self, self.keep, ds, [self.column]), splits)
        order = order[found.codes[order] == 0]
        first_of = fold(digests, order)
        is_copy = first_of != np.arange(len(order))
        compared = order[~is_copy & (shingles[order] >= self.min_shingles)]
        kept = compared[nearest(prints[compared], self.distance, self.cluster == "component")]
        differ = np.bitwise_count(prints[compared] ^ prints[kept])
        found.enter(compared, kept, (1 - differ / BITS).astype(np.float32))
        found.copy(order[is_copy], order[first_of[is_copy]])
        return found
