"""The one tokeniser: words in UTF-8 text, found and hashed in place.

A word is a maximal run of letters, numbers and connectors (`_`) with the marks and joiners that follow them. A character
of a script that puts no spaces between words (Chinese, Japanese, Thai, ...) is a word by itself. Case is folded by
the simple lower-case mapping. On text without marks in scripts with spaces this is what `\\w+` finds in Python.

A word's hash is 64 bits over its lower-cased UTF-8, in groups of eight bytes; it is the same on every machine. ASCII
words, nearly all there are, are read and folded eight bytes at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.text.strings import Strings
from tilth.text.unicode import CONTROL, EXTEND, ROLE, SPACE, SPACELESS, SYMBOL, WORD, tables

HASH_VERSION = 1
"""Raised when any hash would come out otherwise; whatever stores hashes stores this with them."""

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)


def count_words(text: Strings) -> npt.NDArray[np.int64]:
    """Words in each row, shape `(rows,)`; 0 where there is no text."""
    known = tables()
    return count_words_kernel(text.data, text.offsets, known.classes)


def words(text: str) -> list[str]:
    """The words of one text, folded. For a person or a test: kernels never make strings."""
    known = tables()
    found: list[str] = []
    start = -1
    for at, character in enumerate(text):
        role = known.classes[ord(character)] & ROLE
        if role == WORD and start >= 0 and _spaced(known.classes, text[start]):
            continue
        if role == EXTEND and start >= 0:
            continue
        if start >= 0:
            found.append(text[start:at])
        start = at if role in (WORD, SPACELESS) else -1
    if start >= 0:
        found.append(text[start:])
    return ["".join(chr(known.lower[ord(character)]) for character in word) for word in found]


def _spaced(classes: npt.NDArray[np.uint8], character: str) -> bool:
    return int(classes[ord(character)] & ROLE) == WORD


@intrinsic  # type: ignore[misc]
def load_eight(_context, data, at):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Eight bytes of `data` from `at` on as one little-endian number, aligned or not."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic  # type: ignore[misc]
def trailing_zeros(_context, value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """How many low bits of a 64-bit number are zero; 64 for zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate


@njit(inline="always")
def mix(value):  # noqa: ANN001, ANN201
    """Spread the bits of a 64-bit number (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * _K1
    value = (value ^ (value >> np.uint64(27))) * _K2
    return value ^ (value >> np.uint64(31))


@njit(inline="always")
def _absorb(state, group):  # noqa: ANN001, ANN202
    state = (state ^ group) * _K1
    return state ^ (state >> np.uint64(32))


@njit(inline="always")
def _finish(state, length):  # noqa: ANN001, ANN202
    state = (state ^ (np.uint64(length) * _SEED)) * _K2
    return state ^ (state >> np.uint64(29))


@njit(inline="always")
def decode(data, at, end):  # noqa: ANN001, ANN201
    """The code point at `at` and its length in bytes; a byte that is not UTF-8 is U+FFFD and one byte long."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first < 0xE0 and at + 1 < end and (data[at + 1] & 0xC0) == 0x80:
        return ((first & 0x1F) << 6) | np.int64(data[at + 1] & 0x3F), 2
    if 0xE0 <= first < 0xF0 and at + 2 < end and (data[at + 1] & 0xC0) == 0x80 and (data[at + 2] & 0xC0) == 0x80:
        code = ((first & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6) | np.int64(data[at + 2] & 0x3F)
        return code, 3
    if (
        0xF0 <= first < 0xF5
        and at + 3 < end
        and (data[at + 1] & 0xC0) == 0x80
        and (data[at + 2] & 0xC0) == 0x80
        and (data[at + 3] & 0xC0) == 0x80
    ):
        code = (
            ((first & 0x07) << 18)
            | (np.int64(data[at + 1] & 0x3F) << 12)
            | (np.int64(data[at + 2] & 0x3F) << 6)
            | np.int64(data[at + 3] & 0x3F)
        )
        return (code, 4) if code < 0x110000 else (np.int64(0xFFFD), 1)
    return np.int64(0xFFFD), 1


@njit(inline="always")
def word_bytes(eight):  # noqa: ANN001, ANN201
    """0x80 in each byte that is an ASCII letter, digit or `_`, and in each byte that is an upper-case letter."""
    seven = eight & ~_HIGH
    folded = seven | (_ONES * np.uint64(0x20))
    letter = (folded + _ONES * np.uint64(0x80 - 0x61)) & ~(folded + _ONES * np.uint64(0x80 - 0x7B))
    digit = (seven + _ONES * np.uint64(0x80 - 0x30)) & ~(seven + _ONES * np.uint64(0x80 - 0x3A))
    line = (seven + _ONES * np.uint64(0x80 - 0x5F)) & ~(seven + _ONES * np.uint64(0x80 - 0x60))
    upper = (seven + _ONES * np.uint64(0x80 - 0x41)) & ~(seven + _ONES * np.uint64(0x80 - 0x5B))
    ascii_only = ~eight & _HIGH
    return (letter | digit | line) & ascii_only, upper & ascii_only


@njit(cache=True, nogil=True)
def hash_words(data, start, end, classes, lower, out):  # noqa: ANN001, ANN201
    """Write the hash of each word of `data[start:end]` to `out`, which holds at least `(end - start + 1) // 2`.

    Returns the number of words.
    """
    count = 0
    at = start
    safe = len(data) - 8
    while at < end:
        byte = data[at]
        if byte < 0x80:
            if (classes[byte] & ROLE) != WORD:
                at += 1
                continue
            state, begin = _SEED, at
            whole = True
            while at <= safe:
                eight = load_eight(data, at)
                inside, upper = word_bytes(eight)
                length = np.int64(trailing_zeros(~inside & _HIGH) >> np.uint64(3))
                length = min(length, end - at)
                eight |= upper >> np.uint64(2)
                if length == 8:
                    state = _absorb(state, eight)
                    at += 8
                    continue
                if length > 0:
                    state = _absorb(state, eight & ((np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)))
                at += length
                whole = at >= end or data[at] < 0x80
                break
            else:
                whole = False
            if whole:
                out[count] = _finish(state, at - begin)
                count += 1
                continue
            at = begin
        at, found = _hash_any_word(data, at, end, classes, lower, out, count)
        count += found
    return count


@njit(cache=True, nogil=True)
def _hash_any_word(data, at, end, classes, lower, out, count):  # noqa: ANN001, ANN202
    """The character at `at`: skip it, or hash the word that begins there. Gives where to go on, and 1 for a word."""
    code, size = decode(data, at, end)
    role = classes[code] & ROLE
    if role != WORD and role != SPACELESS:
        return at + size, 0
    state, group, filled, length = _SEED, np.uint64(0), 0, 0
    while True:
        code = np.int64(lower[code])
        encoded, width = _encode(code)
        for _ in range(width):
            group |= (encoded & np.uint64(0xFF)) << np.uint64(8 * filled)
            encoded >>= np.uint64(8)
            filled += 1
            length += 1
            if filled == 8:
                state = _absorb(state, group)
                group, filled = np.uint64(0), 0
        at += size
        if at >= end:
            break
        code, size = decode(data, at, end)
        following = classes[code] & ROLE
        if following != EXTEND and (following != WORD or role == SPACELESS):
            break
    if filled:
        state = _absorb(state, group)
    out[count] = _finish(state, length)
    return at, 1


@njit(inline="always")
def _encode(code):  # noqa: ANN001, ANN202
    """A code point as UTF-8: the bytes in one number, the first lowest, and how many."""
    if code < 0x80:
        return np.uint64(code), 1
    if code < 0x800:
        return np.uint64(0xC0 | (code >> 6)) | np.uint64(0x80 | (code & 0x3F)) << np.uint64(8), 2
    if code < 0x10000:
        return (
            np.uint64(0xE0 | (code >> 12))
            | np.uint64(0x80 | ((code >> 6) & 0x3F)) << np.uint64(8)
            | np.uint64(0x80 | (code & 0x3F)) << np.uint64(16)
        ), 3
    return (
        np.uint64(0xF0 | (code >> 18))
        | np.uint64(0x80 | ((code >> 12) & 0x3F)) << np.uint64(8)
        | np.uint64(0x80 | ((code >> 6) & 0x3F)) << np.uint64(16)
        | np.uint64(0x80 | (code & 0x3F)) << np.uint64(24)
    ), 4


@njit(cache=True, nogil=True)
def count_words_kernel(data, offsets, classes):  # noqa: ANN001, ANN201
    """Words in each row of `data` cut at `offsets`."""
    rows = len(offsets) - 1
    counts = np.zeros(rows, dtype=np.int64)
    safe = len(data) - 8
    for row in range(rows):
        at, end = offsets[row], offsets[row + 1]
        count = 0
        inside_word = False
        while at < end:
            if at <= safe and at + 8 <= end:
                eight = load_eight(data, at)
                if eight & _HIGH == 0:
                    # A word begins at each word byte whose neighbour to the left is none.
                    inside, _ = word_bytes(eight)
                    before = (inside << np.uint64(8)) | (np.uint64(0x80) if inside_word else np.uint64(0))
                    count += _ones(inside & ~before)
                    inside_word = (inside >> np.uint64(63)) != 0
                    at += 8
                    continue
            code, size = decode(data, at, end)
            role = classes[code] & ROLE
            if role == WORD:
                count += 0 if inside_word else 1
                inside_word = True
            elif role == SPACELESS:
                count += 1
                inside_word = False
            elif role != EXTEND:
                inside_word = False
            at += size
        counts[row] = count
    return counts


@intrinsic  # type: ignore[misc]
def _ones(_context, value):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """How many bits of a 64-bit number are set."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


__all__ = [
    "CONTROL",
    "HASH_VERSION",
    "SPACE",
    "SYMBOL",
    "count_words",
    "count_words_kernel",
    "decode",
    "hash_words",
    "load_eight",
    "mix",
    "trailing_zeros",
    "word_bytes",
    "words",
]
