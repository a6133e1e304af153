"""Texts as rows of small numbers: units in their order, and the tokens by which rows are joined.

A token is a shingle, or an n-gram of units with how often it was there before in the same text: so the tokens of a row
are all different, and two rows have as many of them in common as their n-grams, counted as often as they occur. Units
and shingles are known by 64-bit hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._digest import digest
from tilth.dedup._sketch import shingle
from tilth.dedup._units import hash_units, room_of
from tilth.frame import Rows
from tilth.text.bits import address, mix
from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.threads import ordered_map
from tilth.text.unicode import tables

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

_PARTS = 64
_PART_VALUES = 1 << 14
_MOST_PART_BITS = 11
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths: row `i` is `values[bounds[i]:bounds[i + 1]]`."""

    values: npt.NDArray[np.int32]
    bounds: Rows

    @property
    def lengths(self) -> Rows:
        """The length of each row."""
        return np.diff(self.bounds)

    def take(self, rows: Rows) -> Ragged:
        """These rows, in their order."""
        bounds = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths[rows])])
        return Ragged(_taken(self.values, self.bounds[:-1][rows], bounds), bounds)


def units_of_all(text: Strings, mode: int) -> tuple[Hashes, Rows, Hashes]:
    """The hashes of the units of all texts, one text after another; how many each one has; and a digest of them."""
    known = tables()
    n = len(text)
    counts, digests = np.empty(n, dtype=np.int64), np.empty((n, 2), dtype=np.uint64)
    room = room_of(text.offsets, mode)
    found = _collect(
        text.data,
        text.offsets,
        known.classes,
        known.lower,
        mode,
        np.empty(room, dtype=np.uint64),
        np.empty(int(text.nbytes) // (2 if mode == 0 else 1) + n + room, dtype=np.uint64),
        counts,
        digests,
    )
    return found, counts, digests


def shingle_tokens(units: Hashes, starts: Rows, counts: Rows, ngram: int) -> tuple[Ragged, Rows]:
    """The different shingles of each row as numbers, and how many rows each of them is in."""
    room = int(counts.max(initial=0)) + 1
    slots = 1 << max(4, int(2 * room - 1).bit_length())

    def shingled(cut: tuple[int, int]) -> tuple[Hashes, Rows]:
        here = counts[cut[0] : cut[1]]
        found: tuple[Hashes, Rows] = _shingle_all(
            units,
            starts[cut[0] : cut[1]],
            here,
            ngram,
            np.empty(room, dtype=np.uint64),
            np.empty(room, dtype=np.uint64),
            np.empty(slots, dtype=np.uint64),
            np.empty(int(np.maximum(1, here - ngram + 1).sum()), dtype=np.uint64),
        )
        return found

    parts = list(ordered_map(shingled, cuts(counts)))
    hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *(part[0] for part in parts)])
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(part[1] for part in parts)])
    del parts
    numbers, times = number(hashes)
    return Ragged(numbers, np.cumsum(lengths)), times


def cuts(work: Rows) -> list[tuple[int, int]]:
    """Where to cut rows into parts of about the same work, not more than `_PARTS`."""
    if not len(work):
        return []
    done = np.cumsum(work, dtype=np.float64)
    ends = np.searchsorted(done, np.linspace(0, done[-1], _PARTS + 1)[1:-1]) + 1
    bounds = np.unique(np.concatenate([[0], ends, [len(work)]]).clip(max=len(work)))
    return [(int(lo), int(hi)) for lo, hi in pairwise(bounds)]


def sequences(units: Hashes, starts: Rows, counts: Rows) -> Ragged:
    """The units of each row as numbers, in their order."""
    bounds = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return Ragged(number(_taken(units, starts, bounds))[0], bounds)


def gram_tokens(rows: Ragged, gram: int) -> tuple[Ragged, Rows]:
    """The n-grams of each row, each time that they occur, as numbers, and how many rows each of them is in."""
    grams, bounds = _grams(rows.values, rows.bounds, gram)
    numbers, times = (rows.values, np.zeros(int(rows.values.max(initial=-1)) + 1)) if gram == 1 else number(grams)
    before = _occurrences(numbers, bounds, len(times))
    numbers, times = number((before.astype(np.uint64) << np.uint64(32)) | numbers.astype(np.uint64))
    return Ragged(numbers, bounds), times


def number(values: Hashes) -> tuple[Numbers, Rows]:
    """A number for each value, the same for equal ones and none for others, and how often each is there."""
    numbers = np.empty(len(values), dtype=np.int32)
    bits = min(_MOST_PART_BITS, max(0, (len(values) // _PART_VALUES).bit_length()))
    keys, places, bounds = _deal(values, np.uint64(bits))
    # Parts are numbered each for itself, so that their tables fit into the cache, and then one after the other.
    parts = [(int(lo), int(hi)) for lo, hi in pairwise(bounds)]
    times = list(ordered_map(lambda part: _number(keys, places, *part, numbers), parts))
    before = np.cumsum([0, *(len(part) for part in times)])
    for part, by in zip(parts, before[:-1], strict=True):
        _raise(numbers, places, *part, np.int32(by))
    return numbers, np.concatenate(times)


@kernel
def _collect(data, offsets, classes, lower, mode, units, out, counts, digests):
    text, limit = address(data), len(data)
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    size = 0
    for row in range(len(offsets) - 1):
        count = hash_units(text, offsets[row], offsets[row + 1], limit, classes_at, lower_at, mode, units_at)
        digests[row, 0], digests[row, 1] = digest(units, count)
        counts[row] = count
        for at in range(count):
            out[size + at] = units[at]
        size += count
    return out[:size].copy()


@kernel
def _shingle_all(units, starts, counts, ngram, own, shingles, slots, out):
    lengths = np.empty(len(counts), dtype=np.int64)
    size = 0
    for row in range(len(counts)):
        start, before = starts[row], size
        for at in range(counts[row]):
            own[at] = units[start + at]
        count = shingle(own, counts[row], ngram, shingles)
        bits = 4
        while (1 << bits) < 2 * count:
            bits += 1
        mask = np.uint64((1 << bits) - 1)
        for slot in range(1 << bits):
            slots[slot] = 0
        for at in range(count):
            hashed = max(mix(shingles[at]), np.uint64(1))
            slot = hashed >> np.uint64(64 - bits)
            while slots[slot] != 0 and slots[slot] != hashed:
                slot = (slot + np.uint64(1)) & mask
            if slots[slot] == 0:
                slots[slot] = hashed
                out[size] = hashed
                size += 1
        lengths[row] = size - before
    return out[:size].copy(), lengths


@kernel
def _taken(units, starts, bounds):
    taken = np.empty(bounds[-1], dtype=units.dtype)
    for row in range(len(starts)):
        for at in range(bounds[row + 1] - bounds[row]):
            taken[bounds[row] + at] = units[starts[row] + at]
    return taken


@kernel
def _grams(values, bounds, gram):
    """The hashes of all n-grams of each row; a row of fewer values has none."""
    rows = len(bounds) - 1
    ends = np.zeros(rows + 1, dtype=np.int64)
    for row in range(rows):
        ends[row + 1] = ends[row] + max(0, bounds[row + 1] - bounds[row] - gram + 1)
    grams = np.empty(ends[-1], dtype=np.uint64)
    for row in range(rows):
        for at in range(ends[row + 1] - ends[row]):
            hashed = np.uint64(0)
            for place in range(gram):
                hashed = mix(hashed + np.uint64(values[bounds[row] + at + place] + 1) * _GOLDEN)
            grams[ends[row] + at] = hashed
    return grams, ends


@kernel
def _occurrences(numbers, bounds, different):
    """How often each value was there before in its row."""
    times, last = np.zeros(different, dtype=np.int32), np.full(different, -1, dtype=np.int32)
    before = np.empty(len(numbers), dtype=np.int32)
    for row in range(len(bounds) - 1):
        for at in range(bounds[row], bounds[row + 1]):
            value = numbers[at]
            if last[value] != row:
                last[value] = row
                times[value] = 0
            before[at] = times[value]
            times[value] += 1
    return before


@kernel
def _deal(values, bits):
    """Values and their places, by the high bits of their hashes."""
    bounds = np.zeros((1 << bits) + 1, dtype=np.int64)
    for at in range(len(values)):
        bounds[_part_of(values[at], bits) + 1] += 1
    for part in range(1 << bits):
        bounds[part + 1] += bounds[part]
    ends = bounds[:-1].copy()
    keys, places = np.empty(len(values), dtype=np.uint64), np.empty(len(values), dtype=np.int32)
    for at in range(len(values)):
        part = _part_of(values[at], bits)
        keys[ends[part]] = values[at]
        places[ends[part]] = at
        ends[part] += 1
    return keys, places, bounds


@njit(inline="always")
def _part_of(value, bits):
    # A shift by 64 has no meaning, so the last step is one of its own.
    return np.int64(((value * _GOLDEN) >> (np.uint64(63) - bits)) >> np.uint64(1))


@kernel
def _number(keys, places, first, last, numbers):
    """Number the values of a part in order of their first places; gives how often each is there."""
    bits = 4
    while (1 << bits) < 2 * (last - first):
        bits += 1
    mask = np.uint64((1 << bits) - 1)
    slots = np.full(1 << bits, -1, dtype=np.int32)
    firsts = np.empty(last - first, dtype=np.int32)
    times = np.zeros(last - first, dtype=np.int64)
    different = np.int32(0)
    for at in range(first, last):
        value = keys[at]
        slot = mix(value) >> np.uint64(64 - bits)
        while slots[slot] >= 0 and keys[first + firsts[slots[slot]]] != value:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] < 0:
            slots[slot] = different
            firsts[different] = at - first
            different += np.int32(1)
        numbers[places[at]] = slots[slot]
        times[slots[slot]] += 1
    return times[:different].copy()


@kernel
def _raise(numbers, places, first, last, by):
    for at in range(first, last):
        numbers[places[at]] += by
