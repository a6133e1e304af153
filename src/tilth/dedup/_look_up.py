"""New rows held against those of an index, batch by batch as they are signed.

Every indexed row counts as one that stays. A row equals an indexed one if their digests are the same; it is near one if
they share the key of a band and their similarity reaches the threshold. Of the rows that share a key those are compared
first whose sketches agree best, a few at a time, until one is found to be similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.dedup._located import Located, cuts
from tilth.dedup._segment import Keys, Prints, Segment
from tilth.dedup.groups import Similarities
from tilth.frame import Rows
from tilth.text.strings import Mask, Strings

_WIDER = 8
"""One stored row is compared with a row at first, and so many times more in each turn after."""
_ENTRIES_AT_ONCE = 1 << 22
NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Signed:
    """The signatures of the rows of one batch.

    Attributes:
        valid: whether there is anything to compare a row by, shape `(n,)`.
        digests: shape `(n, 2)`.
        keys: of each band, shape `(bands, n)`.
        prints: sketches, shape `(n, places)`.
        text: the texts, where rows can be near each other.
    """

    valid: Mask
    digests: Keys
    keys: Keys
    prints: Prints
    text: Strings | None = None


@dataclass(frozen=True)
class Nearness:
    """When two rows are near each other.

    Attributes:
        threshold: their least similarity.
        verify: whether it is that of their sets of shingles, or what their sketches say.
        mode: the units, as `Units.mode` says.
        ngram: units in a shingle.
    """

    threshold: float
    verify: bool
    mode: int
    ngram: int


class LookUp:
    """What was found in an index for each of `n` rows.

    Attributes:
        stored: the stored row that each one equals or is near, counted among all that are stored, or `NOWHERE`, shape
            `(n,)`.
        similarity: of the two, 1 where there is none, shape `(n,)`.
    """

    def __init__(self, segments: Sequence[Segment], nearness: Nearness | None, n: int) -> None:
        self._segments, self._nearness = segments, nearness
        self._bases = np.concatenate([[0], np.cumsum([segment.rows for segment in segments], dtype=np.int64)])
        self.stored: Rows = np.full(n, NOWHERE, dtype=np.int64)
        self.similarity: Similarities = np.ones(n, dtype=np.float32)

    @property
    def hits(self) -> Rows:
        """The rows for which one was found, ascending."""
        return np.flatnonzero(self.stored != NOWHERE)

    def look_up(self, first: int, signed: Signed) -> Mask:
        """Look for the rows of a batch that begins with row `first`; gives which of them were found."""
        stored = equal_rows(self._segments, signed.digests, signed.valid)
        similarity = np.ones(len(stored), dtype=np.float32)
        if self._nearness is not None and self._segments:
            self._find_near(self._nearness, signed, stored, similarity)
        self.stored[first : first + len(stored)] = stored
        self.similarity[first : first + len(stored)] = similarity
        return np.asarray(stored != NOWHERE)

    def numbers(self, stored: Rows) -> Rows:
        """The numbers in the index of stored rows."""
        numbers = np.full(len(stored), NOWHERE, dtype=np.int64)
        for segment, here, places in self._in_segments(stored):
            numbers[here] = segment.numbers[places]
        return numbers

    def agreeing(self, prints: Prints, stored: Rows) -> npt.NDArray[np.int64]:
        """In how many places each sketch agrees with that of a stored row."""
        agrees = np.zeros(len(stored), dtype=np.int64)
        for segment, here, places in self._in_segments(stored):
            agrees[here] = (prints[here] == segment.prints[places]).sum(axis=1)
        return agrees

    def similar(self, texts: Located, one: Rows, stored: Rows) -> Similarities:
        """The exact similarity of texts `one[i]` and the rows `stored[i]`; equal `one` stand next to each other."""
        from tilth.dedup._shingle_sets import similarities

        assert self._nearness is not None
        starts, counts = np.zeros(len(stored), dtype=np.int64), np.zeros(len(stored), dtype=np.int64)
        for segment, here, places in self._in_segments(stored):
            starts[here], counts[here] = segment.shingles(places)
        return similarities(texts, one, starts, counts, self._nearness.mode, self._nearness.ngram)

    def _find_near(self, nearness: Nearness, signed: Signed, stored: Rows, similarity: Similarities) -> None:
        """Find for the rows that have none yet a stored row that they are near, in place."""
        rows = np.flatnonzero(signed.valid & (stored == NOWHERE))
        shared = self._shared(signed, rows)
        # How many entries each row shares a key with: rows are taken so many at a time that all can be held.
        entries = np.zeros(len(rows), dtype=np.int64)
        for one, _, lows, highs in shared:
            np.add.at(entries, one, highs - lows)
        for lo, hi in cuts(entries, _ENTRIES_AT_ONCE, len(rows)):
            if entries[lo:hi].any():
                one, other, agree = self._candidates(nearness, signed, rows, shared, lo, hi)
                self._decide(nearness, signed, rows, one, other, agree, stored, similarity)

    def _shared(self, signed: Signed, rows: Rows) -> list[tuple[Rows, Rows, Rows, Rows]]:
        """For each segment which of these rows shares a key in which band, and from where to where that key stands."""
        from tilth.dedup._sorted_keys import find_ranges, sort

        bands = len(signed.keys)
        keys = [signed.keys[band][rows] for band in range(bands)]
        orders = [sort(each)[1] for each in keys]
        found = []
        for segment in self._segments:
            lows, highs = np.zeros((bands, len(rows)), np.int64), np.zeros((bands, len(rows)), np.int64)
            for band in range(bands):
                find_ranges(orders[band], keys[band], segment.keys[band + 1][0], lows[band], highs[band])
            one, band_of = np.nonzero((highs > lows).T)
            found.append((one, band_of, lows[band_of, one], highs[band_of, one]))
        return found

    def _candidates(
        self,
        nearness: Nearness,
        signed: Signed,
        rows: Rows,
        shared: list[tuple[Rows, Rows, Rows, Rows]],
        lo: int,
        hi: int,
    ) -> tuple[Rows, Rows, Rows]:
        """Rows, stored rows that share a key with them, and in how many places their sketches agree.

        Sorted by row; those that agree best come first, then those with the smaller number.
        """
        from tilth.dedup._greedy import _least
        from tilth.dedup._sorted_keys import agreeing

        least = _least(signed.prints.shape[1], nearness.threshold)
        found = []
        for segment, base, (one, band_of, lows, highs) in zip(
            self._segments, self._bases.tolist(), shared, strict=False
        ):
            here = slice(*np.searchsorted(one, (lo, hi)))
            # A stored row is taken once for each row, however many keys they share.
            most = min(int((highs[here] - lows[here]).sum()), (hi - lo) * segment.rows)
            ones, places, agrees = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
            count = agreeing(
                one[here],
                lows[here],
                highs[here],
                segment.places_at[1:][band_of[here]],
                signed.prints,
                rows,
                segment.prints,
                least,
                np.zeros(segment.rows, dtype=np.int32),
                ones,
                places,
                agrees,
            )
            found.append((ones[:count], base + places[:count], agrees[:count]))
        one, other, agree = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((other, -agree, one))
        return one[order], other[order], agree[order]

    def _decide(
        self,
        nearness: Nearness,
        signed: Signed,
        rows: Rows,
        one: Rows,
        other: Rows,
        agree: Rows,
        stored: Rows,
        similarity: Similarities,
    ) -> None:
        """Compare each row with its candidates, in place: at first with the likeliest, which mostly is similar."""
        threshold = np.float32(nearness.threshold) - np.float32(1e-6)
        open_rows, begins = np.unique(one, return_index=True)
        ends, width = np.append(begins[1:], len(one)), 1
        while len(open_rows):
            counts = np.minimum(ends - begins, width)
            starts = np.cumsum(counts) - counts
            pairs = np.arange(int(counts.sum())) + np.repeat(begins - starts, counts)
            if nearness.verify:
                values = self.similar(_located(signed.text, rows), one[pairs], other[pairs])
            else:
                values = estimates(agree[pairs], signed.prints.shape[1])
            best = np.maximum.reduceat(values, starts)
            won = best >= threshold
            best_pairs = np.flatnonzero(values == np.repeat(best, counts))
            first = best_pairs[np.searchsorted(best_pairs, starts)]
            stored[rows[open_rows[won]]] = other[pairs[first[won]]]
            similarity[rows[open_rows[won]]] = best[won]
            begins = begins + counts
            # Without the sets of shingles, none is more similar than the one that agrees best.
            left = ~won & (begins < ends) & nearness.verify
            open_rows, begins, ends = open_rows[left], begins[left], ends[left]
            width *= _WIDER

    def _in_segments(self, stored: Rows) -> list[tuple[Segment, Rows, Rows]]:
        """For each segment that has any of these rows which of them they are, and their places in it."""
        owner = np.searchsorted(self._bases, stored, side="right") - 1
        found = []
        for number in np.unique(owner[stored != NOWHERE]).tolist():
            here = np.flatnonzero(owner == number)
            found.append((self._segments[number], here, stored[here] - self._bases[number]))
        return found


def equal_rows(segments: Sequence[Segment], digests: Keys, valid: Mask) -> Rows:
    """For each valid row the stored one of the same digest, counted among all that are stored, or `NOWHERE`."""
    from tilth.dedup._sorted_keys import find_equal, sort

    found = np.full(len(digests), NOWHERE, dtype=np.int64)
    if not segments:
        return found
    firsts, seconds = np.ascontiguousarray(digests[:, 0]), np.ascontiguousarray(digests[:, 1])
    order = np.flatnonzero(valid)
    order = order[sort(firsts[order])[1]]
    base = 0
    for segment in segments:
        find_equal(order, firsts, seconds, *segment.keys[0], segment.seconds, base, found)
        base += segment.rows
    return found


def estimates(agrees: npt.NDArray[np.integer], places: int) -> Similarities:
    """The similarity of rows whose sketches agree in so many of their places."""
    share = (agrees / places).astype(np.float32)
    # Two places that differ still agree in a byte once in 256.
    return np.asarray(np.clip((share - 1 / 256) / (1 - 1 / 256), 0, 1), dtype=np.float32)


def located(text: Strings, rows: Rows) -> Located:
    """Where some texts lie."""
    first = text.offsets[rows]
    return Located(text.data.ctypes.data + first, text.offsets[rows + 1] - first, len(text.data) - first, (text.data,))


def _located(text: Strings | None, rows: Rows) -> Located:
    assert text is not None
    return located(text, rows)
