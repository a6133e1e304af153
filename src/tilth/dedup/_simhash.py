"""SimHash fingerprints of texts, on Arrow buffers: for each of 64 bits the majority of the hashes of a text's shingles.

Each different shingle votes once. Counted as often as it occurs, one that a text repeats outvotes all others and makes
its fingerprint that of any text that repeats it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.dedup._digest import digest
from tilth.dedup._sketch import shingle
from tilth.dedup._units import hash_units, room_of
from tilth.text.bits import address, mix
from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import tables

Prints = npt.NDArray[np.uint64]

_AT_ONCE = 255
"""Votes that a sum of one byte can count."""


def fingerprints(text: Strings, mode: int, ngram: int) -> tuple[Prints, npt.NDArray[np.int32], Prints]:
    """The fingerprint of each text, how many different shingles it has, and a digest of its units.

    Returns:
        `(prints, shingles, digests)` of shapes `(n,)`, `(n,)` and `(n, 2)`.
    """
    known = tables()
    n = len(text)
    prints, shingles = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int32)
    digests = np.empty((n, 2), dtype=np.uint64)
    room = room_of(text.offsets, mode)
    slots = 1 << max(4, int(2 * room - 1).bit_length())
    _fingerprint_all(
        text.data,
        text.offsets,
        known.classes,
        known.lower,
        mode,
        ngram,
        np.empty(room, dtype=np.uint64),
        np.empty(room, dtype=np.uint64),
        np.empty(slots, dtype=np.uint64),
        np.empty(64, dtype=np.uint8),
        np.empty(64, dtype=np.int32),
        prints,
        shingles,
        digests,
    )
    return prints, shingles, digests


@kernel
def _fingerprint_all(
    data,
    offsets,
    classes,
    lower,
    mode,
    ngram,
    units,
    hashes,
    slots,
    few,
    votes,
    prints,
    shingles,
    digests,
):
    text, limit = address(data), len(data)
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    for row in range(len(offsets) - 1):
        found = hash_units(text, offsets[row], offsets[row + 1], limit, classes_at, lower_at, mode, units_at)
        digests[row, 0], digests[row, 1] = digest(units, found)
        count = _different(hashes, shingle(units, found, ngram, hashes), slots)
        prints[row] = fingerprint(hashes, count, few, votes)
        shingles[row] = count


@kernel
def _different(hashes, count, slots):
    """Mix hashes and leave each different one once, in place; gives how many there are. Zero is a free slot."""
    bits = 4
    while (1 << bits) < 2 * count:
        bits += 1
    mask = np.uint64((1 << bits) - 1)
    for slot in range(1 << bits):
        slots[slot] = 0
    different = 0
    for at in range(count):
        hashed = max(mix(hashes[at]), np.uint64(1))
        slot = hashed >> np.uint64(64 - bits)
        while slots[slot] != 0 and slots[slot] != hashed:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            slots[slot] = hashed
            hashes[different] = hashed
            different += 1
    return different


@kernel
def fingerprint(hashes, count, few, votes):
    """The majority of each bit of the hashes.

    Where their number is even the least of them votes twice, so that no vote is a draw: draws that always fell to the
    same side would draw short texts together.
    """
    least = ~np.uint64(0)
    for at in range(count):
        least = min(least, hashes[at])
    for bit in range(64):
        votes[bit] = (least >> np.uint64(bit)) & np.uint64(1) if count % 2 == 0 else 0
    memory, sums = address(hashes), address(few)
    for at in range(0, count, _AT_ONCE):
        _count(memory, at, min(at + _AT_ONCE, count), sums)
        for bit in range(64):
            votes[bit] += few[bit]
    made = np.uint64(0)
    for bit in range(64):
        made |= np.uint64(2 * votes[bit] > count) << np.uint64(bit)
    return made


@intrinsic
def _count(_context, memory, first, last, sums):
    """How many of the numbers `first` to `last` at an address have each bit set, as 64 bytes at another address.

    A number spread to 64 lanes and added is one or two instructions where the processor has masks of vectors.
    """

    def generate(context, builder, signature, arguments):
        memory, first, last, sums = arguments
        number, lanes = ir.IntType(64), ir.VectorType(ir.IntType(8), 64)
        numbers = builder.inttoptr(memory, number.as_pointer())
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0] * 64))
        one = ir.Constant(number, 1)
        with cgutils.for_range_slice(builder, first, last, one, number) as (at, _):
            bits = builder.bitcast(builder.load(builder.gep(numbers, [at])), ir.VectorType(ir.IntType(1), 64))
            builder.store(builder.add(builder.load(total), builder.zext(bits, lanes)), total)
        builder.store(builder.load(total), builder.inttoptr(sums, lanes.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64), generate
