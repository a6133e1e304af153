"""The one tokeniser: words in UTF-8 text, found and hashed in place.

A word is a maximal run of letters, numbers and connectors (`_`) with the marks and joiners that follow them. A
character of a script that puts no spaces between words (Chinese, Japanese, Thai, ...) is a word by itself. Case is
folded by the simple lower-case mapping. On text without marks in scripts with spaces this is what `\\w+` finds in
Python.

A word's hash is 64 bits over its lower-cased UTF-8 (with `_` as 0x7F), in groups of sixteen bytes, each taken in by
one multiplication to 128 bits; it is the same on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.text.bits import (
    address,
    byte_at,
    eight_at,
    four_at,
    leading_zeros,
    load_eight,
    mix,
    multiplied,
    ones,
    trailing_zeros,
    write_eight,
)
from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.unicode import EXTEND, ROLE, SPACELESS, WORD, tables

HASH_VERSION = 2
"""Raised when any hash would come out otherwise; whatever stores hashes stores this with them."""

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_LOWER = _ONES * np.uint64(0x20)
"""Folds ASCII word bytes: letters become lower case, digits stay, and `_` becomes 0x7F, as no other one does."""
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


@njit(inline="always")
def _absorb(state, one, two):
    """The state of a hash after sixteen more bytes."""
    return multiplied(one ^ _K1, two ^ _K2 ^ state)


@njit(inline="always")
def decode(data, at, end):
    """The code point at `at` and its length in bytes; a byte that is not UTF-8 is U+FFFD and one byte long."""
    return decode_at(address(data), at, end, len(data))


@njit(inline="always")
def decode_at(text, at, end, limit):
    """`decode` of the text at an address, of which `limit` bytes can be read."""
    first = np.int64(byte_at(text, at))
    if first < 0x80:
        return first, 1
    # Bytes beyond the text read as zero, which continues no character.
    last = min(end, limit)
    if at + 4 <= limit:
        four = np.int64(four_at(text, at))
        if at + 4 > last:
            four &= (1 << (8 * (last - at))) - 1
    else:
        four = first
        for place in range(1, last - at):
            four |= np.int64(byte_at(text, at + place)) << (8 * place)
    if four & 0xC0E0 == 0x80C0:
        code = ((four & 0x1F) << 6) | ((four >> 8) & 0x3F)
        return (code, 2) if code >= 0x80 else (np.int64(0xFFFD), 1)
    if four & 0xC0C0F0 == 0x8080E0:
        code = ((four & 0x0F) << 12) | ((four >> 2) & 0xFC0) | ((four >> 16) & 0x3F)
        return (code, 3) if code >= 0x800 and code & 0xF800 != 0xD800 else (np.int64(0xFFFD), 1)
    if four & 0xC0C0C0F8 == 0x808080F0:
        code = ((four & 0x07) << 18) | ((four << 4) & 0x3F000) | ((four >> 10) & 0xFC0) | ((four >> 24) & 0x3F)
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


@intrinsic
def _masks(_context, text, at):
    """For the 64 bytes from `at` on of the text at an address, a bit each: ASCII word bytes; bytes that are not ASCII.

    Written as one vector operation, which LLVM turns into what the processor has.
    """

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.IntType(8), 64)
        pointer = builder.inttoptr(builder.add(arguments[0], arguments[1]), vector.as_pointer())
        bytes_ = builder.load(pointer, align=1)

        def all_of(value):
            return ir.Constant(vector, [value] * 64)

        def within(values, low, count):
            return builder.icmp_unsigned("<", builder.sub(values, all_of(low)), all_of(count))

        letter = within(builder.or_(bytes_, all_of(0x20)), 0x61, 26)
        inside = builder.or_(letter, within(bytes_, 0x30, 10))
        inside = builder.or_(inside, builder.icmp_unsigned("==", bytes_, all_of(0x5F)))
        beyond = builder.icmp_unsigned(">=", bytes_, all_of(0x80))
        masks = [builder.bitcast(bits, ir.IntType(64)) for bits in (inside, beyond)]
        return cgutils.pack_array(builder, masks)

    return types.UniTuple(types.uint64, 2)(text, types.int64), generate


@kernel
def _masks_at_end(text, at, end):
    """`_masks` where fewer than 64 bytes are left."""
    inside, beyond = np.uint64(0), np.uint64(0)
    for place in range(min(64, end - at)):
        byte = byte_at(text, at + place)
        bit = np.uint64(1) << np.uint64(place)
        if byte >= 0x80:
            beyond |= bit
        elif 0x61 <= (byte | 0x20) < 0x7B or 0x30 <= byte < 0x3A or byte == 0x5F:
            inside |= bit
    return inside, beyond


@njit(inline="always")
def _block(text, at, end, limit):
    """`_masks` of the bytes from `at` to `end`, 64 of them at most."""
    if at + 64 > limit:
        return _masks_at_end(text, at, end)
    inside, beyond = _masks(text, at)
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
    # From here on arrays are addresses: numba counts the references to an array that is passed on, and counting them
    # takes longer than hashing a word.
    return hash_words_at(address(data), start, end, len(data), address(classes), address(lower), address(out))


@kernel
def hash_words_at(text, start, end, limit, classes, lower, out):
    """`hash_words` of a text by its address, of which `limit` bytes can be read; so are the tables and `out`."""
    count = 0
    opened = np.int64(start)
    safe = limit - 16
    # What a block leaves for the next: whether its last byte is in a word, where the next word must begin anew, and of
    # a character that lies in both the bytes to come and whether they are in a word.
    carry, apart, reach = np.uint64(0), np.uint64(0), np.uint64(0)
    skip = 0
    for at in range(start, end, 64):
        inside, beyond = _block(text, at, end, limit)
        split = np.uint64(0)
        if beyond | apart != 0:
            inside, split, apart, reach, skip = _characters(
                text, at, end, limit, classes, inside | reach, beyond, carry, apart, skip
            )
        before = (inside << np.uint64(1)) | carry
        begins = inside & (~before | split)
        ends = before & (~inside | split)
        if carry == 0:
            opened = at + np.int64(trailing_zeros(begins))
            begins &= begins - np.uint64(1)
        # How many words end here is known before the first one is hashed: nothing in the loop has to be guessed.
        for _ in range(ones(ends)):
            last = at + np.int64(trailing_zeros(ends))
            ends &= ends - np.uint64(1)
            length = np.uint64(last - opened)
            hashed = np.uint64(0)
            done = False
            if length <= 16 and opened <= safe:
                one = (eight_at(text, opened) | _LOWER) & _FIRST[length]
                two = (eight_at(text, opened + 8) | _LOWER) & _SECOND[length]
                hashed = _absorb(_BEGIN[length], one, two)
                done = (one | two) & _HIGH == 0
            if not done:
                hashed = _hash_word(text, opened, last, limit, lower)
            write_eight(out, count, hashed)
            count += 1
            opened = at + np.int64(trailing_zeros(begins))
            begins &= begins - np.uint64(1)
        carry = inside >> np.uint64(63)
    if carry != 0 and (end - start) % 64 == 0:
        write_eight(out, count, _hash_word(text, opened, end, limit, lower))
        count += 1
    return count


@kernel
def _characters(text, at, end, limit, classes, inside, beyond, carry, apart, skip):
    """Bring the characters of a block that are not ASCII into its mask of word bytes.

    Gives the mask; the bits at which a word begins that touches the one before; and for the next block the bits at
    which that is so if a word begins there, the bits of the last character that are in a word, and its bytes.
    """
    one = np.uint64(1)
    begins, touching, next_apart, reach = np.uint64(0), apart, np.uint64(0), np.uint64(0)
    alone_end = np.int64(trailing_zeros(apart)) if apart != 0 else -1
    beyond &= ~((one << np.uint64(skip)) - one)
    skip = 0
    while beyond != 0:
        place = np.int64(trailing_zeros(beyond))
        code, size = decode_at(text, at + place, end, limit)
        after = place + size
        role = byte_at(classes, code) & ROLE
        held = ((inside << one) | carry) >> np.uint64(place) & one
        alone = np.uint64(role == SPACELESS)
        extends = np.uint64(role == EXTEND) & held
        longer = extends & np.uint64(alone_end == place)
        # Sums of conditions instead of branches: what characters come is hard to guess.
        filled = (np.uint64(0) - (alone | extends | np.uint64(role == WORD))) & ((one << np.uint64(size)) - one)
        inside |= filled << np.uint64(place)
        begins |= alone << np.uint64(place)
        touching &= ~(longer << np.uint64(place))
        alone |= longer
        alone_end = after if alone != 0 else alone_end
        if after >= 64:
            reach = filled >> np.uint64(64 - place)
            next_apart = alone << np.uint64(after - 64)
            skip = after - 64
            break
        touching |= alone << np.uint64(after)
        beyond &= ~((one << np.uint64(after)) - one)
    return inside, begins | (touching & inside), next_apart, reach, skip


_FIRST = np.array([2 ** (8 * min(length, 8)) - 1 for length in range(17)], dtype=np.uint64)
_SECOND = np.array([2 ** (8 * max(length - 8, 0)) - 1 for length in range(17)], dtype=np.uint64)
"""Masks of a word's bytes in its first and in its second eight."""
_BEGIN = np.array([length * int(_SEED) % 2**64 for length in range(17)], dtype=np.uint64)


@kernel
def hash_word(data, first, last, lower):
    """The hash of the one word that `data[first:last]` is, as `hash_words` gives it."""
    return _hash_word(address(data), first, last, len(data), address(lower))


_CASED = np.uint8(8)


def _leads() -> npt.NDArray[np.uint8]:
    """For the first byte of a character how many bytes it has, and whether any such character has a lower case."""
    lower = tables().lower
    cased = {chr(code).encode()[0] for code in np.flatnonzero(lower != np.arange(len(lower)))}
    widths = np.repeat(np.array([1, 2, 3, 4], dtype=np.uint8), [0xC0, 0x20, 0x10, 0x10])
    # ASCII is folded otherwise.
    widths[[lead for lead in cased if lead >= 0x80]] |= _CASED
    return widths


_LEADS = _leads()


@kernel
def _hash_word(text, first, last, limit, lower):
    length = last - first
    if length <= 16 and first + 16 <= limit:
        one = eight_at(text, first) & _FIRST[np.uint64(length)]
        two = eight_at(text, first + 8) & _SECOND[np.uint64(length)]
        cased = np.uint8(0)
        at = first
        if length == 3 and 0xE3 <= one & np.uint64(0xFF) <= 0xE9:
            # One character of Chinese or Japanese, which has no case.
            return _absorb(_BEGIN[3], one, two)
        while at < last:
            lead = _LEADS[np.uint64(byte_at(text, at))]
            cased |= lead
            at += np.int64(lead & 7)
        if cased & _CASED == 0:
            one |= ((~one & _HIGH) >> np.uint64(2)) & _FIRST[np.uint64(length)]
            two |= ((~two & _HIGH) >> np.uint64(2)) & _SECOND[np.uint64(length)]
            return _absorb(_BEGIN[np.uint64(length)], one, two)
    one, two, filled = np.uint64(0), np.uint64(0), np.int64(0)
    at = first
    while at < last:
        encoded, width, size = _folded(text, at, last, limit, lower)
        at += size
        if filled < 8:
            one |= encoded << np.uint64(8 * filled)
            if filled + width > 8:
                two |= encoded >> np.uint64(8 * (8 - filled))
        elif filled < 16:
            two |= encoded << np.uint64(8 * (filled - 8))
        filled += width
    if filled <= 16:
        return _absorb(_BEGIN[np.uint64(filled)], one, two)
    state = np.uint64(filled) * _SEED
    one, two, filled = np.uint64(0), np.uint64(0), np.int64(0)
    at = first
    while at < last:
        encoded, width, size = _folded(text, at, last, limit, lower)
        at += size
        for _ in range(width):
            byte = (encoded & np.uint64(0xFF)) << np.uint64(8 * (filled & 7))
            encoded >>= np.uint64(8)
            if filled < 8:
                one |= byte
            else:
                two |= byte
            filled += 1
            if filled == 16:
                state = _absorb(state, one, two)
                one, two, filled = np.uint64(0), np.uint64(0), np.int64(0)
    return _absorb(state, one, two) if filled else state


@njit(inline="always")
def _folded(text, at, last, limit, lower):
    """The character at `at` folded, its UTF-8 in one number; how many bytes that has, and how many the character."""
    code, size = decode_at(text, at, last, limit)
    if code < 0x80:
        return np.uint64(code | 0x20), np.int64(1), np.int64(1)
    encoded, width = encode(np.int64(four_at(lower, 4 * code)))
    return encoded, np.int64(width), np.int64(size)


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


__all__ = [
    "HASH_VERSION",
    "count_words",
    "count_words_kernel",
    "decode",
    "decode_at",
    "encode",
    "hash_word",
    "hash_words",
    "hash_words_at",
    "leading_zeros",
    "load_eight",
    "mix",
    "ones",
    "trailing_zeros",
    "word_bytes",
    "words",
]
