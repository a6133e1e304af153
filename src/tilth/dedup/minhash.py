"""Near-duplicate removal: rows whose n-grams overlap by a threshold, found by MinHash and verified exactly.

MinHash (Broder, 1997) gives each text a sketch that agrees with another in each place with the probability of their
Jaccard similarity; bands of the sketch (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3) bring
similar texts into the same bucket. A candidate counts only when the exact similarity of the two shingle sets reaches
the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.dedup.curve import Curve
from tilth.dedup.groups import Cluster, Deduplicator, Groups, Similarities, check_cluster, in_splits
from tilth.dedup.keep import Keep, check_keep, priority
from tilth.dedup.units import Preset, Unit, Units, check_units, units_of
from tilth.frame import Frame, Rows
from tilth.step import require
from tilth.text.strings import strings, strings_of
from tilth.text.threads import ordered_map

if TYPE_CHECKING:
    from tilth.dedup._greedy import Buckets, Pairs
    from tilth.dedup._keys import KeyStore
    from tilth.dedup._located import Texts
    from tilth.dedup._sketch import Shape

_PAIRS_AT_ONCE = 16_384
_BYTES_AT_ONCE = 8 * 2**20
_ROWS_AT_ONCE = 1 << 16
_BUDGET = 512 * 2**20
"""Bytes of band keys and sketches that are held in memory; beyond it keys go to disk, and sketches are made again for
the rows that need them."""
_MISS_WEIGHT = 0.98
"""Of the two errors that bands trade, how much a missed duplicate weighs: a false candidate costs only its check."""


@dataclass(frozen=True)
class MinHash(Deduplicator):
    """Keep one row of each group of near-duplicates.

    Identical sequences of words are folded before anything is compared. A text of fewer words than `ngram` is one
    shingle; a null is dropped for a reason of its own. Use `Exact` when only identical rows should go.

    Args:
        column: the text.
        threshold: Jaccard similarity of the sets of n-grams, above 0 and at most 1.
        ngram: units in a shingle.
        num_perm: places in a sketch.
        bands: buckets that each text goes into; chosen for the threshold when None.
        rows: places that make one bucket key; chosen for the threshold when None.
        keep: which copy stays: `first`, `last`, `longest`, `shortest`, `none` (all copies go), `max:COLUMN`,
            `min:COLUMN`, or a mapping of one column to its values from best to worst.
        verify: compare candidates exactly. Without it the sketch's own estimate decides.
        seed: of the hashes.
        unit: `word`, or `char` for n-grams of characters other than white space.
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
        >>> text = "the quick brown fox jumps over the lazy dog while the cat sleeps on the mat all day"
        >>> ds = Dataset.from_dict({"text": [text, text + " long", "something else"]})
        >>> MinHash("text", threshold=0.8).apply(ds)["text"][:] == [text, "something else"]
        True
        >>> MinHash("text", threshold=0.8).clusters(ds).to_list()[1]
        {'row': 1, 'cluster': 0, 'kept_row': 0, 'similarity': 0.9333333373069763}
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
    unit: Unit = "word"
    cluster: Cluster = "direct"
    preset: Preset | None = None
    fold_case: bool | None = None
    fold_numbers: bool | None = None
    punctuation: bool | None = None

    version: ClassVar[int] = 2

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
        check_cluster(self, self.cluster)
        check_units(self)

    @property
    def shape(self) -> tuple[int, int]:
        """Bands, and rows in each, that are used."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return best_shape(self.threshold, self.num_perm)

    @property
    def units(self) -> Units:
        """What texts are cut into, by the preset and the options."""
        return units_of(self)

    def curve(self) -> Curve:
        """How likely two texts of a given similarity are to become candidates: `1 - (1 - s ** rows) ** bands`.

        Examples:
            >>> curve = MinHash("text", bands=16, rows=8).curve()
            >>> [round(float(curve(similarity)), 3) for similarity in (0.5, 0.8, 0.9)]
            [0.061, 0.947, 1.0]
            >>> curve
            Curve(16 bands of 8 rows: at the threshold 0.8 a pair is found with probability 0.947)
        """
        return Curve(self.threshold, *self.shape)

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Sketch all rows, fold those that are equal, and decide on the others."""
        from tilth.dedup._fold import fold
        from tilth.dedup._greedy import Buckets
        from tilth.dedup._keys import KeyStore
        from tilth.dedup._located import Texts

        n = len(ds)
        found = Groups.alone(n)
        if not n:
            return found
        frame = Frame.of(ds)
        shape, texts = self._shape, Texts(frame, self.column)
        with KeyStore(shape.bands, n, _BUDGET * shape.bands * 8 // (shape.bands * 8 + shape.num_perm)) as keys:
            prints = None if keys.spilled else np.empty((n, shape.num_perm), dtype=np.uint8)
            digests = np.empty((n, 2), dtype=np.uint64)
            self._sketch(frame, texts, keys, prints, digests, found.codes)
            order = in_splits(priority(self, self.keep, ds, [self.column]), splits)
            order = order[found.codes[order] == 0]
            first_of = fold(digests, order)
            del digests
            copies = np.flatnonzero(first_of != np.arange(len(order)))
            rows, first_of = order[copies], order[first_of[copies]]
            single = np.delete(order, copies) if len(copies) else order
            del order
            plain = len(single) == n and self.keep in ("first", "none") and splits is None
            buckets = Buckets(keys, shape.bands, None if plain else single, len(single))
        shared = single[buckets.rows]
        del single
        if prints is None:
            shown, texts = self._again(frame, texts, shared)
        else:
            shown = prints[shared]
        del prints
        self._decide(texts, shared, buckets, shown, found)
        found.copy(rows, first_of)
        return found

    @property
    def _shape(self) -> Shape:
        from tilth.dedup._sketch import Shape

        return Shape(self.units.mode, self.ngram, self.num_perm, *self.shape, self.seed)

    def _sketch(
        self,
        frame: Frame,
        texts: Texts,
        keys: KeyStore,
        prints: npt.NDArray[np.uint8] | None,
        digests: npt.NDArray[np.uint64],
        codes: npt.NDArray[np.uint8],
    ) -> None:
        """Sketch all rows into these arrays; nulls get their reason."""
        from tilth.dedup._sketch import sketch

        shape = self._shape

        def sketched(table: pa.Table, first: int) -> None:
            text = strings(table, self.column, str(self))
            here = slice(first, first + len(text))
            bands, print_, digests[here] = sketch(text, shape)
            keys.put(first, bands)
            if prints is not None:
                prints[here] = print_
            codes[here] = ~text.valid

        cuts = frame.cuts([self.column])
        for (_, hi), _ in zip(cuts, frame.map_batches(sketched, [self.column], cuts), strict=True):
            if keys.spilled:
                texts.release(hi)

    def _again(self, frame: Frame, texts: Texts, rows: Rows) -> tuple[npt.NDArray[np.uint8], Texts]:
        """The sketches of these rows, made again, and their texts: copied, unless they are too large for that.

        They will be read in any order, which would bring the whole of a mapped file into memory.
        """
        from tilth.dedup._located import Texts
        from tilth.dedup._sketch import sketch

        prints = np.empty((len(rows), self.num_perm), dtype=np.uint8)
        in_order = np.argsort(rows, kind="stable")
        parts = [in_order[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]
        copies: list[pa.Array] = []
        held = 0

        def sketched(part: Rows) -> pa.Array:
            text = frame.take(self.column, rows[part])
            prints[part] = sketch(strings_of(text), self._shape)[1]
            return text

        for text in ordered_map(sketched, parts):
            texts.release()
            held += text.nbytes
            if held <= _BUDGET:
                copies.append(text)
        if held > _BUDGET or not copies:
            return prints, texts
        return prints, Texts(frame, self.column, pa.chunked_array(copies), rows[in_order])

    def _decide(self, texts: Texts, rows: Rows, buckets: Buckets, prints: npt.NDArray[np.uint8], found: Groups) -> None:
        """Decide on the rows that share a key, best first, and enter those that go."""
        from tilth.dedup._greedy import Pairs, decide

        pairs = Pairs()
        state = np.zeros(len(rows), dtype=np.uint8)
        stands = np.arange(len(rows), dtype=np.int32)
        how = np.ones(len(rows), dtype=np.float32)
        quota = 1
        chains = buckets.before if self.cluster == "direct" else buckets.before.copy()
        while True:
            ours, others = decide(buckets, prints, pairs, self.threshold, state, stands, how, quota)
            if not len(ours):
                break
            quota = min(2 * quota, 1024)
            pairs.add(ours, others, self._similar(texts, prints, rows, ours, others))
        if self.cluster == "component":
            buckets.before = chains
            connected, how = self._connected(texts, rows, buckets, prints, pairs, stands)
            stands = connected.astype(np.int32)
        found.enter(rows, rows[stands], how)

    def _connected(
        self,
        texts: Texts,
        rows: Rows,
        buckets: Buckets,
        prints: npt.NDArray[np.uint8],
        pairs: Pairs,
        direct: npt.NDArray[np.int32],
    ) -> tuple[Rows, Similarities]:
        """The components: what direct groups hold together, and every further pair between them that is similar."""
        from tilth.dedup._greedy import connect

        stands = direct.astype(np.int64)
        quota = 4
        while True:
            ours, others = connect(buckets, prints, pairs, self.threshold, stands, quota)
            if not len(ours):
                break
            quota = min(2 * quota, 1024)
            ours, others = np.unique(np.stack([ours, others]), axis=1)
            pairs.add(ours, others, self._similar(texts, prints, rows, ours, others))
        while True:
            further = stands[stands]
            if np.array_equal(further, stands):
                break
            stands = further
        how = np.ones(len(rows), dtype=np.float32)
        gone = np.flatnonzero(stands != np.arange(len(rows)))
        how[gone] = self._similar(texts, prints, rows, gone, stands[gone])
        return stands, how

    def _similar(
        self, texts: Texts, prints: npt.NDArray[np.uint8], rows: Rows, ours: Rows, others: Rows
    ) -> Similarities:
        """The similarity of `rows[ours]` and `rows[others]`, exact or as the sketches have it."""
        from tilth.dedup._compare import similarities
        from tilth.dedup._located import cuts

        if not self.verify:
            return _estimates(prints, ours, others)
        mode = self.units.mode
        by_other = np.lexsort((ours, others))
        sizes = texts.sizes(rows[ours[by_other]])
        parts = [by_other[lo:hi] for lo, hi in cuts(sizes, _BYTES_AT_ONCE, _PAIRS_AT_ONCE)]

        def compared(part: Rows) -> Similarities:
            both, place = np.unique(np.concatenate([others[part], ours[part]]), return_inverse=True)
            found = texts.at(rows[both])
            return similarities(found, place[: len(part)], place[len(part) :], mode, self.ngram)

        values = np.empty(len(ours), dtype=np.float32)
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


def _estimates(prints: npt.NDArray[np.uint8], rows: Rows, others: Rows) -> Similarities:
    agree = np.empty(len(rows), dtype=np.float32)
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        here = slice(at, at + _ROWS_AT_ONCE)
        agree[here] = (prints[rows[here]] == prints[others[here]]).mean(axis=1)
    # Two places that differ still agree in a byte once in 256.
    return np.asarray(np.clip((agree - 1 / 256) / (1 - 1 / 256), 0, 1), dtype=np.float32)
