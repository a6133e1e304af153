"""Sets of shingles as an index keeps them, and the Jaccard similarity of a text with a set that was kept.

A set is listed in the order in which its members first come in the text. Near duplicates mostly go on in the same
order, so each member is held against the one that follows in the other list, and is looked up where they differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._located import Addresses, Located
from tilth.dedup._sketch import shingle
from tilth.dedup._units import hash_units
from tilth.frame import Rows
from tilth.text.bits import address, eight_at
from tilth.text.kernel import kernel
from tilth.text.unicode import tables

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shingle_sets(texts: Located, mode: int, ngram: int) -> tuple[Addresses, npt.NDArray[np.uint64]]:
    """The different shingles of each text: those of text `i` are `shingles[offsets[i]:offsets[i + 1]]`."""
    known = tables()
    room = _room(int(texts.sizes.max(initial=0)), mode)
    offsets = np.zeros(len(texts.sizes) + 1, dtype=np.int64)
    # Far more than is written: what is not touched takes no memory.
    shingles = np.empty(int(np.sum(_room(texts.sizes, mode))), dtype=np.uint64)
    _list_sets(
        texts.starts,
        texts.sizes,
        texts.limits,
        known.classes,
        known.lower,
        mode,
        ngram,
        np.empty(room, dtype=np.uint64),
        np.empty(_slots(room), dtype=np.int32),
        offsets,
        shingles,
    )
    return offsets, shingles[: offsets[-1]]


def similarities(
    texts: Located, one: Rows, starts: Addresses, counts: Addresses, mode: int, ngram: int
) -> npt.NDArray[np.float32]:
    """The Jaccard similarity of texts with sets that were kept.

    Args:
        texts: some texts.
        one: which of them to take in each pair; equal ones next to each other are quickest, shape `(pairs,)`.
        starts: where in memory the set of each pair lies, shape `(pairs,)`.
        counts: how many members it has, shape `(pairs,)`.
        mode: the units, as `Units.mode` says.
        ngram: units in a shingle.
    """
    known = tables()
    room = _room(int(texts.sizes.max(initial=0)), mode)
    found = np.empty(len(one), dtype=np.float32)
    _compare_sets(
        texts.starts,
        texts.sizes,
        texts.limits,
        one,
        starts,
        counts,
        known.classes,
        known.lower,
        mode,
        ngram,
        np.empty(room, dtype=np.uint64),
        np.empty(room, dtype=np.uint64),
        np.empty(_slots(room), dtype=np.int32),
        found,
    )
    return found


def _room(size: Any, mode: int) -> Any:
    """The most units in a text of so many bytes, and one to spare; for one size or an array of them."""
    return size // 2 + 2 if mode == 0 else size + 1


def _slots(room: int) -> int:
    return 1 << max(4, int(2 * room - 1).bit_length())


@kernel
def _list_sets(starts, sizes, limits, classes, lower, mode, ngram, units, slots, offsets, shingles):
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    at = 0
    for row in range(len(starts)):
        count = hash_units(starts[row], 0, sizes[row], limits[row], classes_at, lower_at, mode, units_at)
        members = shingles[at:]
        count, _ = _different(members, shingle(units, count, ngram, members), slots)
        at += count
        offsets[row + 1] = at


@kernel
def _compare_sets(
    starts, sizes, limits, one, theirs, counts, classes, lower, mode, ngram, units, members, slots, found
):
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    before = np.int64(-1)
    ours, bits = 0, 4
    for pair in range(len(one)):
        row = one[pair]
        if row != before:
            before = row
            count = hash_units(starts[row], 0, sizes[row], limits[row], classes_at, lower_at, mode, units_at)
            ours, bits = _different(members, shingle(units, count, ngram, members), slots)
        mask = np.uint64((1 << bits) - 1)
        both, follows = 0, 0
        for member in range(counts[pair]):
            value = eight_at(theirs[pair], 8 * member)
            if follows < ours and members[follows] == value:
                follows += 1
                both += 1
                continue
            slot = (value * _GOLDEN) >> np.uint64(64 - bits)
            other = slots[slot]
            while other >= 0 and members[other] != value:
                slot = (slot + np.uint64(1)) & mask
                other = slots[slot]
            if other >= 0:
                follows = other + 1
                both += 1
        found[pair] = np.float32(both / (ours + counts[pair] - both))


@njit
def _different(values, count, slots):
    """Move the different ones of these values to the front, in order of their first place.

    Gives how many there are and of how many bits the places in `slots` are, which is a table of them.
    """
    bits = 4
    while (1 << bits) < 2 * count:
        bits += 1
    for slot in range(1 << bits):
        slots[slot] = -1
    mask = np.uint64((1 << bits) - 1)
    different = np.int32(0)
    for at in range(count):
        value = values[at]
        slot = (value * _GOLDEN) >> np.uint64(64 - bits)
        other = slots[slot]
        while other >= 0 and values[other] != value:
            slot = (slot + np.uint64(1)) & mask
            other = slots[slot]
        if other < 0:
            slots[slot] = different
            values[different] = value
            different += np.int32(1)
    return different, bits
