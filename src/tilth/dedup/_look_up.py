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

from tilth.dedup._located import Located
from tilth.dedup._segment import Keys, Prints, Segment
from tilth.dedup.groups import Similarities
from tilth.frame import Rows
from tilth.text.strings import Mask, Strings

_WIDTH = 8
_WIDER = 8
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
        from tilth.dedup._greedy import _least

        rows = np.flatnonzero(signed.valid & (stored == NOWHERE))
        places = signed.prints.shape[1]
        threshold = np.float32(nearness.threshold) - np.float32(1e-6)
        least, width = _least(places, nearness.threshold), _WIDTH
        behind = np.full(len(rows), places + 1, dtype=np.int32), np.full(len(rows), NOWHERE, dtype=np.int64)
        while len(rows):
            agrees, candidates = self._likeliest(signed, rows, least, behind, width)
            found = np.full(len(rows), NOWHERE, dtype=np.int64)
            # The likeliest by itself: it mostly is similar, and then no other is compared.
            for turn in (slice(0, 1), slice(1, width)):
                waiting = np.flatnonzero(found == NOWHERE)
                here, place = np.nonzero(agrees[waiting, turn])
                if not len(here):
                    break
                here, place = waiting[here], place + turn.start
                values = np.full((len(rows), turn.stop - turn.start), -1, dtype=np.float32)
                values[here, place - turn.start] = (
                    self.similar(_located(signed.text, rows), here, candidates[here, place])
                    if nearness.verify
                    else estimates(agrees[here, place], places)
                )
                best = np.argmax(values, axis=1)
                value = values[np.arange(len(rows)), best]
                won = np.flatnonzero(value >= threshold)
                found[won] = candidates[won, best[won] + turn.start]
                stored[rows[won]], similarity[rows[won]] = found[won], value[won]
                if not nearness.verify:
                    # No other agrees better.
                    return
            left = np.flatnonzero((found == NOWHERE) & (agrees[:, -1] > 0))
            rows, behind = rows[left], (agrees[left, -1], candidates[left, -1])
            width *= _WIDER

    def _likeliest(
        self,
        signed: Signed,
        rows: Rows,
        least: float,
        behind: tuple[npt.NDArray[np.int32], Rows],
        width: int,
    ) -> tuple[npt.NDArray[np.int32], Rows]:
        """For each row the stored rows whose sketches agree best with its own, of those behind the ones given."""
        from tilth.dedup._sorted_keys import likeliest, sort

        agrees = np.zeros((len(rows), width), dtype=np.int32)
        candidates = np.full((len(rows), width), NOWHERE, dtype=np.int64)
        for band in range(len(signed.keys)):
            keys = signed.keys[band][rows]
            _, order = sort(keys)
            for segment, base in zip(self._segments, self._bases.tolist(), strict=False):
                likeliest(
                    order,
                    keys,
                    *segment.keys[band + 1],
                    base,
                    signed.prints,
                    rows,
                    segment.prints,
                    least,
                    *behind,
                    agrees,
                    candidates,
                )
        return agrees, candidates

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
