"""Shingles and their sketches, on Arrow buffers.

A sketch of `k` places estimates Jaccard similarity as MinHash does: two sets agree in each place with the probability
of their similarity. Most of it is made as in Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, 2017,
arXiv:1704.04370): every shingle is thrown into one of the places, twice, and the least hash in each place stays. Places
that are still empty, which only short texts have, take the least of as many hashes of all shingles, as in plain
MinHash. So a long text costs a hash or two a shingle and not `k`, and a short one a few vector instructions a place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._units import hash_units, room_of
from tilth.text.bits import LANES, address, least_products, mix
from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import tables

Keys = npt.NDArray[np.uint64]
Prints = npt.NDArray[np.uint8]

SKETCH_VERSION = 3
"""Raised when any sketch would come out otherwise; whatever stores sketches stores this with them."""

_BASE = np.uint64(0xD6E8FEB86659FD93)
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(0xFFFFFFFF)
_DIRECT_NGRAM = 8


@dataclass(frozen=True)
class Shape:
    """What decides a sketch.

    Attributes:
        mode: the units, as `Units.mode` says.
        ngram: units in a shingle.
        num_perm: places in a sketch.
        bands: keys of a sketch.
        rows: places that a key is made of.
        seed: of the hashes.
    """

    mode: int
    ngram: int
    num_perm: int
    bands: int
    rows: int
    seed: int


def sketch(text: Strings, shape: Shape) -> tuple[Keys, Prints, Keys]:
    """Band keys, the sketch itself in one byte a place, and a 128-bit digest of the sequence of units, for each text.

    Returns:
        `(keys, prints, digests)` of shapes `(bands, n)`, `(n, num_perm)` and `(n, 2)`.
    """
    known = tables()
    n = len(text)
    keys = np.empty((shape.bands, n), dtype=np.uint64)
    prints = np.empty((n, shape.num_perm), dtype=np.uint8)
    digests = np.empty((n, 2), dtype=np.uint64)
    room = room_of(text.offsets, shape.mode)
    random = np.random.Generator(np.random.PCG64(shape.seed))
    salts = random.integers(0, 2**64, (2, shape.num_perm), dtype=np.uint64)
    salts[1] |= np.uint64(1)
    lanes = -(-shape.num_perm // LANES) * LANES
    flips, odd, least = (np.zeros(lanes, dtype=np.uint64) for _ in range(3))
    _sketch_all(
        text.data,
        text.offsets,
        known.classes,
        known.lower,
        shape.mode,
        shape.ngram,
        shape.rows,
        np.uint64(shape.seed),
        salts,
        flips,
        odd,
        least,
        np.empty(room, dtype=np.uint64),
        np.empty(room, dtype=np.uint64),
        np.empty(shape.num_perm, dtype=np.uint64),
        np.empty(shape.num_perm, dtype=np.int64),
        keys,
        prints,
        digests,
    )
    return keys, prints, digests


@kernel
def shingle(units, count, ngram, shingles):
    """Write the hashes of all n-grams of the units to `shingles`; gives how many. Fewer units than `ngram` are one.

    A hash is a polynomial over the hashes of the units. A short n-gram is added up term by term, which runs on vectors.
    """
    if count <= ngram:
        whole = np.uint64(count) * _FOLD
        for at in range(count):
            whole = whole * _BASE + units[at]
        shingles[0] = whole
        return 1
    many = count - ngram + 1
    power = np.uint64(1)
    for _ in range(ngram):
        power *= _BASE
    begin = np.uint64(ngram) * _FOLD * power
    if ngram > _DIRECT_NGRAM:
        whole = np.uint64(0)
        for at in range(ngram - 1):
            whole = whole * _BASE + units[at]
        for at in range(many):
            whole = whole * _BASE + units[at + ngram - 1]
            shingles[at] = begin + whole
            # The first unit leaves; the others move up by one when the next comes.
            whole -= units[at] * (power * _INVERSE)
        return many
    # Unsigned places: numba looks at the sign of others, and then the loop does not run on vectors.
    power *= _INVERSE
    size, step = np.uint64(many), np.uint64(1)
    for at in range(size):
        shingles[at] = begin + units[at] * power
    for term in range(step, np.uint64(ngram - 1), np.uint64(2)):
        first = power * _INVERSE
        power = first * _INVERSE
        for at in range(size):
            shingles[at] += units[at + term] * first + units[at + term + step] * power
    if ngram > 1 and ngram % 2 == 0:
        last = np.uint64(ngram - 1)
        for at in range(size):
            shingles[at] += units[at + last]
    return many


@kernel
def _sketch_all(
    data,
    offsets,
    classes,
    lower,
    mode,
    ngram,
    rows,
    seed,
    salts,
    flips,
    odd,
    least,
    units,
    shingles,
    places,
    empty,
    keys,
    prints,
    digests,
):
    bands = keys.shape[0]
    size = len(places)
    text, limit = address(data), len(data)
    classes_at, lower_at, units_at = address(classes), address(lower), address(units)
    for row in range(len(offsets) - 1):
        found = hash_units(text, offsets[row], offsets[row + 1], limit, classes_at, lower_at, mode, units_at)
        one, two = np.uint64(found), ~np.uint64(found)
        if found <= ngram:
            # A single shingle knows its units by 64 bits only; the digest needs more.
            for at in range(found):
                two = (two ^ units[at]) * _FOLD
                two ^= two >> np.uint64(32)
        count = shingle(units, found, ngram, shingles)
        for at in range(count):
            hashed = mix(shingles[at] ^ seed)
            shingles[at] = hashed
            # Weights that do not grow evenly: sums over even ones are equal for some words in another order.
            weight = np.uint64(at + 1) * _GOLDEN
            weight ^= weight >> np.uint64(29)
            one += hashed * weight
            two += (hashed ^ _FOLD) * ((weight << np.uint64(32)) | (weight >> np.uint64(32)))
        digests[row, 0] = mix(one)
        digests[row, 1] = mix(two)
        fill(shingles, count, salts, flips, odd, least, places, empty)
        for place in range(size):
            prints[row, place] = np.uint8((places[place] * _FOLD) >> np.uint64(56))
        for band in range(bands):
            key = np.uint64(band + 1) * _GOLDEN
            for place in range(band * rows, (band + 1) * rows):
                key = (key ^ places[place]) * _FOLD
                key ^= key >> np.uint64(32)
            keys[band, row] = key


@kernel
def fill(hashes, count, salts, flips, odd, least, places, empty):
    """The sketch of a set of hashed shingles: in each place the round that filled it and the least hash of that round.

    The halves of a hash are the place and the value in the first round and change roles in the second.
    """
    size = len(places)
    for place in range(size):
        places[place] = ~np.uint64(0)
    for at in range(count):
        hashed = hashes[at]
        place = ((hashed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
        places[place] = min(places[place], hashed & _HALF)
    if _all_below(places, np.uint64(1) << np.uint64(32)):
        return
    rank = np.uint64(1) << np.uint64(32)
    for at in range(count):
        hashed = hashes[at]
        place = ((hashed & _HALF) * np.uint64(size)) >> np.uint64(32)
        # Full places are never written again: what is in them is below the rank.
        places[place] = min(places[place], rank | (hashed >> np.uint64(32)))
    rank <<= np.uint64(1)
    many = 0
    for place in range(size):
        # Written in any case, and kept if the place is empty: which ones are is hard to guess.
        empty[many], flips[many], odd[many] = place, salts[0, place], salts[1, place]
        many += places[place] >= rank
    if many == 0:
        return
    # Multiply-shift (Dietzfelbinger et al., 1997): another hash for each place, in the high bits of a product.
    groups = (many + LANES - 1) // LANES
    least_products(address(hashes), count, address(flips), address(odd), address(least), groups)
    for at in range(many):
        places[empty[at]] = rank | (least[at] >> np.uint64(32))


@njit(inline="always")
def _all_below(places, bound):
    above = 0
    for place in range(len(places)):
        above += places[place] >= bound
    return above == 0
