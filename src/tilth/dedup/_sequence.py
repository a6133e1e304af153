"""Texts as one sequence of numbers, a number for each byte, character or word, and from places in it back to bytes.

A word's number is that of the first equal word, by its folded characters and not by a hash: each batch numbers its own
words, and the numbers of all batches are joined in one vocabulary. So equal numbers mean equal words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.dedup._pieces import Numbers, roomier
from tilth.frame import Frame
from tilth.text.kernel import kernel
from tilth.text.strings import Bytes, Mask, Strings, strings
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables
from tilth.text.words import decode, encode, load_eight, trailing_zeros, word_bytes

Keys = npt.NDArray[np.uint64]

_NOT_UTF8 = 0x110000
"""A byte that is no UTF-8 is a character of its own: this and the byte."""
_HIGH = np.uint64(0x8080808080808080)
_LOWER = np.uint64(0x2020202020202020)
"""Folds ASCII word bytes: letters become lower case, digits stay, and `_` becomes 0x7F, as no other one does."""

_LONG = np.uint64(0xFF << 56)
"""A word's key is its folded bytes where sixteen hold them; of a longer one a hash, and this and where its letters are.

No word has such a byte.
"""
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, eq=False)
class Sequence:
    """All rows of a column, one after another.

    Attributes:
        units: a number for each unit, of type `uint8` for bytes and `int32` else.
        offsets: row `i` is `units[offsets[i]:offsets[i + 1]]`; a null has no units.
        valid: whether each row is text.
    """

    units: npt.NDArray[Any]
    offsets: Numbers
    valid: Mask


def sequence(frame: Frame, column: str, unit: str, who: str) -> Sequence:
    """The texts of a column in units."""
    known = tables()
    parts: list[npt.NDArray[Any]] = []
    counts: list[Numbers] = [np.zeros(0, dtype=np.int64)]
    valid: list[Mask] = [np.zeros(0, dtype=np.bool_)]

    def read(table: pa.Table, _: int) -> tuple[Any, ...]:
        text = strings(table, column, who)
        if unit == "token":
            return (*_number_words(text.data, text.offsets, text.valid, known.classes, known.lower), text.valid)
        if unit == "char":
            count = _count_characters(text.data, text.offsets, text.valid)
            characters = np.empty(int(count.sum()), dtype=np.int32)
            _characters(text.data, text.offsets, text.valid, characters)
            return characters, count, text.valid
        count = np.where(text.valid, np.diff(text.offsets), 0)
        data = text.data[text.offsets[0] : text.offsets[-1]]
        return data if int(count.sum()) == len(data) else _bytes(text.data, text.offsets, count), count, text.valid

    vocabulary = _Vocabulary()
    for numbers, *words, count, there in frame.map_batches(read, [column]):
        parts.append(vocabulary.join(*words)[numbers] if unit == "token" else numbers)
        counts.append(count)
        valid.append(there)
    del vocabulary
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    # Not one unit is too few for kernels that look at the first.
    units = np.empty(max(1, int(offsets[-1])), dtype=np.uint8 if unit == "byte" else np.int32)
    at = 0
    parts.reverse()
    while parts:
        # Part by part, so that not all is there twice.
        part = parts.pop()
        units[at : at + len(part)] = part
        at += len(part)
    return Sequence(units, offsets, np.concatenate(valid))


def places(text: Strings, unit: str, rows: Numbers, numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Where units lie in their rows.

    Args:
        text: the rows.
        unit: what is counted.
        rows: the row of each unit, ascending.
        numbers: its number in the row, from zero, ascending within a row.

    Returns:
        The bytes at which each begins and ends, counted from the beginning of its row.
    """
    if unit == "byte":
        return numbers, numbers + 1
    begins, ends = np.empty_like(numbers), np.empty_like(numbers)
    locate = _locate_words if unit == "token" else _locate_characters
    locate(text.data, text.offsets, tables().classes, rows, numbers, begins, ends)
    return begins, ends


class _Vocabulary:
    """Every word that was seen, and its number."""

    def __init__(self) -> None:
        self.count = 0
        self.keys = np.empty((1024, 2), dtype=np.uint64)
        self.letters: Bytes = np.zeros(1024, dtype=np.uint8)
        self.written = 0
        self.slots = np.zeros(2048, dtype=np.int32)

    def join(self, keys: Keys, letters: Bytes) -> npt.NDArray[np.int32]:
        """The number of each of these words, which differ from each other; a word that was not seen gets the next."""
        while self.count + len(keys) > len(self.keys):
            self.keys = np.concatenate([self.keys, np.empty_like(self.keys)])
        while self.written + len(letters) > len(self.letters):
            self.letters = roomier(self.letters)
        if 2 * (self.count + len(keys)) > len(self.slots):
            self.slots = np.zeros(1 << (2 * (self.count + len(keys))).bit_length(), dtype=np.int32)
            _enter(self.keys, self.count, self.slots)
        numbers = np.empty(len(keys), dtype=np.int32)
        self.count, self.written = _join(
            keys, letters, self.keys, self.letters, self.slots, self.count, self.written, numbers
        )
        return numbers


@njit(inline="always")
def next_word(data, at, end, classes):
    """Where the first word of `data[at:end]` begins and ends; twice the end where there is none."""
    while at < end:
        if data[at] < 0x80 and classes[data[at]] & ROLE != WORD:
            at += 1
            continue
        code, size = decode(data, at, end)
        role = classes[code] & ROLE
        if role in (WORD, SPACELESS):
            begin = at
            at += size
            while at < end:
                if role == WORD and data[at] < 0x80:
                    if classes[data[at]] & ROLE != WORD:
                        break
                    at += 1
                    continue
                code, size = decode(data, at, end)
                following = classes[code] & ROLE
                if following != EXTEND and (following != WORD or role == SPACELESS):
                    break
                at += size
            return begin, at
        at += size
    return end, end


@kernel
def _bytes(data, offsets, counts):
    """The bytes of the rows that have any."""
    out = np.empty(counts.sum(), dtype=np.uint8)
    at = 0
    for row in range(len(counts)):
        out[at : at + counts[row]] = data[offsets[row] : offsets[row] + counts[row]]
        at += counts[row]
    return out


@kernel
def _count_characters(data, offsets, valid):
    """How many characters each row has."""
    counts = np.zeros(len(valid), dtype=np.int64)
    for row in range(len(valid)):
        at, end = offsets[row], offsets[row + 1] if valid[row] else offsets[row]
        while at < end:
            if at + 8 <= end and load_eight(data, at) & _HIGH == 0:
                counts[row] += 8
                at += 8
            else:
                at += decode(data, at, end)[1]
                counts[row] += 1
    return counts


@kernel
def _characters(data, offsets, valid, out):
    """Write the characters of all rows."""
    filled = 0
    for row in range(len(valid)):
        at, end = offsets[row], offsets[row + 1] if valid[row] else offsets[row]
        while at < end:
            if data[at] < 0x80:
                out[filled] = data[at]
                at += 1
            else:
                code, size = decode(data, at, end)
                out[filled] = _NOT_UTF8 + data[at] if size == 1 else code
                at += size
            filled += 1


@kernel
def _locate_characters(data, offsets, classes, rows, numbers, begins, ends):
    row, at, number = np.int64(-1), np.int64(0), np.int64(0)
    for place in range(len(rows)):
        if rows[place] != row:
            row = rows[place]
            at, number = offsets[row], np.int64(0)
        while number < numbers[place]:
            at += decode(data, at, offsets[row + 1])[1]
            number += 1
        begins[place] = at - offsets[row]
        ends[place] = begins[place] + decode(data, at, offsets[row + 1])[1]


@kernel
def _locate_words(data, offsets, classes, rows, numbers, begins, ends):
    row, number = np.int64(-1), np.int64(0)
    begin, end = np.int64(0), np.int64(0)
    for place in range(len(rows)):
        if rows[place] != row:
            row = rows[place]
            begin, end = next_word(data, offsets[row], offsets[row + 1], classes)
            number = np.int64(0)
        while number < numbers[place]:
            begin, end = next_word(data, end, offsets[row + 1], classes)
            number += 1
        begins[place], ends[place] = begin - offsets[row], end - offsets[row]


@kernel
def _number_words(data, offsets, valid, classes, lower):
    """Words numbered in the order of their first appearance.

    Returns:
        The number of each word; the key of each different one; the letters of those that do not fit their keys, each
        word ended by a zero; and how many words each row has.
    """
    rows = len(offsets) - 1
    numbers = np.empty((offsets[rows] - offsets[0]) // 2 + rows + 1, dtype=np.int32)
    counts = np.zeros(rows, dtype=np.int64)
    keys = np.empty((4096, 2), dtype=np.uint64)
    letters = np.zeros(65536, dtype=np.uint8)
    slots = np.zeros(16384, dtype=np.int32)
    filled, different, written = 0, 0, 0
    safe = len(data) - 32
    for row in range(rows):
        before = filled
        at, end = offsets[row], offsets[row + 1] if valid[row] else offsets[row]
        while at < end:
            one, two = np.uint64(0), np.uint64(0)
            size = np.int64(0)
            if at <= safe:
                # Most words have up to sixteen ASCII bytes: they are found and folded without a loop.
                eight = load_eight(data, at)
                inside, _ = word_bytes(eight)
                first = inside | (eight & _HIGH)
                if first == 0:
                    at += 8
                    continue
                at += np.int64(trailing_zeros(first)) >> 3
                if at >= end:
                    break
                one, two = load_eight(data, at), load_eight(data, at + 8)
                inside, _ = word_bytes(one)
                size = np.int64(trailing_zeros(~inside & _HIGH)) >> 3
                if size == 8:
                    inside, _ = word_bytes(two)
                    size += np.int64(trailing_zeros(~inside & _HIGH)) >> 3
                size = min(size, end - at)
                if at + size < end:
                    byte = data[at + size]
                    if byte >= 0x80 or (size == 16 and classes[byte] & ROLE == WORD):
                        size = np.int64(0)
            start = written
            if size > 0:
                one = (one | _LOWER) & _low_bytes(size)
                two = (two | _LOWER) & _low_bytes(size - 8)
                at += size
            else:
                begin, at = next_word(data, at, end, classes)
                if begin == at:
                    break
                # Two bytes can become three when they are folded.
                while len(letters) - start < 3 * (at - begin) // 2 + 32:
                    letters = roomier(letters)
                stop = _fold(data, begin, at, lower, letters, start)
                letters[stop : stop + 16] = 0
                one, two = load_eight(letters, start), load_eight(letters, start + 8)
                if stop - start > 16:
                    one, two = _hash(letters, start, stop), _LONG | np.uint64(start)
                    written = stop + 1
            if 2 * (different + 1) > len(slots):
                slots = np.zeros(2 * len(slots), dtype=np.int32)
                _enter(keys, different, slots)
            slot = _look_up(one, two, letters, keys, letters, slots)
            if slots[slot] == 0:
                if different == len(keys):
                    keys = np.concatenate((keys, np.empty_like(keys)))
                keys[different, 0], keys[different, 1] = one, two
                different += 1
                slots[slot] = different
            else:
                written = start
            numbers[filled] = slots[slot] - 1
            filled += 1
        counts[row] = filled - before
    return numbers[:filled].copy(), keys[:different].copy(), letters[:written].copy(), counts


@njit(inline="always")
def _low_bytes(count):
    """A mask of the lowest bytes of eight; of all for a larger count, of none for a negative one."""
    return ~np.uint64(0) >> np.uint64(64 - 8 * min(count, 8)) if count > 0 else np.uint64(0)


@njit(inline="always")
def _fold(data, at, end, lower, out, to):
    """Write the characters of `data[at:end]` in lower case to `out` from `to` on; gives where they end."""
    while at < end:
        code, size = decode(data, at, end)
        at += size
        # As in keys: `_` becomes 0x7F, as no other word byte does.
        encoded, width = encode(np.int64(lower[code]) if code != 0x5F else np.int64(0x7F))
        for _ in range(width):
            out[to] = np.uint8(encoded & np.uint64(0xFF))
            encoded >>= np.uint64(8)
            to += 1
    return to


@njit(inline="always")
def _hash(letters, at, end):
    state = np.uint64(0)
    while at < end:
        state = (state ^ load_eight(letters, at)) * _K1
        state ^= state >> np.uint64(32)
        at += 8
    return state


@njit(inline="always")
def _look_up(one, two, word, keys, letters, slots):
    """The slot of a word among those known, or an empty one for it.

    The letters of a long word are in `word`, those of the known ones in `letters`, at the places that the keys hold.
    """
    mask = len(slots) - 1
    slot = _slot(one, two, mask)
    while slots[slot] != 0:
        known = slots[slot] - 1
        if keys[known, 0] == one:
            other = keys[known, 1]
            if two < _LONG:
                if other == two:
                    break
            elif other >= _LONG:
                at, place = np.int64(two & ~_LONG), np.int64(other & ~_LONG)
                while word[at] != 0 and word[at] == letters[place]:
                    at += 1
                    place += 1
                if word[at] == letters[place]:
                    break
        slot = (slot + 1) & mask
    return slot


@njit(inline="always")
def _slot(one, two, mask):
    # The place of a long word is not part of what it is.
    value = (one ^ (min(two, _LONG) * _K2)) * _K1
    return np.int64(value >> np.uint64(32)) & mask


@kernel
def _enter(keys, count, slots):
    """Enter words that differ from each other in empty slots."""
    mask = len(slots) - 1
    for number in range(count):
        slot = _slot(keys[number, 0], keys[number, 1], mask)
        while slots[slot] != 0:
            slot = (slot + 1) & mask
        slots[slot] = number + 1


@kernel
def _join(keys, letters, known_keys, known_letters, slots, count, written, numbers):
    """Look words up, enter those that are not known, and write their numbers.

    Returns how many are known then, and how many bytes of letters.
    """
    for word in range(len(keys)):
        one, two = keys[word, 0], keys[word, 1]
        slot = _look_up(one, two, letters, known_keys, known_letters, slots)
        if slots[slot] == 0:
            if two >= _LONG:
                at = np.int64(two & ~_LONG)
                two = _LONG | np.uint64(written)
                while True:
                    known_letters[written] = letters[at]
                    written += 1
                    if letters[at] == 0:
                        break
                    at += 1
            known_keys[count, 0], known_keys[count, 1] = one, two
            count += 1
            slots[slot] = count
        numbers[word] = slots[slot] - 1
    return count, written
