"""The one tokeniser: words in UTF-8 text, found and hashed in place.

A word is a maximal run of letters, numbers and connectors (`_`) with the marks and joiners that follow them. A
character of a script that puts no spaces between words (Chinese, Japanese, Thai, ...) is a word by itself. Case is
folded by the simple lower-case mapping. On text without marks in scripts with spaces this is what `\\w+` finds in
Python.

A word's hash is 64 bits over its lower-cased UTF-8 (with `_` as 0x7F), in groups of eight bytes; it is the same on
every machine. In ASCII, which is most text, 64 bytes are classed at once and words are folded eight bytes at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables

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
    counts: npt.NDArray[np.int64] = count_words_kernel(text.data, text.offsets, known.classes)
    return counts


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
def load_eight(_context, data, at):  # type: ignore[no-untyped-def]
    """Eight bytes of `data` from `at` on as one little-endian number, aligned or not."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@intrinsic  # type: ignore[misc]
def trailing_zeros(_context, value):  # type: ignore[no-untyped-def]
    """How many low bits of a 64-bit number are zero; 64 for zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate


@intrinsic  # type: ignore[misc]
def leading_zeros(_context, value):  # type: ignore[no-untyped-def]
    """How many high bits of a 64-bit number are zero; 64 for zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate


@njit(inline="always")
def mix(value):
    """Spread the bits of a 64-bit number (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * _K1
    value = (value ^ (value >> np.uint64(27))) * _K2
    return value ^ (value >> np.uint64(31))


@njit(inline="always")
def _absorb(state, group):
    state = (state ^ group) * _K1
    return state ^ (state >> np.uint64(32))


@njit(inline="always")
def _finish(state, length):
    state = (state ^ (np.uint64(length) * _SEED)) * _K2
    return state ^ (state >> np.uint64(29))


@njit(inline="always")
def decode(data, at, end):
    """The code point at `at` and its length in bytes; a byte that is not UTF-8 is U+FFFD and one byte long."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first < 0xE0 and at + 1 < end and (data[at + 1] & 0xC0) == 0x80:
        return ((first & 0x1F) << 6) | np.int64(data[at + 1] & 0x3F), 2
    if 0xE0 <= first < 0xF0 and at + 2 < end and (data[at + 1] & 0xC0) == 0x80 and (data[at + 2] & 0xC0) == 0x80:
        code = ((first & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6) | np.int64(data[at + 2] & 0x3F)
        return (code, 3) if 0x800 <= code < 0xD800 or code >= 0xE000 else (np.int64(0xFFFD), 1)
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
        return (code, 4) if 0x10000 <= code < 0x110000 else (np.int64(0xFFFD), 1)
    return np.int64(0xFFFD), 1


@njit(inline="always")
def word_bytes(eight):
    """0x80 in each byte that is an ASCII letter, digit or `_`, and in each byte that is an upper-case letter."""
    seven = eight & ~_HIGH
    folded = seven | (_ONES * np.uint64(0x20))
    letter = (folded + _ONES * np.uint64(0x80 - 0x61)) & ~(folded + _ONES * np.uint64(0x80 - 0x7B))
    digit = (seven + _ONES * np.uint64(0x80 - 0x30)) & ~(seven + _ONES * np.uint64(0x80 - 0x3A))
    line = (seven + _ONES * np.uint64(0x80 - 0x5F)) & ~(seven + _ONES * np.uint64(0x80 - 0x60))
    upper = (seven + _ONES * np.uint64(0x80 - 0x41)) & ~(seven + _ONES * np.uint64(0x80 - 0x5B))
    ascii_only = ~eight & _HIGH
    return (letter | digit | line) & ascii_only, upper & ascii_only


@intrinsic  # type: ignore[misc]
def _masks(_context, data, at):  # type: ignore[no-untyped-def]
    """For the 64 bytes of `data` from `at` on, a bit each: ASCII word bytes, and bytes that are not ASCII.

    Written as one vector operation, which LLVM turns into what the processor has.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), 64)
        pointer = builder.gep(array.data, [arguments[1]])
        bytes_ = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=1)

        def all_of(value: int) -> ir.Constant:
            return ir.Constant(vector, [value] * 64)

        def within(values, low: int, count: int):  # type: ignore[no-untyped-def]
            return builder.icmp_unsigned("<", builder.sub(values, all_of(low)), all_of(count))

        letter = within(builder.or_(bytes_, all_of(0x20)), 0x61, 26)
        inside = builder.or_(letter, within(bytes_, 0x30, 10))
        inside = builder.or_(inside, builder.icmp_unsigned("==", bytes_, all_of(0x5F)))
        beyond = builder.icmp_unsigned(">=", bytes_, all_of(0x80))
        masks = [builder.bitcast(bits, ir.IntType(64)) for bits in (inside, beyond)]
        return cgutils.pack_array(builder, masks)

    return types.UniTuple(types.uint64, 2)(data, types.int64), generate


@kernel
def _masks_at_end(data, at):
    """`_masks` where fewer than 64 bytes are left."""
    inside, beyond = np.uint64(0), np.uint64(0)
    for place in range(min(64, len(data) - at)):
        byte = data[at + place]
        bit = np.uint64(1) << np.uint64(place)
        if byte >= 0x80:
            beyond |= bit
        elif 0x61 <= (byte | 0x20) < 0x7B or 0x30 <= byte < 0x3A or byte == 0x5F:
            inside |= bit
    return inside, beyond


@njit(inline="always")
def _block(data, at, end):
    """`_masks` of the bytes from `at` to `end`, 64 of them at most."""
    inside, beyond = _masks(data, at) if at + 64 <= len(data) else _masks_at_end(data, at)
    if end - at < 64:
        within = (np.uint64(1) << np.uint64(end - at)) - np.uint64(1)
        inside &= within
        beyond &= within
    return inside, beyond


@kernel
def hash_words(data, start, end, classes, lower, out):
    """Write the hash of each word of `data[start:end]` to `out`, which holds at least `(end - start + 1) // 2`.

    Returns the number of words.
    """
    count = 0
    at = start
    one = np.uint64(1)
    fresh = True
    inside, beyond = np.uint64(0), np.uint64(0)
    while at < end:
        if fresh:
            inside, beyond = _block(data, at, end)
            fresh = False
        if beyond != 0:
            # Words up to the first byte that is not ASCII; one that touches it may go on with it.
            stop = np.int64(trailing_zeros(beyond))
            inside &= (one << np.uint64(stop)) - one
            while inside != 0:
                first = np.int64(trailing_zeros(inside))
                length = np.int64(trailing_zeros(~(inside >> np.uint64(first))))
                if first + length == stop:
                    stop = first
                    break
                out[count] = hash_ascii_word(data, at + first, length)
                count += 1
                inside &= inside + (one << np.uint64(first))
            at, count = _hash_run(data, at + stop, end, classes, lower, out, count)
            fresh = True
            continue
        # Blocks follow each other at fixed places, so that the processor can begin the next before this one is done.
        next_inside, next_beyond = np.uint64(0), np.uint64(0)
        if at + 64 < end:
            next_inside, next_beyond = _block(data, at + 64, end)
        tail = np.int64(leading_zeros(~inside))
        if tail > 0:
            inside = inside & ((one << np.uint64(64 - tail)) - one) if tail < 64 else np.uint64(0)
        while inside != 0:
            first = np.int64(trailing_zeros(inside))
            length = np.int64(trailing_zeros(~(inside >> np.uint64(first))))
            out[count] = hash_ascii_word(data, at + first, length)
            count += 1
            inside &= inside + (one << np.uint64(first))
        at += 64
        if tail > 0:
            more = np.int64(trailing_zeros(~next_inside))
            if tail == 64 or more == 64 or (next_beyond >> np.uint64(more)) & one != 0:
                at, count = _hash_run(data, at - tail, end, classes, lower, out, count)
                fresh = True
                continue
            out[count] = hash_ascii_word(data, at - tail, tail + more)
            count += 1
            next_inside &= ~((one << np.uint64(more)) - one)
        inside, beyond = next_inside, next_beyond
    return count


@njit(inline="always")
def hash_ascii_word(data, at, length):
    """The hash of the word of ASCII characters in these `length` bytes, as `hash_words` gives it."""
    if length > 16 or at + 16 > len(data):
        return _hash_long(data, at, length)
    # Nearly every word: one or two groups, and no loop for the processor to guess.
    state = _absorb(_SEED, _folded(load_eight(data, at) & _first_bytes(min(length, 8))))
    if length > 8:
        state = _absorb(state, _folded(load_eight(data, at + 8) & _first_bytes(length - 8)))
    return _finish(state, length)


@kernel
def _hash_long(data, at, length):
    state = _SEED
    for begin in range(at, at + length, 8):
        group = np.uint64(0)
        for place in range(min(8, at + length - begin)):
            group |= np.uint64(data[begin + place]) << np.uint64(8 * place)
        state = _absorb(state, _folded(group))
    return _finish(state, length)


@njit(inline="always")
def _first_bytes(count):
    """A mask of the first 1 to 8 bytes of eight."""
    return ~np.uint64(0) >> np.uint64(64 - 8 * count)


@njit(inline="always")
def _folded(eight):
    """ASCII word bytes in lower case. `_` becomes 0x7F, as no other word byte does; that spares telling it apart."""
    return eight | ((eight & (_ONES * np.uint64(0x40))) >> np.uint64(1))


@kernel
def _hash_run(data, at, end, classes, lower, out, count):
    """Hash any words from `at` on until an ASCII byte outside them comes. Gives where that is, and the count."""
    first = True
    while at < end and (first or data[at] >= 0x80):
        first = False
        code, size = decode(data, at, end)
        role = classes[code] & ROLE
        if role != WORD and role != SPACELESS:
            at += size
            continue
        state, group, filled, length = _SEED, np.uint64(0), 0, 0
        while True:
            if role == SPACELESS:
                folded = code
            elif code < 0x80:
                folded = code | ((code & 0x40) >> 1)
            else:
                folded = np.int64(lower[code])
            encoded, width = encode(folded)
            group |= encoded << np.uint64(8 * filled)
            length += width
            filled += width
            if filled >= 8:
                state = _absorb(state, group)
                filled -= 8
                group = encoded >> np.uint64(8 * (width - filled)) if filled > 0 else np.uint64(0)
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
        count += 1
    return at, count


@njit(inline="always")
def encode(code):
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


@kernel
def count_words_kernel(data, offsets, classes):
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
                    count += ones(inside & ~before)
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
def ones(_context, value):  # type: ignore[no-untyped-def]
    """How many bits of a 64-bit number are set."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


__all__ = [
    "HASH_VERSION",
    "count_words",
    "count_words_kernel",
    "decode",
    "encode",
    "hash_ascii_word",
    "hash_words",
    "leading_zeros",
    "load_eight",
    "mix",
    "ones",
    "trailing_zeros",
    "word_bytes",
    "words",
]
