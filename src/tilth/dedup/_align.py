"""The longest common subsequence and the edit distance of two rows of numbers, 64 cells of their matrix at a time.

One row is the pattern: for each value in it a mask says where it stands. Each value of the other row, the text, is a
step, and bits hold how neighbours in a column of the matrix differ (Myers, A fast bit-vector algorithm for approximate
string matching, 1999; Hyyrö, Bit-parallel LCS-length computation revisited, 2004, and Explaining and extending the
bit-parallel approximate string matching algorithm of Myers, 2001).

A pattern of more than `STRIP` values is cut into strips, whose masks fit into the cache; what one strip carries over
into the next is kept for each value of the text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.bits import ones
from tilth.text.kernel import kernel

STRIP = 4096
_ALL = ~np.uint64(0)
_ONE = np.uint64(1)


class Room(NamedTuple):
    """Memory to compare rows in, for one thread.

    Attributes:
        place: for each value which mask of the pattern is its own, from one; 0 for all of them between patterns.
        masks: of the pattern. The first one is that of all values which are not in it.
        column: the state of each word of the pattern.
        carries: what a strip carries over at each value of the text.
    """

    place: npt.NDArray[np.int32]
    masks: npt.NDArray[np.uint64]
    column: npt.NDArray[np.uint64]
    carries: npt.NDArray[np.uint8]


def room_for(vocabulary: int, longest: int) -> Room:
    """Room for rows of so many values at most, each below `vocabulary`."""
    strip = min(longest, STRIP)
    words = (strip + 63) // 64
    return Room(
        np.zeros(vocabulary, dtype=np.int32),
        np.empty(words * (min(strip, vocabulary) + 1), dtype=np.uint64),
        np.empty(2 * words, dtype=np.uint64),
        np.empty(longest, dtype=np.uint8),
    )


@kernel
def mask_pattern(room, values, first, last):
    """Take `values[first:last]`, at most `STRIP` of them, as the pattern, until `unmask`."""
    place, masks = room.place, room.masks
    words = (last - first + 63) >> 6
    masks[:words] = 0
    known = 0
    for at in range(last - first):
        value = values[first + at]
        if place[value] == 0:
            known += 1
            place[value] = known
            masks[known * words : (known + 1) * words] = 0
        masks[place[value] * words + (at >> 6)] |= _ONE << np.uint64(at & 63)


@kernel
def unmask(room, values, first, last):
    """Forget the pattern."""
    for at in range(first, last):
        room.place[values[at]] = 0


@njit(inline="always")
def common(room, length, values, first, last):
    """The length of the longest common subsequence of the pattern, of so many values, and `values[first:last]`."""
    place, masks, column = room.place, room.masks, room.column
    if length <= 64:
        state = _ALL
        for at in range(first, last):
            here = state & masks[place[values[at]]]
            state = (state + here) | (state - here)
        return length - ones(state & (_ALL >> np.uint64(64 - length)))
    words = (length + 63) >> 6
    column[:words] = _ALL
    for at in range(first, last):
        if place[values[at]] != 0:
            _common_step(masks, place[values[at]] * words, words, column, np.uint64(0))
    return _zeros(column, length)


@kernel
def common_long(room, values, begin, end, first, last):
    """`common` of `values[begin:end]`, of any length, and `values[first:last]`; no pattern must be set."""
    room.carries[: last - first] = 0
    found = 0
    for strip in range(begin, end, STRIP):
        length = min(end - strip, STRIP)
        words = (length + 63) >> 6
        mask_pattern(room, values, strip, strip + length)
        room.column[:words] = _ALL
        for at in range(last - first):
            base = room.place[values[first + at]] * words
            carry = np.uint64(room.carries[at])
            room.carries[at] = _common_step(room.masks, base, words, room.column, carry)
        unmask(room, values, strip, strip + length)
        found += _zeros(room.column, length)
    return found


@njit(inline="always")
def _common_step(masks, base, words, column, carry):
    for word in range(words):
        state = column[word]
        here = state & masks[base + word]
        summed = state + here
        total = summed + carry
        carry = np.uint64(summed < state) | np.uint64(total < summed)
        column[word] = total | (state - here)
    return carry


@njit(inline="always")
def _zeros(column, length):
    """How many of the first `length` bits are zero."""
    zeros = 0
    for word in range((length + 63) >> 6):
        filled = min(length - 64 * word, 64)
        zeros += filled - ones(column[word] & (_ALL >> np.uint64(64 - filled)))
    return zeros


@njit(inline="always")
def edits(room, length, values, first, last, most):
    """The edit distance of the pattern, of so many values, and `values[first:last]`; anything above `most` if it is."""
    place, masks, column = room.place, room.masks, room.column
    end = _ONE << np.uint64((length - 1) & 63)
    distance = length
    if length <= 64:
        up, down = _ALL, np.uint64(0)
        for at in range(first, last):
            match = masks[place[values[at]]]
            diagonal = (((match & up) + up) ^ up) | match | down
            right, left = down | ~(diagonal | up), diagonal & up
            distance += np.int64((right & end) != 0) - np.int64((left & end) != 0)
            # What is left of the text can take away so much.
            if distance - (last - at - 1) > most:
                break
            right, left = (right << _ONE) | _ONE, left << _ONE
            up, down = left | ~(diagonal | right), right & diagonal
        return distance
    words = (length + 63) >> 6
    _begin_edits(column, words)
    for at in range(first, last):
        step, _ = _edit_step(masks, place[values[at]] * words, words, column, end, np.uint64(1))
        distance += step
        if distance - (last - at - 1) > most:
            break
    return distance


@kernel
def edits_long(room, values, begin, end, first, last, most):
    """`edits` of `values[begin:end]`, of any length above zero, and `values[first:last]`; no pattern must be set."""
    distance = end - begin
    room.carries[: last - first] = 1
    for strip in range(begin, end, STRIP):
        length = min(end - strip, STRIP)
        words = (length + 63) >> 6
        mask_pattern(room, values, strip, strip + length)
        _begin_edits(room.column, words)
        edge = _ONE << np.uint64((length - 1) & 63)
        for at in range(last - first):
            base = room.place[values[first + at]] * words
            carry = np.uint64(room.carries[at])
            step, carry = _edit_step(room.masks, base, words, room.column, edge, carry)
            room.carries[at] = carry
            if strip + length == end:
                distance += step
                if distance - (last - first - at - 1) > most:
                    break
        unmask(room, values, strip, strip + length)
    return distance


@njit(inline="always")
def _begin_edits(column, words):
    for word in range(words):
        column[2 * word], column[2 * word + 1] = _ALL, np.uint64(0)


@njit(inline="always")
def _edit_step(masks, base, words, column, end, carry):
    """One value of the text: gives how the distance changes at the bit `end`, and what is carried over."""
    more, fewer = carry & _ONE, carry >> _ONE
    right, left = np.uint64(0), np.uint64(0)
    for word in range(words):
        up, down = column[2 * word], column[2 * word + 1]
        match = masks[base + word]
        with_carry = match | fewer
        diagonal = (((with_carry & up) + up) ^ up) | with_carry | down
        right, left = down | ~(diagonal | up), diagonal & up
        shifted_right, shifted_left = (right << _ONE) | more, (left << _ONE) | fewer
        more, fewer = right >> np.uint64(63), left >> np.uint64(63)
        column[2 * word] = shifted_left | ~(diagonal | shifted_right)
        column[2 * word + 1] = shifted_right & diagonal
    return np.int64((right & end) != 0) - np.int64((left & end) != 0), more | (fewer << _ONE)
