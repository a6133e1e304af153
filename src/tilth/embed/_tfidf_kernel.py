"""The features of a text and their weighted sum as a vector, on Arrow buffers.

A feature is a word, a run of words or a run of characters in a word, known by a 64-bit hash; no string is made. A
vector has two parts: the text's place along the directions that were learnt, and, for what those leave out, a sparse
random projection, in which every feature has `_SPREAD` places of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import EXTEND, ROLE, WORD, tables
from tilth.text.words import decode, hash_words, mix

Hashes = npt.NDArray[np.uint64]

LONGEST = 8
"""The most characters in a run of characters."""

_BASE = np.uint64(0xD6E8FEB86659FD93)
_WORDS = np.uint64(0x9E3779B97F4A7C15)
_CHARACTERS = np.uint64(0xC2B2AE3D27D4EB4F)
_EDGE = np.int64(0x20)
"""Stands before and after a word's characters; no word holds it."""
_AT_ONCE = 4_096
_FEW = 1_024
_SPREAD = 4
"""Places of a feature in the random part: with 4 a vector's lengths are kept as well as if all were used."""


def features(text: Strings, ngram: int, characters: int) -> tuple[npt.NDArray[np.int64], Hashes, npt.NDArray[np.int32]]:
    """The distinct features of each row and how often each comes in it.

    Args:
        text: `n` texts.
        ngram: most words in a feature.
        characters: characters in a feature; 0 for no such features.

    Returns:
        `(offsets, hashes, counts)`: row `i` has the features `hashes[offsets[i] : offsets[i + 1]]`, in the order in
        which they come first in it. `offsets` has shape `(n + 1,)`.
    """
    known = tables()
    offsets = np.zeros(len(text) + 1, dtype=np.int64)
    hashes, counts = _features(
        text.data, text.offsets, text.valid, known.classes, known.lower, ngram, characters, _room(text), offsets
    )
    return offsets, hashes, counts


def table_of(vocabulary: Hashes) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """An open hash table: for each slot a hash of the vocabulary, and its place in it or -1."""
    size = 1 << max(4, int(2 * len(vocabulary)).bit_length())
    keys, places = np.zeros(size, dtype=np.uint64), np.full(size, -1, dtype=np.int32)
    _enter(vocabulary, keys, places)
    return keys, places


def overlap_of(
    vocabulary: Hashes, directions: npt.NDArray[np.float32], rest: int, seed: int
) -> npt.NDArray[np.float32]:
    """The random projection of each learnt direction, shape `(directions, rest)`."""
    sums = np.zeros((directions.shape[1], rest), dtype=np.float64)
    _overlap(vocabulary, directions, np.uint64(seed), sums)
    return sums.astype(np.float32)


def embed(
    text: Strings,
    ngram: int,
    characters: int,
    seed: int,
    table: tuple[Hashes, npt.NDArray[np.int32]],
    weights: npt.NDArray[np.float32],
    rare: float,
    directions: npt.NDArray[np.float32],
    overlap: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
) -> None:
    """Write the vector of each row.

    Args:
        text: `n` texts.
        ngram: most words in a feature.
        characters: characters in a feature, or 0.
        seed: of the random part.
        table: the vocabulary, by `table_of`.
        weights: of the features in it, shape `(vocabulary,)`.
        rare: the weight of every other feature.
        directions: what was learnt, shape `(vocabulary, k)`, columns of length 1 and at right angles.
        overlap: by `overlap_of`, shape `(k, dims - k)`.
        vectors: to write to, shape `(n, dims)`.
    """
    known = tables()
    _embed(
        text.data,
        text.offsets,
        text.valid,
        known.classes,
        known.lower,
        ngram,
        characters,
        np.uint64(seed),
        _room(text),
        table[0],
        table[1],
        weights,
        np.float32(rare),
        directions,
        overlap,
        vectors,
    )


def _room(text: Strings) -> Hashes:
    """Room for the words of any row."""
    return np.empty(int(np.diff(text.offsets).max(initial=0)) // 2 + 2, dtype=np.uint64)


@kernel
def _features(data, offsets, valid, classes, lower, ngram, characters, room, ends):
    keys, counts, stamps, order = _new_set(_FEW)
    raw = np.empty(_AT_ONCE, dtype=np.uint64)
    hashes = np.empty(_AT_ONCE, dtype=np.uint64)
    times = np.empty(_AT_ONCE, dtype=np.int32)
    filled = 0
    for row in range(len(offsets) - 1):
        if valid[row]:
            keys, counts, stamps, order, count = _collect(
                data, offsets[row], offsets[row + 1], classes, lower, ngram, characters, room, raw,
                keys, counts, stamps, order, np.int32(row + 1),
            )  # fmt: skip
            if filled + count > len(hashes):
                size = max(2 * len(hashes), filled + count)
                hashes, times = _longer(hashes, size), _longer(times, size)
            for at in range(count):
                hashes[filled + at] = keys[order[at]]
                times[filled + at] = counts[order[at]]
            filled += count
        ends[row + 1] = filled
    return hashes[:filled].copy(), times[:filled].copy()


@kernel
def _embed(
    data, offsets, valid, classes, lower, ngram, characters, seed, room,
    table, places, weights, rare, directions, overlap, vectors,
):  # fmt: skip
    learnt = directions.shape[1]
    rest = vectors.shape[1] - learnt
    keys, counts, stamps, order = _new_set(_FEW)
    raw = np.empty(_AT_ONCE, dtype=np.uint64)
    for row in range(len(offsets) - 1):
        if not valid[row]:
            continue
        keys, counts, stamps, order, count = _collect(
            data, offsets[row], offsets[row + 1], classes, lower, ngram, characters, room, raw,
            keys, counts, stamps, order, np.int32(row + 1),
        )  # fmt: skip
        along = vectors[row, :learnt]
        across = vectors[row, learnt:]
        for at in range(count):
            feature, times = keys[order[at]], counts[order[at]]
            place = _find(table, places, feature)
            weight = weights[place] if place >= 0 else rare
            if times > 1:
                weight *= np.float32(1 + np.log(times))
            if place >= 0:
                for direction in range(learnt):
                    along[direction] += weight * directions[place, direction]
            if rest > 0:
                _scatter(feature, seed, weight, across)
        if rest > 0:
            # What lies along the directions is said already.
            for direction in range(learnt):
                part = along[direction]
                for at in range(rest):
                    across[at] -= part * overlap[direction, at]
        length = np.float64(0)
        for at in range(learnt + rest):
            length += np.float64(vectors[row, at]) ** 2
        if length > 0:
            scale = np.float32(1 / np.sqrt(length))
            for at in range(learnt + rest):
                vectors[row, at] *= scale


@njit(inline="always")
def _scatter(feature, seed, weight, across):
    """Add a feature to its places in the random part, with signs of its own."""
    bits = mix(feature ^ (seed * _WORDS))
    spread = min(_SPREAD, len(across))
    share = weight / np.float32(np.sqrt(spread))
    for number in range(spread):
        low = number * len(across) // spread
        width = (number + 1) * len(across) // spread - low
        sixteen = np.int64((bits >> np.uint64(16 * number)) & np.uint64(0xFFFF))
        place = low + (((sixteen >> 1) * width) >> 15)
        across[place] += share if sixteen & 1 else -share


@kernel
def _overlap(vocabulary, directions, seed, sums):
    learnt, rest = sums.shape
    across = np.zeros(rest, dtype=np.float32)
    if rest == 0:
        return
    for place in range(len(vocabulary)):
        across[:] = 0
        _scatter(vocabulary[place], seed, np.float32(1), across)
        for at in range(rest):
            if across[at] != 0:
                for direction in range(learnt):
                    sums[direction, at] += np.float64(across[at]) * np.float64(directions[place, direction])


@kernel
def _enter(vocabulary, keys, places):
    mask = len(keys) - 1
    for place in range(len(vocabulary)):
        slot = np.int64(vocabulary[place] & np.uint64(mask))
        while places[slot] >= 0:
            slot = (slot + 1) & mask
        keys[slot] = vocabulary[place]
        places[slot] = place


@njit(inline="always")
def _find(keys, places, feature):
    mask = len(keys) - 1
    slot = np.int64(feature & np.uint64(mask))
    while places[slot] >= 0:
        if keys[slot] == feature:
            return np.int64(places[slot])
        slot = (slot + 1) & mask
    return np.int64(-1)


@kernel
def _collect(
    data, begin, end, classes, lower, ngram, characters, room, raw, keys, counts, stamps, order, stamp
):  # fmt: skip
    """The distinct features of one text, in a set that is empty for each new `stamp`; gives the set and their count."""
    count, waiting = 0, 0
    words = hash_words(data, begin, end, classes, lower, room)
    for size in range(1, ngram + 1):
        for at in range(words - size + 1):
            value = np.uint64(size) * _WORDS
            for word in range(at, at + size):
                value = value * _BASE + room[word]
            raw[waiting] = mix(value)
            waiting += 1
            if waiting == _AT_ONCE:
                keys, counts, stamps, order, count = _add(raw, waiting, keys, counts, stamps, order, count, stamp)
                waiting = 0
    if characters > 0:
        # The value of a run is that of the one before it, without the character that left.
        window = np.zeros(LONGEST, dtype=np.uint64)
        power = np.uint64(1)
        for _ in range(characters):
            power *= _BASE
        value, length, at = np.uint64(0), 0, begin
        while at <= end:
            # A word's last character is followed by its edge.
            code, size, role = _EDGE, 1, np.int64(0)
            if at < end:
                code, size = decode(data, at, end)
                role = np.int64(classes[code] & ROLE)
            at += size
            within = role == WORD or (role == EXTEND and length > 0)
            if not within and length == 0:
                continue
            if length == 0:
                value, window[0], length = np.uint64(_EDGE), np.uint64(_EDGE), 1
            code = np.int64(lower[code]) if within else _EDGE
            value = value * _BASE + np.uint64(code)
            if length >= characters:
                value -= window[(length - characters) & (LONGEST - 1)] * power
            window[length & (LONGEST - 1)] = np.uint64(code)
            length += 1
            if length >= characters:
                raw[waiting] = mix(value ^ _CHARACTERS)
                waiting += 1
                if waiting == _AT_ONCE:
                    keys, counts, stamps, order, count = _add(raw, waiting, keys, counts, stamps, order, count, stamp)
                    waiting = 0
            if not within:
                length = 0
    keys, counts, stamps, order, count = _add(raw, waiting, keys, counts, stamps, order, count, stamp)
    return keys, counts, stamps, order, count


@kernel
def _add(raw, waiting, keys, counts, stamps, order, count, stamp):
    """Count features into the set, which grows when it is half full."""
    if 2 * (count + waiting) > len(keys):
        keys, counts, stamps, order = _grown(keys, counts, order, count, 4 * (count + waiting), stamp, stamps)
    mask = len(keys) - 1
    for at in range(waiting):
        feature = raw[at]
        slot = np.int64(feature & np.uint64(mask))
        while stamps[slot] == stamp and keys[slot] != feature:
            slot = (slot + 1) & mask
        if stamps[slot] == stamp:
            counts[slot] += 1
        else:
            stamps[slot], keys[slot], counts[slot] = stamp, feature, 1
            order[count] = slot
            count += 1
    return keys, counts, stamps, order, count


@kernel
def _grown(keys, counts, order, count, wanted, stamp, stamps):
    size = len(keys)
    while size < wanted:
        size *= 2
    new_keys, new_counts, new_stamps, new_order = _new_set(size)
    for at in range(count):
        feature = keys[order[at]]
        slot = np.int64(feature & np.uint64(size - 1))
        while new_stamps[slot] == stamp:
            slot = (slot + 1) & (size - 1)
        new_stamps[slot], new_keys[slot], new_counts[slot] = stamp, feature, counts[order[at]]
        new_order[at] = slot
    return new_keys, new_counts, new_stamps, new_order


@kernel
def _new_set(size):
    """Slots with a feature, how often it came, and the text that it belongs to; and the slots in use, in order."""
    return (
        np.empty(size, dtype=np.uint64),
        np.empty(size, dtype=np.int32),
        np.zeros(size, dtype=np.int32),
        np.empty(size // 2 + 1, dtype=np.int64),
    )


@kernel
def _longer(values, size):
    grown = np.empty(size, dtype=values.dtype)
    grown[: len(values)] = values
    return grown
