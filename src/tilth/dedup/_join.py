"""All pairs of rows that have enough tokens in common, without comparing each with each.

Tokens are ordered from rare to common. Two rows that must share `k` tokens share one of the first `size - k + 1` of
each, in that order, so an index of these few brings together all pairs that can be similar (Bayardo, Ma and Srikant,
Scaling up all pairs similarity search, 2007); where two rows first meet bounds how much they can share at all (Xiao,
Wang, Lin and Yu, Efficient similarity joins for near duplicate detection, 2008). What is left is measured.

Rows are numbered by length here, so that a row meets shorter ones only, and those that are too short lie before the
ones that are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._align import STRIP, common, common_long, edits, edits_long, mask_pattern, room_for, unmask
from tilth.dedup._tokens import Ragged, cuts
from tilth.frame import Rows
from tilth.text.kernel import kernel
from tilth.text.threads import ordered_map

Floats = npt.NDArray[np.float64]
Found: TypeAlias = "tuple[Rows, Rows, Floats]"
"""The longer row of each pair, the shorter one, and their similarity."""

JACCARD, ROUGE_L, EDIT = 0, 1, 2
CLOSE = 1e-9
"""How far below a threshold a similarity may come out that equals it."""
MOST_PAIRS = 2**27
"""More pairs than this are not listed: they take gigabytes."""
_BAGS = 32
_BAG_LIMIT = 2**16 - 1
_NOTHING = np.zeros(0, dtype=np.int32)
_NONE = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64))


class TooManyPairsError(Exception):
    """There are more than `MOST_PAIRS`."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """What two rows must have in common; all arrays are by row, shape `(n,)`.

    Attributes:
        metric: `JACCARD`, `ROUGE_L` or `EDIT`.
        threshold: of the similarity.
        lengths: of the rows in shingles or units, ascending.
        shortest: the length below which no row is similar to this one.
        probe: how many of its first tokens this row looks up, 0 for one that meets no shorter row.
        held: how many of its first tokens are in the index.
        share: tokens in common, as a share of the sum of both lengths.
        least: tokens in common with any row that is not longer, where they do not depend on that row's length.
    """

    metric: int
    threshold: float
    lengths: Rows
    shortest: Rows
    probe: Rows
    held: Rows
    share: float
    least: Rows


def bounds_for(metric: int, threshold: float, lengths: Rows, sizes: Rows, gram: int = 1, above: int = 0) -> Bounds:
    """What rows of these lengths must have in common to be similar.

    Args:
        metric: what similarity is.
        threshold: of it.
        lengths: of the rows in shingles or units, ascending.
        sizes: how many tokens each has.
        gram: units in a token of `EDIT`.
        above: for `EDIT`, pairs whose longer row is not longer than this are left out.
    """
    least = np.zeros(len(lengths), dtype=np.int64)
    share = 0.0
    if metric == JACCARD:
        share = threshold / (1 + threshold)
        shortest, probed, held = threshold * lengths, threshold * lengths, 2 * share * lengths
    elif metric == ROUGE_L:
        share = threshold / 2
        shortest = threshold / (2 - threshold) * lengths
        probed, held = shortest, threshold * lengths
    else:
        # Of a text's n-grams an edit changes at most n.
        edits_at_most = np.floor((1 - threshold) * lengths + CLOSE).astype(np.int64)
        least = lengths - gram + 1 - gram * edits_at_most
        shortest, probed = threshold * lengths, 1.0 * least
        held = (1 - gram * (1 - threshold)) * np.maximum(lengths, above + 1) - gram + 1
    probe = sizes - np.maximum(1, _up(probed)) + 1
    index = sizes - np.maximum(1, _up(held)) + 1
    probe[lengths <= above] = 0
    probe, index = np.clip(probe, 0, sizes), np.clip(index, 0, sizes)
    return Bounds(metric, threshold, lengths, _up(shortest), probe, index, share, least)


def _up(values: npt.NDArray[Any]) -> Rows:
    return np.asarray(np.ceil(values - CLOSE), dtype=np.int64)


def similar_pairs(bounds: Bounds, by_length: Rows, tokens: Ragged, times: Rows, rows: Ragged | None) -> Found:
    """All pairs of rows that are as similar as asked.

    Args:
        bounds: what such rows have in common; its arrays are by length.
        by_length: the rows, shortest first.
        tokens: of the rows.
        times: how many rows each token is in.
        rows: the units of the rows in their order, for `ROUGE_L` and `EDIT`.

    Raises:
        TooManyPairsError: there are more than `MOST_PAIRS`.
    """
    n = len(by_length)
    ranks, shared = _ranks(times)
    listed, ends = _listed(tokens, by_length, ranks)
    alone = tokens.lengths[by_length] - np.diff(ends)
    starts, entries, places = _index(listed, ends, alone, bounds.held, shared)
    first = np.searchsorted(bounds.lengths, bounds.shortest)
    values, begins, finishes = _spans(rows, by_length)
    times_in_all = np.bincount(values)
    # Frequent units lie in different bags.
    bag_of = np.empty(len(times_in_all), dtype=np.uint8)
    bag_of[np.argsort(-times_in_all, kind="stable")] = np.arange(len(bag_of)) % _BAGS
    bags = _bags(values, begins, finishes, bag_of)
    vocabulary, longest = len(bag_of), int((finishes - begins).max(initial=0))

    def joined(cut: tuple[int, int]) -> Found:
        found: Found = _join(
            *cut,
            bounds.metric,
            bounds.threshold - CLOSE,
            bounds.share,
            bounds.least,
            bounds.probe,
            first,
            bounds.lengths,
            listed,
            ends,
            alone,
            starts,
            entries,
            places,
            values,
            begins,
            finishes,
            bags,
            MOST_PAIRS,
            room_for(vocabulary, longest),
            np.full(shared, -1, dtype=np.int32),
            np.zeros(n, dtype=np.int32),
            np.empty(n, dtype=np.int32),
        )
        return found

    # A row looks up its first tokens, and meets the more rows in each the more are shorter.
    work = np.minimum(np.diff(ends), bounds.probe) * np.arange(1, n + 1)
    parts, many = [], 0
    for part in ordered_map(joined, cuts(work)):
        parts.append(part)
        many += len(part[0])
        if many > MOST_PAIRS:
            raise TooManyPairsError
    one, other, similarity = (np.concatenate([_NONE[at], *(part[at] for part in parts)]) for at in range(3))
    return by_length[one], by_length[other], similarity


def measured(metric: int, one: Rows, other: Rows, tokens: Ragged | None, rows: Ragged | None) -> Floats:
    """The similarity of rows `one[i]` and `other[i]`, whatever it is, shape `(pairs,)`.

    Args:
        metric: what similarity is.
        one: rows.
        other: rows to compare them with.
        tokens: of the rows, for `JACCARD`.
        rows: their units in order, for `ROUGE_L` and `EDIT`.
    """
    held = tokens if tokens is not None else Ragged(_NOTHING, np.zeros(1, dtype=np.int64))
    values, begins, ends = _spans(rows, np.arange(len(rows.bounds) - 1 if rows is not None else 0))
    found: Floats = _measure(
        one,
        other,
        metric,
        held.values,
        held.bounds,
        values,
        begins,
        ends,
        room_for(int(values.max(initial=-1)) + 1, int((ends - begins).max(initial=0))),
        np.full(int(held.values.max(initial=-1)) + 1, -1, dtype=np.int64),
    )
    return found


def _spans(rows: Ragged | None, order: Rows) -> tuple[npt.NDArray[np.int32], Rows, Rows]:
    """The values of all rows, and for those of `order` from where to where they are."""
    if rows is None:
        nothing = np.zeros(len(order), dtype=np.int64)
        return _NOTHING, nothing, nothing
    return rows.values, rows.bounds[:-1][order], rows.bounds[1:][order]


def _ranks(times: Rows) -> tuple[npt.NDArray[np.int32], int]:
    """For each token its place from rare to common, -1 for one that no two rows share; and how many are shared."""
    # As 16-bit numbers they are sorted in linear time; what is more common than that is not worth an order.
    order = np.argsort(np.minimum(times, 2**16 - 1).astype(np.uint16), kind="stable")
    ranks = np.empty(len(times), dtype=np.int32)
    lonely = int((times < 2).sum())
    ranks[order] = np.arange(-lonely, len(times) - lonely, dtype=np.int32)
    return np.maximum(ranks, -1), len(times) - lonely


def _listed(tokens: Ragged, order: Rows, ranks: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], Rows]:
    """The shared tokens of each row, from rare to common, and where those of each row end."""
    lengths = tokens.lengths[order]

    def listed(cut: tuple[int, int]) -> tuple[npt.NDArray[np.int32], Rows]:
        here = slice(*cut)
        room = np.empty(int(lengths[here].sum()), dtype=np.int32)
        found: tuple[npt.NDArray[np.int32], Rows] = _list_all(tokens.values, tokens.bounds, order[here], ranks, room)
        return found

    parts = list(ordered_map(listed, cuts(lengths)))
    values = np.concatenate([_NOTHING, *(part[0] for part in parts)])
    return values, np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *(part[1] for part in parts)]))


@kernel
def _list_all(tokens, bounds, order, ranks, listed):
    rows = len(order)
    lengths = np.empty(rows, dtype=np.int64)
    size = 0
    for row in range(rows):
        start = size
        for at in range(bounds[order[row]], bounds[order[row] + 1]):
            rank = ranks[tokens[at]]
            listed[size] = rank
            size += rank >= 0
        listed[start:size].sort()
        lengths[row] = size - start
    return listed[:size].copy(), lengths


@kernel
def _index(listed, bounds, alone, held, shared):
    """For each token the rows that hold it among their first ones, ascending, and its place in each."""
    rows = len(bounds) - 1
    starts = np.zeros(shared + 2, dtype=np.int64)
    for row in range(rows):
        for at in range(bounds[row], min(bounds[row + 1], bounds[row] + held[row] - alone[row])):
            starts[listed[at] + 2] += 1
    for token in range(shared):
        starts[token + 2] += starts[token + 1]
    entries = np.empty(starts[-1], dtype=np.int32)
    places = np.empty(starts[-1], dtype=np.int32)
    for row in range(rows):
        for at in range(bounds[row], min(bounds[row + 1], bounds[row] + held[row] - alone[row])):
            free = starts[listed[at] + 1]
            entries[free] = row
            places[free] = alone[row] + at - bounds[row]
            starts[listed[at] + 1] += 1
    return starts[: shared + 1].copy(), entries, places


@kernel
def _bags(values, begins, ends, bag_of):
    """How many units of each row are in each of some bags, for rows of not too many units.

    Two rows have no more units in common than these tell, and they are compared in a few instructions.
    """
    bags = np.zeros((len(begins), _BAGS), dtype=np.uint16)
    for row in range(len(begins)):
        if ends[row] - begins[row] <= _BAG_LIMIT:
            for at in range(begins[row], ends[row]):
                bags[row, bag_of[values[at]]] += 1
    return bags


@kernel
def _join(
    begin,
    end,
    metric,
    threshold,
    share,
    least,
    probe,
    shortest,
    lengths,
    listed,
    bounds,
    alone,
    starts,
    entries,
    places,
    values,
    begins,
    ends,
    bags,
    limit,
    room,
    stamps,
    met,
    candidates,
):
    one, other = np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int64)
    similarity = np.empty(1024, dtype=np.float64)
    size = 0
    for row in range(begin, end):
        length, lowest = lengths[row], shortest[row]
        tokens = alone[row] + bounds[row + 1] - bounds[row]
        begin_at, end_at = bounds[row], min(bounds[row + 1], bounds[row] + probe[row] - alone[row])
        many = 0
        visits = 0
        if metric != JACCARD:
            for at in range(begin_at, end_at):
                visits += _before(entries, starts, listed[at], row) - _before(entries, starts, listed[at], lowest)
        if visits > row - lowest:
            # Bags tell sooner than the index which rows to compare.
            for shorter in range(lowest, row):
                candidates[many] = shorter
                met[shorter] = 1
                many += 1
            end_at = begin_at
        for at in range(begin_at, end_at):
            # Behind this token a row has so many more.
            left = tokens - (alone[row] + at - bounds[row]) - 1
            for entry in range(_before(entries, starts, listed[at], lowest), starts[listed[at] + 1]):
                shorter = entries[entry]
                if shorter >= row:
                    break
                if met[shorter] == 0:
                    candidates[many] = shorter
                    many += 1
                if met[shorter] >= 0:
                    needed = max(least[row], _needed(share, length + lengths[shorter]))
                    their = alone[shorter] + bounds[shorter + 1] - bounds[shorter] - places[entry] - 1
                    met[shorter] += 1
                    if met[shorter] + min(left, their) < needed:
                        met[shorter] = -1
        if many == 0:
            continue
        span = ends[row] - begins[row]
        most = np.int64(np.floor((1 - threshold) * span))
        is_pattern = False
        for at in range(bounds[row], bounds[row + 1]):
            stamps[listed[at]] = row
        for turn in range(many):
            shorter = candidates[turn]
            hopeful = met[shorter] > 0
            met[shorter] = 0
            if not hopeful:
                continue
            needed = max(least[row], _needed(share, length + lengths[shorter]))
            if metric != JACCARD and length <= _BAG_LIMIT:
                alike = 0
                for bag in range(_BAGS):
                    alike += min(bags[row, bag], bags[shorter, bag])
                if alike < (needed if metric == ROUGE_L else length - most):
                    continue
            both = 0
            for at in range(bounds[shorter], bounds[shorter + 1]):
                both += stamps[listed[at]] == row
            if both < needed:
                continue
            if metric == JACCARD:
                value = both / (length + lengths[shorter] - both)
            else:
                if not is_pattern and span <= STRIP:
                    mask_pattern(room, values, begins[row], ends[row])
                    is_pattern = True
                first, last = begins[shorter], ends[shorter]
                if metric == ROUGE_L:
                    if is_pattern:
                        both = common(room, span, values, first, last)
                    else:
                        both = common_long(room, values, begins[row], ends[row], first, last)
                    value = 2 * both / (span + last - first)
                else:
                    if is_pattern:
                        apart = edits(room, span, values, first, last, most)
                    else:
                        apart = edits_long(room, values, begins[row], ends[row], first, last, most)
                    value = 1 - apart / span
            if value < threshold:
                continue
            if size > limit:
                break
            if size == len(one):
                one, other, similarity = _roomier(one), _roomier(other), _roomier(similarity)
            one[size], other[size], similarity[size] = row, shorter, value
            size += 1
        if is_pattern:
            unmask(room, values, begins[row], ends[row])
    return one[:size].copy(), other[:size].copy(), similarity[:size].copy()


@kernel
def _measure(one, other, metric, tokens, bounds, values, begins, ends, room, stamps):
    found = np.empty(len(one), dtype=np.float64)
    for pair in range(len(one)):
        row, with_row = one[pair], other[pair]
        if metric == JACCARD:
            for at in range(bounds[row], bounds[row + 1]):
                stamps[tokens[at]] = pair
            both = 0
            for at in range(bounds[with_row], bounds[with_row + 1]):
                both += stamps[tokens[at]] == pair
            found[pair] = both / (bounds[row + 1] - bounds[row] + bounds[with_row + 1] - bounds[with_row] - both)
            continue
        length, first, last = ends[row] - begins[row], begins[with_row], ends[with_row]
        if length == 0 or last == first:
            found[pair] = 0
            continue
        if metric == ROUGE_L:
            found[pair] = 2 * common_long(room, values, begins[row], ends[row], first, last) / (length + last - first)
        else:
            longer = max(length, last - first)
            found[pair] = 1 - edits_long(room, values, begins[row], ends[row], first, last, longer) / longer
    return found


@njit(inline="always")
def _before(entries, starts, token, row):
    """The first place in the list of a token of a row that is not before this one."""
    lo, hi = starts[token], starts[token + 1]
    while lo < hi:
        middle = (lo + hi) >> 1
        if entries[middle] < row:
            lo = middle + 1
        else:
            hi = middle
    return lo


@kernel
def _needed(share, lengths):
    return max(np.int64(1), np.int64(np.ceil(share * lengths - CLOSE)))


@kernel
def _roomier(values):
    more = np.empty(2 * len(values), dtype=values.dtype)
    more[: len(values)] = values
    return more
