"""Hashes of word n-grams, and the search for those of a benchmark, on Arrow buffers.

An n-gram's hash is a polynomial over the hashes of its words, marked with its length. With the sums over all beginnings
of a text, the hash of any n-gram in it, of any length, costs one multiplication. A bitmap tells of nearly all of them
that they are in no benchmark; the rest are looked up in an open hash table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables
from tilth.text.words import decode, hash_words

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

ANCHOR = 4
"""Words in the beginning of a benchmark row by which the search for whole rows is spared nearly everywhere."""

ENTIRE = np.uint64(0xA0761D6478BD642F)
"""Marks the hash of a benchmark row that counts only as the whole of a text."""

_BASE = np.uint64(0xD6E8FEB86659FD93)
_SALT = np.uint64(0xFF51AFD7ED558CCD)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_BITS_EACH = 32


def fingerprints(text: Strings, ngram: int) -> tuple[Numbers, Hashes, Hashes, Numbers, Hashes]:
    """What a benchmark leaves behind.

    Returns:
        For each of `n` rows how many words it has, the hash of the whole row and of its first `ANCHOR` words, each of
        shape `(n,)`; and the distinct n-grams of row `i`, ascending, as `grams[offsets[i] : offsets[i + 1]]`.
    """
    known = tables()
    n = len(text)
    words = np.zeros(n, dtype=np.int64)
    whole, anchor = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.uint64)
    offsets = np.zeros(n + 1, dtype=np.int64)
    grams = np.empty(int(text.offsets[-1] - text.offsets[0]) // 2 + n + 1, dtype=np.uint64)
    room, sums = _rooms(text)
    _fingerprint_all(
        text.data, text.offsets, known.classes, known.lower, ngram, room, sums, words, whole, anchor, offsets, grams
    )
    return words, whole, anchor, offsets, grams[: offsets[-1]].copy()


@dataclass(frozen=True, eq=False)
class Index:
    """What to look for, ready for the search.

    Attributes:
        ngram: words in an n-gram.
        keys: hashes to find, shape `(keys,)`.
        offsets: the benchmark rows with key `k` are `rows[offsets[k] : offsets[k + 1]]`.
        rows: places in `counts`.
        counts: how many keys each benchmark row has; 0 for one that is not looked for.
        lengths: lengths in words of the rows that are looked for as a whole, ascending.
        entire: most words of a text that is looked for as the whole of a benchmark row.
        slots: an open hash table of places in `keys`, or -1.
        bitmap: a bit for each hash that may be a key.
        anchors: a bit for each hash that may begin a row that is looked for as a whole.
    """

    ngram: int
    keys: Hashes
    offsets: Numbers
    rows: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    lengths: Numbers
    entire: int
    slots: npt.NDArray[np.int32]
    bitmap: Hashes
    anchors: Hashes


def index(
    ngram: int,
    hashes: Hashes,
    rows: Numbers,
    counts: npt.NDArray[np.int32],
    lengths: Numbers,
    anchors: Hashes,
    entire: int,
) -> Index:
    """An index of pairs of a hash and a row that has it.

    Args:
        ngram: words in an n-gram.
        hashes: shape `(pairs,)`.
        rows: shape `(pairs,)`.
        counts: pairs of each row.
        lengths: of the rows that are looked for as a whole.
        anchors: how those begin.
        entire: most words of a row of which the hash is marked with `ENTIRE`.
    """
    order = np.lexsort((rows, hashes))
    keys, starts = np.unique(hashes[order], return_index=True)
    slots = np.full(1 << max(4, int(2 * len(keys)).bit_length()), -1, dtype=np.int32)
    _enter(keys, slots)
    return Index(
        ngram,
        keys,
        np.append(starts, len(order)).astype(np.int64),
        rows[order].astype(np.int32),
        counts,
        np.unique(lengths).astype(np.int64),
        entire,
        slots,
        _bits(keys),
        _bits(anchors),
    )


def search(text: Strings, index: Index) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], Numbers]:
    """For each text the benchmark row of which it has the largest share.

    Returns:
        The share of that row's keys, the row (-1 for none), both of shape `(n,)`, and the bytes from the first to the
        last of them in the text, shape `(n, 2)`. Of equal shares the first row is taken.
    """
    known = tables()
    n = len(text)
    overlap = np.zeros(n, dtype=np.float32)
    best = np.full(n, -1, dtype=np.int32)
    spans = np.zeros((n, 2), dtype=np.int64)
    room, sums = _rooms(text)
    _search_all(
        text.data,
        text.offsets,
        known.classes,
        known.lower,
        index.ngram,
        index.keys,
        index.offsets,
        index.rows,
        index.counts,
        index.lengths,
        index.entire,
        index.slots,
        index.bitmap,
        index.anchors,
        room,
        sums,
        overlap,
        best,
        spans,
    )
    return overlap, best, spans


def _rooms(text: Strings) -> tuple[Hashes, Hashes]:
    """Room for the words of any text, and for the sums over them."""
    most = int(np.diff(text.offsets).max(initial=0)) // 2 + 2
    return np.empty(most, dtype=np.uint64), np.empty(most + 1, dtype=np.uint64)


def _bits(hashes: Hashes) -> Hashes:
    bitmap = np.zeros(1 << max(6, int(_BITS_EACH * len(hashes)).bit_length() - 6), dtype=np.uint64)
    _mark(hashes, bitmap)
    return bitmap


@njit(inline="always")
def _slot(value, mask):
    return np.int64((value * _SPREAD) >> np.uint64(20)) & mask


@njit(inline="always")
def _salt(length):
    return np.uint64(length) * _SALT


@kernel
def _powers(most):
    powers = np.empty(most + 1, dtype=np.uint64)
    powers[0] = np.uint64(1)
    for at in range(most):
        powers[at + 1] = powers[at] * _BASE
    return powers


@kernel
def _mark(hashes, bitmap):
    mask = np.uint64(64 * len(bitmap) - 1)
    for at in range(len(hashes)):
        bit = hashes[at] & mask
        bitmap[np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))


@kernel
def _enter(keys, slots):
    mask = len(slots) - 1
    for at in range(len(keys)):
        slot = _slot(keys[at], mask)
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = at


@kernel
def _find(keys, slots, value):
    mask = len(slots) - 1
    slot = _slot(value, mask)
    while slots[slot] >= 0:
        if keys[slots[slot]] == value:
            return np.int64(slots[slot])
        slot = (slot + 1) & mask
    return np.int64(-1)


@kernel
def _add_up(words, room, sums):
    total = np.uint64(0)
    sums[0] = total
    for at in range(words):
        total = total * _BASE + room[at]
        sums[at + 1] = total


@kernel
def _fingerprint_all(
    data,
    offsets,
    classes,
    lower,
    ngram,
    room,
    sums,
    words,
    whole,
    anchor,
    ends,
    grams,
):
    power = _powers(ngram)[ngram]
    filled = 0
    for row in range(len(offsets) - 1):
        count = hash_words(data, offsets[row], offsets[row + 1], classes, lower, room)
        _add_up(count, room, sums)
        words[row] = count
        if count > 0:
            whole[row] = sums[count] ^ _salt(count)
        if count >= ANCHOR:
            anchor[row] = sums[ANCHOR] ^ _salt(ANCHOR)
        if count >= ngram:
            for at in range(count - ngram + 1):
                room[at] = (sums[at + ngram] - sums[at] * power) ^ _salt(ngram)
            here = np.sort(room[: count - ngram + 1])
            for at in range(len(here)):
                if at == 0 or here[at] != here[at - 1]:
                    grams[filled] = here[at]
                    filled += 1
        ends[row + 1] = filled


@kernel
def _search_all(
    data,
    offsets,
    classes,
    lower,
    ngram,
    keys,
    ends,
    rows,
    counts,
    lengths,
    entire,
    slots,
    bitmap,
    anchors,
    room,
    sums,
    overlap,
    best,
    spans,
):
    longest = ngram
    for place in range(len(lengths)):
        longest = max(longest, lengths[place])
    powers = _powers(max(longest, ANCHOR))
    power, salt = powers[ngram], _salt(ngram)
    mask = np.uint64(64 * len(bitmap) - 1)
    anchor_power, anchor_salt = powers[ANCHOR], _salt(ANCHOR)
    anchor_mask = np.uint64(64 * len(anchors) - 1)
    # Which keys this text has shown already, and where each was first: a key counts once.
    seen = np.full(len(keys), -1, dtype=np.int32)
    found = np.empty(len(keys), dtype=np.int32)
    places = np.empty((len(keys), 2), dtype=np.int64)
    hits = np.zeros(len(counts), dtype=np.int32)
    touched = np.empty(len(counts), dtype=np.int32)
    for row in range(len(offsets) - 1):
        words = hash_words(data, offsets[row], offsets[row + 1], classes, lower, room)
        _add_up(words, room, sums)
        count = 0
        if 0 < words <= entire:
            key = _find(keys, slots, sums[words] ^ _salt(words) ^ ENTIRE)
            if key >= 0:
                seen[key] = row
                places[count, 0], places[count, 1] = 0, words
                found[count] = key
                count += 1
        for at in range(words - ngram + 1):
            value = (sums[at + ngram] - sums[at] * power) ^ salt
            bit = value & mask
            if (bitmap[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1):
                key = _find(keys, slots, value)
                if key >= 0 and seen[key] != row:
                    seen[key] = row
                    places[count, 0], places[count, 1] = at, at + ngram
                    found[count] = key
                    count += 1
        if len(lengths) > 0:
            for at in range(words - ANCHOR + 1):
                bit = ((sums[at + ANCHOR] - sums[at] * anchor_power) ^ anchor_salt) & anchor_mask
                if (anchors[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1):
                    for place in range(len(lengths)):
                        length = lengths[place]
                        if at + length > words:
                            break
                        value = (sums[at + length] - sums[at] * powers[length]) ^ _salt(length)
                        bit = value & mask
                        if (bitmap[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & np.uint64(1):
                            key = _find(keys, slots, value)
                            if key >= 0 and seen[key] != row:
                                seen[key] = row
                                places[count, 0], places[count, 1] = at, at + length
                                found[count] = key
                                count += 1
        if count == 0:
            continue
        many = 0
        for at in range(count):
            for place in range(ends[found[at]], ends[found[at] + 1]):
                other = rows[place]
                if hits[other] == 0:
                    touched[many] = other
                    many += 1
                hits[other] += 1
        chosen = np.int32(-1)
        share = np.float32(0)
        for at in range(many):
            other = touched[at]
            here = np.float32(hits[other] / counts[other])
            hits[other] = 0
            if here > share or (here == share and other < chosen):
                chosen, share = other, here
        first, last = words, 0
        for at in range(count):
            for place in range(ends[found[at]], ends[found[at] + 1]):
                if rows[place] == chosen:
                    first = min(first, places[at, 0])
                    last = max(last, places[at, 1])
        overlap[row] = share
        best[row] = chosen
        start, end = _span(data, offsets[row], offsets[row + 1], classes, first, last)
        spans[row, 0] = start - offsets[row]
        spans[row, 1] = end - offsets[row]


@kernel
def _span(data, start, end, classes, first, last):
    """Where in `data[start:end]` the words from number `first` to before number `last` lie, as `hash_words` counts."""
    at = start
    count = 0
    begin = start
    while at < end:
        code, size = decode(data, at, end)
        role = classes[code] & ROLE
        if role != WORD and role != SPACELESS:
            at += size
            continue
        if count == first:
            begin = at
        at += size
        while at < end:
            code, size = decode(data, at, end)
            following = classes[code] & ROLE
            if following != EXTEND and (following != WORD or role == SPACELESS):
                break
            at += size
        count += 1
        if count == last:
            return begin, at
    return begin, end
