"""The rows of one column made ready to be compared with each other, and the comparison."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.dedup._fold import fold
from tilth.dedup._join import (
    CLOSE,
    EDIT,
    JACCARD,
    MOST_PAIRS,
    Found,
    TooManyPairsError,
    bounds_for,
    measured,
    similar_pairs,
)
from tilth.dedup._tokens import Ragged, gram_tokens, sequences, shingle_tokens, units_of_all
from tilth.frame import Frame, Rows
from tilth.text.kernel import kernel
from tilth.text.strings import strings

_MOST_GRAM = 4
_FREE = 0.2
"""The share of a text's n-grams that no edit may touch, for n-grams of that length to be used."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Texts of which equal ones are folded.

    Attributes:
        valid: whether each row is text, shape `(rows,)`.
        order: rows that are, best first, shape `(n,)`.
        first_of: for each of them the place in `order` of the first that is equal, shape `(n,)`.
        single: those that are the first, shape `(m,)`.
        metric: what similarity is.
        tokens: the shingles of those, for `JACCARD`.
        times: how many of them each shingle is in.
        sequences: their units, for `ROUGE_L` and `EDIT`.
    """

    valid: npt.NDArray[np.bool_]
    order: Rows
    first_of: Rows
    single: Rows
    metric: int
    tokens: Ragged | None
    times: Rows
    sequences: Ragged | None

    @classmethod
    def read(cls, frame: Frame, column: str, order: Rows, metric: int, mode: int, ngram: int, who: str) -> Compared:
        """Read a column.

        Args:
            frame: the rows.
            column: the text.
            order: all rows, best first.
            metric: what similarity is.
            mode: the units, as `Units.mode` says.
            ngram: units in a shingle.
            who: the step's name, for errors.
        """
        valid, counts = np.zeros(len(order), dtype=np.bool_), np.zeros(len(order), dtype=np.int64)
        digests = np.empty((len(order), 2), dtype=np.uint64)

        def cut(table: pa.Table, first: int) -> npt.NDArray[np.uint64]:
            text = strings(table, column, who)
            here = slice(first, first + len(text))
            units, counts[here], digests[here] = units_of_all(text, mode)
            valid[here] = text.valid
            return units

        units = np.concatenate([np.zeros(0, dtype=np.uint64), *frame.map_batches(cut, [column])])
        order = order[valid[order]]
        first_of = fold(digests, order)
        single = order[first_of == np.arange(len(order))]
        starts = (np.cumsum(counts) - counts)[single]
        tokens, times, rows = None, np.zeros(0, dtype=np.int64), None
        if metric == JACCARD:
            tokens, times = shingle_tokens(units, starts, counts[single], ngram)
        else:
            rows = sequences(units, starts, counts[single])
        return cls(valid, order, first_of, single, metric, tokens, times, rows)

    def pairs(self, threshold: float) -> Found:
        """All pairs of `single` rows that are as similar as that, by their places in it, and their similarity.

        Raises:
            TooManyPairsError: there are more than `MOST_PAIRS`.
        """
        if self.tokens is not None:
            lengths = self.tokens.lengths
            by_length = np.argsort(lengths, kind="stable")
            bounds = bounds_for(self.metric, threshold, lengths[by_length], lengths[by_length])
            return similar_pairs(bounds, by_length, self.tokens, self.times, None)
        assert self.sequences is not None
        gram = _gram_for(threshold) if self.metric == EDIT else 1
        short = _too_short(threshold, gram)
        found = self._sequence_pairs(self.sequences, threshold, gram, short)
        few = np.flatnonzero(self.sequences.lengths <= short)
        if not len(few):
            return found
        one, other, similarity = self._sequence_pairs(self.sequences.take(few), threshold, 1, 0)
        return (
            np.concatenate([found[0], few[one]]),
            np.concatenate([found[1], few[other]]),
            np.concatenate([found[2], similarity]),
        )

    def similar(self, one: Rows, other: Rows) -> npt.NDArray[np.float32]:
        """The similarity of pairs of `single` rows, by their places in it."""
        return measured(self.metric, one, other, self.tokens, self.sequences).astype(np.float32)

    def with_copies(self, found: Found) -> Found:
        """The pairs of all rows, if these are those of `single` ones; the earlier row of each pair comes first.

        Raises:
            TooManyPairsError: there are more than `MOST_PAIRS`.
        """
        places = self._places()
        copies = np.bincount(places, minlength=len(self.single)).astype(np.float64)
        many = (copies * (copies - 1)).sum() / 2 + (copies[found[0]] * copies[found[1]]).sum()
        if many > MOST_PAIRS:
            raise TooManyPairsError
        row, other, similarity = _with_copies(self.order, places, len(self.single), *found, int(many))
        return row, other, similarity

    def _places(self) -> Rows:
        """For each row of `order` the place in `single` of the one that it equals."""
        is_first = self.first_of == np.arange(len(self.order))
        places: Rows = (np.cumsum(is_first) - 1)[self.first_of]
        return places

    def _sequence_pairs(self, rows: Ragged, threshold: float, gram: int, above: int) -> Found:
        by_length = np.argsort(rows.lengths, kind="stable")
        tokens, times = gram_tokens(rows, gram)
        lengths, sizes = rows.lengths[by_length], tokens.lengths[by_length]
        bounds = bounds_for(self.metric, threshold, lengths, sizes, gram, above)
        return similar_pairs(bounds, by_length, tokens, times, rows)


def _gram_for(threshold: float) -> int:
    """How many units of a text are taken together: the longer, the rarer, and the more of them an edit changes."""
    return max(gram for gram in range(1, _MOST_GRAM + 1) if gram == 1 or 1 - gram * (1 - threshold) > _FREE - CLOSE)


def _too_short(threshold: float, gram: int) -> int:
    """The length up to which two similar texts need have no n-gram in common."""
    return 0 if gram == 1 else int(np.floor((gram - 1) / (1 - gram * (1 - threshold)) + CLOSE))


@kernel
def _with_copies(order, places, singles, one, other, similarity, many):
    ends = np.zeros(singles + 2, dtype=np.int64)
    for at in range(len(places)):
        ends[places[at] + 2] += 1
    for single in range(singles):
        ends[single + 2] += ends[single + 1]
    members = np.empty(len(places), dtype=np.int64)
    for at in range(len(places)):
        members[ends[places[at] + 1]] = order[at]
        ends[places[at] + 1] += 1
    row, with_row = np.empty(many, dtype=np.int64), np.empty(many, dtype=np.int64)
    values = np.ones(many, dtype=np.float32)
    size = 0
    for single in range(singles):
        for first in range(ends[single], ends[single + 1]):
            for second in range(first + 1, ends[single + 1]):
                row[size] = min(members[first], members[second])
                with_row[size] = max(members[first], members[second])
                size += 1
    for pair in range(len(one)):
        for first in range(ends[one[pair]], ends[one[pair] + 1]):
            for second in range(ends[other[pair]], ends[other[pair] + 1]):
                row[size] = min(members[first], members[second])
                with_row[size] = max(members[first], members[second])
                values[size] = similarity[pair]
                size += 1
    return row, with_row, values
