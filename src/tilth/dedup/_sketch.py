"""Shingles and their sketches, on Arrow buffers.

A sketch of `k` numbers estimates Jaccard similarity as MinHash does: two sets agree in each place with the probability
of their similarity. It is made by Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, 2017, arXiv:1704.04370):
every shingle is thrown into one of `k` places and the least hash in each place stays; while places are empty, all
shingles are thrown again by another hash. A long text fills all places in its first rounds, so it costs a hash or two
a shingle and not `k`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.kernel import kernel
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
    leaders: Strings,
    leader_of: npt.NDArray[np.int64],
    others: Strings,
    other_of: npt.NDArray[np.int64],
    ngram: int,
) -> npt.NDArray[np.float32]:
    """The exact Jaccard similarity of the shingle sets of `leaders[leader_of[i]]` and `others[other_of[i]]`.

    It is quickest where equal leaders stand next to each other.

    Returns:
        A number for each pair, shape `(pairs,)`.
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
        other_of,
        known.classes,
        known.lower,
        ngram,
        np.empty(most, dtype=np.uint64),
        np.empty(slots, dtype=np.uint64),
        np.empty(slots, dtype=np.uint64),
        found,
    )
    return found


def _room(offsets: npt.NDArray[np.int64]) -> int:
    """The most words that any text can have, plus one."""
    return int(np.diff(offsets).max(initial=0)) // 2 + 2


@kernel
def _shingle(buffer, words, ngram, power):
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


@kernel
def _power(ngram):
    power = np.uint64(1)
    for _ in range(ngram):
        power *= _BASE
    return power


@kernel
def _sketch_all(
    data,
    offsets,
    classes,
    lower,
    ngram,
    rows,
    seed,
    room,
    places,
    keys,
    prints,
    digests,
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


@kernel
def _remix(values, count, salt):
    """Hash all values anew; a loop of its own, so that it runs on vectors."""
    for at in range(count):
        values[at] = mix(values[at] ^ salt)


@kernel
def _fill(hashes, count, seed, places):
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


@kernel
def _count_above(places, bound):
    above = 0
    for place in range(len(places)):
        above += places[place] > bound
    return above


@kernel
def _compare_all(
    leaders,
    leader_offsets,
    leader_of,
    data,
    offsets,
    other_of,
    classes,
    lower,
    ngram,
    room,
    slots,
    strangers,
    found,
):
    """Jaccard by a hash table of the leader's shingles.

    A slot holds 48 bits of a shingle and in the other 16 the number of the last text that had it.
    """
    power = _power(ngram)
    before = np.int64(-1)
    leader_size = 0
    bits = 0
    stamp = np.uint64(0)
    for pair in range(len(leader_of)):
        leader = leader_of[pair]
        if leader != before or stamp == _STAMP:
            before = leader
            words = hash_words(leaders, leader_offsets[leader], leader_offsets[leader + 1], classes, lower, room)
            count = _shingle(room, words, ngram, power)
            bits = _bits_for(count)
            slots[: 1 << bits] = 0
            leader_size = _insert(slots, bits, room, count)
            stamp = np.uint64(0)
        stamp += np.uint64(1)
        other = other_of[pair]
        words = hash_words(data, offsets[other], offsets[other + 1], classes, lower, room)
        count = _shingle(room, words, ngram, power)
        mask = (1 << bits) - 1
        both, alone = 0, 0
        for at in range(count):
            shingle = (room[at] | _TAKEN) & ~_STAMP
            slot = np.int64((shingle * _GOLDEN) >> np.uint64(64 - bits))
            while slots[slot] != 0 and (slots[slot] ^ shingle) > _STAMP:
                slot = (slot + 1) & mask
            if slots[slot] == 0:
                room[alone] = shingle
                alone += 1
            else:
                # Counted once for each text, without a branch to guess.
                both += (slots[slot] & _STAMP) != stamp
                slots[slot] = (slots[slot] & ~_STAMP) | stamp
        if alone > 1:
            bits_alone = _bits_for(alone)
            strangers[: 1 << bits_alone] = 0
            alone = _insert(strangers, bits_alone, room, alone)
        found[pair] = np.float32(both / (leader_size + alone))


_STAMP = np.uint64(0xFFFF)
_TAKEN = np.uint64(0x10000)


@njit(inline="always")
def _bits_for(count):
    """The size of a table, as a power of two, that `count` values fill at most half."""
    bits = 4
    while (1 << bits) < 2 * count:
        bits += 1
    return bits


@kernel
def _insert(slots, bits, values, count):
    """Put 48 bits of each value in a table; gives how many different ones there are."""
    mask = (1 << bits) - 1
    different = 0
    for at in range(count):
        value = (values[at] | _TAKEN) & ~_STAMP
        slot = np.int64((value * _GOLDEN) >> np.uint64(64 - bits))
        while slots[slot] != 0 and slots[slot] != value:
            slot = (slot + 1) & mask
        if slots[slot] == 0:
            slots[slot] = value
            different += 1
    return different
