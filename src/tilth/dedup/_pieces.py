"""Stretches of a sequence that repeat earlier ones: made from runs, joined, and followed to where they began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.kernel import kernel

Numbers = npt.NDArray[np.int64]

_BLOCK_BITS = 12


@dataclass(frozen=True, eq=False)
class Pieces:
    """Stretches of a sequence, disjoint and ascending, each within a row.

    Attributes:
        begins: the first unit of each, shape `(pieces,)`.
        ends: the unit after its last.
        sources: an earlier place in one row at which the same units stand, or -1.
    """

    begins: Numbers
    ends: Numbers
    sources: Numbers

    def __len__(self) -> int:
        return len(self.begins)

    def settled(self, offsets: Numbers) -> Pieces:
        """The same units in pieces whose sources are no copies: the source of the source, as far back as it goes."""
        return Pieces(*_settle(self.begins, self.ends, self.sources, offsets, row_index(offsets)))

    def trace(self, places: Numbers) -> Numbers:
        """Where the unit at each place stands that it is a copy of, as far back as it goes: maybe at the place."""
        found: Numbers = _trace(self.begins, self.ends, self.sources, places)
        return found


def cover(runs: Numbers, bounds: Numbers, length: int) -> Pieces:
    """The units in the windows of some runs, in as few pieces as there can be.

    Args:
        runs: the first window of each, the earlier place that it equals, and how many windows; shape `(3, runs)`.
        bounds: the runs are ascending and disjoint from one of these to the next.
        length: units in a window.
    """
    return Pieces(*_cover(runs, bounds, length))


def joined(pieces: Pieces, begins: Numbers, ends: Numbers) -> Pieces:
    """The pieces, and what other stretches (ascending, disjoint) have besides, which gets no source."""
    return Pieces(*_joined(pieces.begins, pieces.ends, pieces.sources, begins, ends))


def row_index(offsets: Numbers) -> Numbers:
    """For each block of units the row that holds its first."""
    blocks = np.arange(0, int(offsets[-1]) + (2 << _BLOCK_BITS), 1 << _BLOCK_BITS)
    return np.clip(np.searchsorted(offsets, blocks, side="right") - 1, 0, max(0, len(offsets) - 2))


@njit(inline="always")
def end_of_row(offsets, index, place):
    """Where the row ends that holds `place`."""
    block = place >> _BLOCK_BITS
    low, high = index[block], index[block + 1]
    while low < high:
        middle = (low + high) >> 1
        if offsets[middle + 1] <= place:
            low = middle + 1
        else:
            high = middle
    return offsets[low + 1]


@kernel
def roomier(array):
    """A copy with twice the room."""
    grown = np.empty(2 * len(array), dtype=array.dtype)
    grown[: len(array)] = array
    return grown


@kernel
def _cover(runs, bounds, length):
    """Disjoint pieces, as few as there can be, that make up the windows of all runs."""
    shares = len(bounds) - 1
    at = bounds[:-1].copy()
    begins = np.empty(1024, dtype=np.int64)
    ends = np.empty(1024, dtype=np.int64)
    sources = np.empty(1024, dtype=np.int64)
    filled = 0
    window, covered = np.int64(0), np.int64(0)
    while True:
        # Of the runs that hold the window the one that goes furthest; of equal ones the one whose source is furthest.
        best, reach, back = np.int64(-1), window, np.int64(0)
        following = np.int64(-1)
        for share in range(shares):
            while at[share] < bounds[share + 1] and runs[0, at[share]] + runs[2, at[share]] <= window:
                at[share] += 1
            if at[share] == bounds[share + 1]:
                continue
            run = at[share]
            first = runs[0, run]
            if first > window:
                following = first if following < 0 else min(following, first)
                continue
            stop = first + runs[2, run]
            if stop > reach or (stop == reach and first - runs[1, run] > back):
                best, reach, back = run, stop, first - runs[1, run]
        if best < 0:
            if following < 0:
                return begins[:filled].copy(), ends[:filled].copy(), sources[:filled].copy()
            window = following
            continue
        if filled == len(begins):
            begins, ends, sources = roomier(begins), roomier(ends), roomier(sources)
        begin = max(window, covered)
        covered = reach - 1 + length
        begins[filled] = begin
        ends[filled] = covered
        # Within a cycle the source may lie as many turns back as there are.
        sources[filled] = begin - ((begin - runs[0, best]) // back + 1) * back
        filled += 1
        window = reach


@kernel
def _joined(begins, ends, sources, other_begins, other_ends):
    """The pieces, and what the others have besides, which gets no source."""
    room = 2 * len(begins) + len(other_begins)
    new_begins = np.empty(room, dtype=np.int64)
    new_ends = np.empty(room, dtype=np.int64)
    new_sources = np.empty(room, dtype=np.int64)
    filled, piece = 0, 0
    done = np.int64(0)
    for other in range(len(other_begins) + 1):
        # After the last of the others come the pieces that are left.
        stop = ends[-1] if other == len(other_begins) and len(ends) > 0 else np.int64(0)
        at = stop
        if other < len(other_begins):
            at, stop = other_begins[other], other_ends[other]
        while True:
            while piece < len(begins) and begins[piece] <= at:
                new_begins[filled], new_ends[filled], new_sources[filled] = begins[piece], ends[piece], sources[piece]
                filled += 1
                done = ends[piece]
                piece += 1
            at = max(at, done)
            if at >= stop:
                break
            until = stop if piece == len(begins) else min(stop, begins[piece])
            if until > at:
                new_begins[filled], new_ends[filled], new_sources[filled] = at, until, -1
                filled += 1
            at = until
    return new_begins[:filled].copy(), new_ends[:filled].copy(), new_sources[:filled].copy()


@kernel
def _settle(begins, ends, sources, offsets, index):
    new_begins = np.empty(len(begins) + 16, dtype=np.int64)
    new_ends = np.empty(len(new_begins), dtype=np.int64)
    new_sources = np.empty(len(new_begins), dtype=np.int64)
    filled = 0
    for piece in range(len(begins)):
        at = begins[piece]
        back = at - sources[piece]
        while at < ends[piece]:
            place, size = np.int64(-1), ends[piece] - at
            if sources[piece] >= 0:
                place = at - back
                # The first of the settled pieces that begins after the source; the source is in the one before it.
                after = _after(new_begins, filled, place)
                if after > 0 and place < new_ends[after - 1]:
                    size = min(size, new_ends[after - 1] - place)
                    if new_sources[after - 1] >= 0:
                        place = new_sources[after - 1] + (place - new_begins[after - 1])
                else:
                    size = min(size, new_begins[after] - place if after < filled else back)
            last = filled - 1
            if (
                filled > 0
                and new_ends[last] == at
                and new_sources[last] >= 0
                and new_sources[last] + (at - new_begins[last]) == place
                and end_of_row(offsets, index, new_begins[last]) > at
                and end_of_row(offsets, index, new_sources[last]) > place
            ):
                new_ends[last] = at + size
            else:
                if filled == len(new_begins):
                    new_begins, new_ends, new_sources = roomier(new_begins), roomier(new_ends), roomier(new_sources)
                new_begins[filled], new_ends[filled], new_sources[filled] = at, at + size, place
                filled += 1
            at += size
    return new_begins[:filled].copy(), new_ends[:filled].copy(), new_sources[:filled].copy()


@njit(inline="always")
def _after(begins, count, place):
    """The first of `count` pieces that begins after `place`."""
    low, high = np.int64(0), np.int64(count)
    while low < high:
        middle = (low + high) >> 1
        if begins[middle] <= place:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _trace(begins, ends, sources, places):
    found = places.copy()
    for at in range(len(places)):
        place = places[at]
        while True:
            piece = _after(begins, len(begins), place) - 1
            if piece < 0 or place >= ends[piece] or sources[piece] < 0:
                break
            # A piece may go on from its own beginning: out of it in one step.
            back = begins[piece] - sources[piece]
            place -= ((place - begins[piece]) // back + 1) * back
        found[at] = place
    return found
