"""Shingles and their sketches, on Arrow buffers.

A sketch of `k` numbers estimates Jaccard similarity as MinHash does: two sets agree in each place with the probability of
their similarity. It is made by Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, 2017, arXiv:1704.04370): every
shingle is thrown into one of `k` places and the least hash in each place stays; while places are empty, all shingles are
thrown again by another hash. A long text fills all places in its first round, so it costs one hash a shingle and not `k`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.strings import Strings
from tilth.text.unicode import tables
from tilth.text.words import hash_words, mix

Keys = npt.NDArray[np.uint64]

_BASE = np.uint64(0xD6E8FEB86659FD93)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(0xFF51AFD7ED558CCD)


def sketch(
    text: Strings, ngram: int, num_perm: int, bands: int, rows: int, seed: int
) -> tuple[Keys, npt.NDArray[np.uint8], Keys]:
    """Band keys, the sketch itself in one byte a place, and a 128-bit digest of the word sequence, for each text.

    Returns:
        `(keys, prints, digests)` of shapes `(n, bands)`, `(n, num_perm)` and `(n, 2)`.
    """
    known = tables()
    n = len(text)
    keys = np.empty((n, bands), dtype=np.uint64)
    prints = np.empty((n, num_perm), dtype=np.uint8)
    digests = np.empty((n, 2), dtype=np.uint64)
    room = np.empty(_room(text.offsets), dtype=np.uint64)
    places = np.empty(num_perm, dtype=np.uint64)
    _sketch_all(
        text.data,
        text.offsets,
        known.classes,
        known.lower,
        ngram,
        rows,
        np.uint64(seed),
        room,
        places,
        keys,
        prints,
        digests,
    )
    return keys, prints, digests


def similarities(
    leaders: Strings, leader_of: npt.NDArray[np.int64], others: Strings, ngram: int
) -> npt.NDArray[np.float32]:
    """The exact Jaccard similarity of the shingle sets of `others[i]` and `leaders[leader_of[i]]`, shape `(n,)`.

    It is quickest where equal leaders stand next to each other.
    """
    known = tables()
    found = np.empty(len(leader_of), dtype=np.float32)
    most = max(_room(leaders.offsets), _room(others.offsets))
    slots = 1 << max(6, int(2 * most - 1).bit_length())
    _compare_all(
        leaders.data,
        leaders.offsets,
        leader_of,
        others.data,
        others.offsets,
        known.classes,
        known.lower,
        ngram,
        np.empty(most, dtype=np.uint64),
        np.zeros(slots, dtype=np.uint64),
        np.zeros(slots, dtype=np.uint32),
        found,
    )
    return found


def _room(offsets: npt.NDArray[np.int64]) -> int:
    """The most words that any text can have, plus one."""
    return int(np.diff(offsets).max(initial=0)) // 2 + 2


@njit(cache=True, nogil=True)
def _shingle(buffer, words, ngram, power):  # noqa: ANN001, ANN202
    """Turn word hashes into shingle hashes in place; gives how many. Fewer words than `ngram` are one shingle."""
    if words <= ngram:
        whole = np.uint64(words) * _FOLD
        for at in range(words):
            whole = whole * _BASE + buffer[at]
        buffer[0] = whole
        return 1
    rolling = np.uint64(ngram) * _FOLD
    for at in range(ngram):
        rolling = rolling * _BASE + buffer[at]
    start = np.uint64(ngram) * _FOLD * power
    first = buffer[0]
    buffer[0] = rolling
    for at in range(1, words - ngram + 1):
        # What left the window, and the length that every shingle starts from.
        rolling = (rolling - start - first * (power * _INVERSE)) * _BASE
        rolling += start + buffer[at + ngram - 1]
        first = buffer[at]
        buffer[at] = rolling
    return words - ngram + 1


_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))


@njit(cache=True, nogil=True)
def _power(ngram):  # noqa: ANN001, ANN202
    power = np.uint64(1)
    for _ in range(ngram):
        power *= _BASE
    return power


@njit(cache=True, nogil=True)
def _sketch_all(  # noqa: ANN202
    data, offsets, classes, lower, ngram, rows, seed, room, places, keys, prints, digests  # noqa: ANN001
):
    bands = keys.shape[1]
    size = len(places)
    power = _power(ngram)
    for row in range(len(offsets) - 1):
        words = hash_words(data, offsets[row], offsets[row + 1], classes, lower, room)
        one, two = np.uint64(words), ~np.uint64(words)
        if words <= ngram:
            # A single shingle knows its words by 64 bits only; the digest needs more.
            for at in range(words):
                two = (two ^ room[at]) * _FOLD
                two ^= two >> np.uint64(32)
        count = _shingle(room, words, ngram, power)
        _remix(room, count, seed)
        for at in range(count):
            weight = np.uint64(2 * at + 1)
            one += room[at] * weight
            two += (room[at] ^ _FOLD) * (weight * _GOLDEN)
        digests[row, 0] = mix(one)
        digests[row, 1] = mix(two)
        _fill(room, count, seed, places)
        for place in range(size):
            prints[row, place] = np.uint8((places[place] * _FOLD) >> np.uint64(56))
        for band in range(bands):
            key = np.uint64(band + 1) * _GOLDEN
            for place in range(band * rows, (band + 1) * rows):
                key = (key ^ places[place]) * _FOLD
                key ^= key >> np.uint64(32)
            keys[row, band] = key


@njit(cache=True, nogil=True)
def _remix(values, count, salt):  # noqa: ANN001, ANN202
    """Hash all values anew; a loop of its own, so that it runs on vectors."""
    for at in range(count):
        values[at] = mix(values[at] ^ salt)


@njit(cache=True, nogil=True)
def _fill(hashes, count, seed, places):  # noqa: ANN001, ANN202
    """The sketch of a set of hashed shingles: in each place the round that filled it and the least hash of that round.

    Each hash serves two rounds: its halves are the place and the value in one, and change roles in the other. After as
    many rounds as there are places, each round fills the place of its own number, so none stays empty.
    """
    size = len(places)
    half = np.uint64(0xFFFFFFFF)
    places[:] = ~np.uint64(0)
    for at in range(count):
        hashed = hashes[at]
        place = ((hashed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
        places[place] = min(places[place], hashed & half)
    turn = 1
    empty = _count_above(places, half)
    while empty > 0 and turn < 2 * size:
        rank = np.uint64(turn) << np.uint64(32)
        last = rank | half
        if turn % 2 == 0:
            _remix(hashes, count, mix(seed + np.uint64(turn) * _GOLDEN))
        for at in range(count):
            hashed = hashes[at]
            if turn % 2 == 1:
                hashed = (hashed << np.uint64(32)) | (hashed >> np.uint64(32))
            place = ((hashed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
            if turn >= size:
                place = np.uint64(turn - size)
            # Full places, nearly all of them by now, are never written again.
            if places[place] >= rank:
                places[place] = min(places[place], rank | (hashed & half))
        empty = _count_above(places, last)
        turn += 1


@njit(cache=True, nogil=True)
def _count_above(places, bound):  # noqa: ANN001, ANN202
    above = 0
    for place in range(len(places)):
        above += places[place] > bound
    return above


@njit(cache=True, nogil=True)
def _compare_all(  # noqa: ANN202
    leaders, leader_offsets, leader_of, data, offsets, classes, lower, ngram, room, slots, stamps, found  # noqa: ANN001
):
    """Jaccard by a hash table of the leader's shingles; a stamp marks those that the other text has seen."""
    power = _power(ngram)
    mask = np.int64(0)
    before = np.int64(-1)
    leader_size = 0
    stamp = np.uint32(1)
    for pair in range(len(leader_of)):
        leader = leader_of[pair]
        if leader != before:
            before = leader
            words = hash_words(leaders, leader_offsets[leader], leader_offsets[leader + 1], classes, lower, room)
            count = _shingle(room, words, ngram, power)
            mask = np.int64(16)
            while mask < 2 * count:
                mask *= 2
            slots[:mask] = 0
            stamps[:mask] = 0
            mask -= 1
            stamp = np.uint32(1)
            leader_size = 0
            for at in range(count):
                shingle = room[at] | np.uint64(1)
                slot = np.int64(mix(shingle)) & mask
                while slots[slot] != 0 and slots[slot] != shingle:
                    slot = (slot + 1) & mask
                if slots[slot] == 0:
                    slots[slot] = shingle
                    leader_size += 1
        stamp += np.uint32(1)
        words = hash_words(data, offsets[pair], offsets[pair + 1], classes, lower, room)
        count = _shingle(room, words, ngram, power)
        both, strangers = 0, 0
        for at in range(count):
            shingle = room[at] | np.uint64(1)
            slot = np.int64(mix(shingle)) & mask
            while slots[slot] != 0 and slots[slot] != shingle:
                slot = (slot + 1) & mask
            if slots[slot] == 0:
                room[strangers] = shingle
                strangers += 1
            elif stamps[slot] != stamp:
                stamps[slot] = stamp
                both += 1
        alone = _distinct(room, strangers)
        found[pair] = np.float32(both / (leader_size + alone))


@njit(cache=True, nogil=True)
def _distinct(values, count):  # noqa: ANN001, ANN202
    """How many different numbers stand in `values[:count]`, which it sorts."""
    if count < 2:
        return count
    here = np.sort(values[:count])
    different = 1
    for at in range(1, count):
        if here[at] != here[at - 1]:
            different += 1
    return different
