"""Digests of texts and the comparison of texts, on Arrow buffers, as they are or folded.

A folded text has each character in its simple lower case, each run of white space as one space, and none at its ends.
Typical text, ASCII with single spaces, is folded eight bytes at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import ROLE, SPACE, tables
from tilth.text.words import decode, encode, load_eight, mix, trailing_zeros

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)
_K3 = np.uint64(0xD6E8FEB86659FD93)


def digest(text: Strings, folded: bool, digests: npt.NDArray[np.uint64]) -> None:
    """Take each text into its row's 128-bit digest, in place, after whatever it has taken in before.

    Args:
        text: `n` texts.
        folded: whether to fold them.
        digests: shape `(n, 2)`.
    """
    known = tables()
    scratch = np.empty(_room(text) if folded else 0, dtype=np.uint8)
    _digest_all(text.data, text.offsets, known.classes, known.lower, folded, scratch, digests)


def equal(leaders: Strings, leader_of: npt.NDArray[np.int64], others: Strings, folded: bool) -> npt.NDArray[np.bool_]:
    """Whether `others[i]` and `leaders[leader_of[i]]` are the same text, shape `(n,)`; a null is an empty text."""
    known = tables()
    same = np.empty(len(leader_of), dtype=np.bool_)
    one = np.empty(_room(leaders) if folded else 0, dtype=np.uint8)
    two = np.empty(_room(others) if folded else 0, dtype=np.uint8)
    _equal_all(
        leaders.data,
        leaders.offsets,
        leader_of,
        others.data,
        others.offsets,
        known.classes,
        known.lower,
        folded,
        one,
        two,
        same,
    )
    return same


def _room(text: Strings) -> int:
    """The most bytes that any text has when folded: two bytes can become three (U+023A); and eight to spare."""
    return int(np.diff(text.offsets).max(initial=0)) * 3 // 2 + 16


@intrinsic
def _store_eight(_context, data, at, value):
    """Write a number to the eight bytes of `data` from `at` on, the lowest first."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        number = context.get_value_type(types.uint64).as_pointer()
        builder.store(arguments[2], builder.bitcast(pointer, number), align=1)
        return context.get_dummy_value()

    return types.none(data, types.int64, types.uint64), generate


@kernel
def fold(data, start, end, classes, lower, out):
    """Write `data[start:end]` folded to `out`; gives its length."""
    at, size = start, np.int64(0)
    safe = min(len(data), end) - 8
    gap = False
    while at < end:
        if at <= safe and data[at] < 0x80:
            eight = load_eight(data, at)
            spaces = ~((eight ^ (_ONES * np.uint64(0x20))) + _ONES * np.uint64(0x7F)) & _HIGH
            control = ~(eight + _ONES * np.uint64(0x60)) & _HIGH
            # The bytes before the first that is not plain: not ASCII, a control, or a space after a space.
            odd = (eight & _HIGH) | control | (spaces & ((spaces << np.uint64(8)) | np.uint64(0x80)))
            plain = np.int64(trailing_zeros(odd) >> np.uint64(3))
            if plain > 0:
                if gap:
                    out[size] = 0x20
                    size += 1
                upper = (eight + _ONES * np.uint64(0x80 - 0x41)) & ~(eight + _ONES * np.uint64(0x80 - 0x5B)) & _HIGH
                _store_eight(out, size, eight | (upper >> np.uint64(2)))
                gap = bool((spaces >> np.uint64(8 * plain - 1)) & np.uint64(1))
                size += plain - 1 if gap else plain
                at += plain
                if at < end and data[at] == 0x20:
                    gap = True
                    at = _after_spaces(data, at, end)
                continue
        code, width = decode(data, at, end)
        if classes[code] & ROLE == SPACE:
            gap = bool(size)
            at += width
            at = _after_spaces(data, at, end)
            continue
        if gap:
            out[size] = 0x20
            size += 1
            gap = False
        if code == 0xFFFD and width == 1:
            # Not UTF-8: the byte stays, so that different bytes stay different.
            out[size] = data[at]
            size += 1
        else:
            encoded, length = encode(np.int64(lower[code]))
            _store_eight(out, size, encoded)
            size += length
        at += width
    return size


@njit(inline="always")
def _after_spaces(data, at, end):
    while at < end and data[at] == 0x20:
        at += 1
    return at


@kernel
def _hash(data, start, end, one, two):
    """Both halves of a digest after the bytes `data[start:end]`."""
    at = start
    one, two = one + _K3, two ^ _K2
    while at < end:
        if at + 8 <= end:
            eight = load_eight(data, at)
        else:
            eight = np.uint64(0)
            for place in range(end - at):
                eight |= np.uint64(data[at + place]) << np.uint64(8 * place)
        at += 8
        one = (one ^ eight) * _K1
        one ^= one >> np.uint64(32)
        two = (two + eight) * _K3
        two ^= two >> np.uint64(29)
    length = np.uint64(end - start)
    return mix(one ^ length), mix(two + length * _K1)


@kernel
def _digest_all(data, offsets, classes, lower, folded, scratch, digests):
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        if folded:
            size = fold(data, start, end, classes, lower, scratch)
            one, two = _hash(scratch, 0, size, digests[row, 0], digests[row, 1])
        else:
            one, two = _hash(data, start, end, digests[row, 0], digests[row, 1])
        digests[row, 0] = one
        digests[row, 1] = two


@kernel
def _equal_all(
    leaders,
    leader_offsets,
    leader_of,
    data,
    offsets,
    classes,
    lower,
    folded,
    one,
    two,
    same,
):
    before = -1
    leader_size = 0
    for pair in range(len(leader_of)):
        leader = leader_of[pair]
        first, last = leader_offsets[leader], leader_offsets[leader + 1]
        start, end = offsets[pair], offsets[pair + 1]
        if not folded:
            same[pair] = _same(leaders, first, last - first, data, start, end - start)
            continue
        if leader != before:
            leader_size = fold(leaders, first, last, classes, lower, one)
            before = leader
        size = fold(data, start, end, classes, lower, two)
        same[pair] = _same(one, 0, leader_size, two, 0, size)


@kernel
def _same(one, first, size, two, second, other):
    if size != other:
        return False
    at = 0
    while at + 8 <= size:
        if load_eight(one, first + at) != load_eight(two, second + at):
            return False
        at += 8
    while at < size and one[first + at] == two[second + at]:
        at += 1
    return at >= size
