"""The exact Jaccard similarity of pairs of texts, by the sets of their shingles.

The shingles of the better text of a pair are numbered through a hash table. Those of the other one mostly come in the
same order, near duplicates being what they are: each is held against the one that follows in the better text, and is
looked up only where they differ.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._located import Located
from tilth.dedup._sketch import shingle
from tilth.dedup._units import hash_units
from tilth.frame import Rows
from tilth.text.bits import address
from tilth.text.kernel import kernel
from tilth.text.unicode import tables

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def similarities(texts: Located, one: Rows, other: Rows, mode: int, ngram: int) -> npt.NDArray[np.float32]:
    """The exact Jaccard similarity of the shingle sets of texts `one[i]` and `other[i]`, shape `(pairs,)`.

    Each text is cut into shingles once, in whatever pairs it is: eight bytes a shingle are held while this runs. It is
    quickest where equal `one` stand next to each other.
    """
    known = tables()
    found = np.empty(len(one), dtype=np.float32)
    rooms = texts.sizes // 2 + 2 if mode == 0 else texts.sizes + 1
    bounds = np.zeros(len(rooms) + 1, dtype=np.int64)
    most = int(rooms.max(initial=2))
    # Far more than is written: what is not touched takes no memory.
    shingles = np.empty(int(rooms.sum()), dtype=np.uint64)
    units = np.empty(most, dtype=np.uint64)
    _cut(texts.starts, texts.sizes, texts.limits, known.classes, known.lower, mode, ngram, units, shingles, bounds)
    largest = int(np.diff(bounds).max(initial=1))
    slots = 1 << max(4, int(2 * largest - 1).bit_length())
    numbers, firsts, stamps = (np.empty(largest, dtype=np.int32) for _ in range(3))
    lone, strangers = np.empty(largest, dtype=np.uint64), np.empty(slots, dtype=np.uint64)
    _compare(
        shingles, bounds, one, other, numbers, firsts, stamps, np.empty(slots, dtype=np.int32), lone, strangers, found
    )
    return found


@kernel
def _cut(starts, sizes, limits, classes, lower, mode, ngram, units, shingles, bounds):
    """The shingles of all texts one after the other; those of text `i` lie at `bounds[i]` to `bounds[i + 1]`."""
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    filled = np.int64(0)
    for row in range(len(starts)):
        count = hash_units(starts[row], 0, sizes[row], limits[row], classes_at, lower_at, mode, units_at)
        filled += shingle(units, count, ngram, shingles[filled:])
        bounds[row + 1] = filled


@kernel
def _compare(shingles, bounds, one, other, numbers, firsts, stamps, slots, lone, strangers, found):
    # Places are unsigned: numba looks at the sign of all others each time.
    step = np.uint64(1)
    before = np.int64(-1)
    different, shift, mask = 0, np.uint64(60), np.uint64(15)
    first, last = np.uint64(0), np.uint64(0)
    for pair in range(len(one)):
        if one[pair] != before:
            before = one[pair]
            first, last = np.uint64(bounds[before]), np.uint64(bounds[before + 1])
            bits = _bits_for(last - first)
            shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
            for slot in range(1 << bits):
                slots[slot] = -1
            different = _number(shingles, first, last, slots, bits, numbers, firsts)
            for number in range(different):
                stamps[number] = -1
        both, alone, follows = 0, np.uint64(0), first
        for at in range(np.uint64(bounds[other[pair]]), np.uint64(bounds[other[pair] + 1])):
            value = shingles[at]
            if follows < last and shingles[follows] == value:
                known = np.uint64(numbers[follows - first])
            else:
                slot = (value * _GOLDEN) >> shift
                number = slots[slot]
                while number >= 0 and shingles[first + np.uint64(firsts[np.uint64(number)])] != value:
                    slot = (slot + step) & mask
                    number = slots[slot]
                if number < 0:
                    lone[alone] = value
                    alone += step
                    continue
                known = np.uint64(number)
                follows = first + np.uint64(firsts[known])
            follows += step
            both += stamps[known] != pair
            stamps[known] = pair
        if alone > 1:
            alone = np.uint64(_different(lone, alone, strangers))
        found[pair] = np.float32(both / (different + np.int64(alone)))


@njit(inline="always")
def _bits_for(count):
    """The size of a table, as a power of two, that `count` values fill at most half."""
    bits = 4
    while (1 << bits) < 2 * np.int64(count):
        bits += 1
    return bits


@kernel
def _number(values, first, last, slots, bits, numbers, firsts):
    """Number the different values between two places by where they are first; gives how many there are."""
    step = np.uint64(1)
    shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    different = np.int32(0)
    for at in range(first, last):
        value = values[at]
        slot = (value * _GOLDEN) >> shift
        number = slots[slot]
        while number >= 0 and values[first + np.uint64(firsts[np.uint64(number)])] != value:
            slot = (slot + step) & mask
            number = slots[slot]
        if number < 0:
            number = different
            slots[slot] = number
            firsts[np.uint64(number)] = np.int32(at - first)
            different += np.int32(1)
        numbers[at - first] = number
    return different


@kernel
def _different(values, count, slots):
    """How many different values there are. Zero marks a free slot and is counted by itself."""
    bits = _bits_for(count)
    mask = np.uint64((1 << bits) - 1)
    for slot in range(1 << bits):
        slots[slot] = 0
    different, zero = 0, 0
    for at in range(count):
        value = values[at]
        if value == 0:
            zero = 1
            continue
        slot = (value * _GOLDEN) >> np.uint64(64 - bits)
        while slots[slot] != 0 and slots[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = value
            different += 1
    return different + zero
