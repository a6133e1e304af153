"""Where a sentence ends, by rules, on UTF-8 bytes.

A mark of a script with spaces (`.`, `!`, `?`, ...) ends a sentence when white space follows it, and any quotes and
brackets that close after it. It does not before a lower-case letter; nor does a single full stop after an abbreviation,
an initial or a number of one or two digits (`am 5. Mai`, `1. First`). A full-width mark (`。`, `！`, `？`) ends a
sentence wherever it stands. A blank line ends a sentence and a line break does not, except around a heading (`# ...`)
and before the next item of a list, quote or table. Where the rules do not know, the sentence goes on: two sentences
taken for one lose nothing, but half a sentence does not read.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.bits import load_eight, trailing_zeros
from tilth.text.kernel import kernel
from tilth.text.unicode import EXTEND, LETTER, ROLE, SPACE, WORD, tables
from tilth.text.words import decode

# What a character does to sentences.
MARK = 1
"""Ends a sentence before white space."""
WIDE_MARK = 2
"""Ends a sentence by itself."""
CLOSER = 4
"""Goes with a mark before it."""
NARROW_CLOSER = 8
"""Goes with a mark of a script with spaces; elsewhere it opens."""
LOWER = 16
"""A lower-case letter."""
BLANK = 32
"""White space."""
LETTERS = 64
IN_WORD = 128

# What the beginning of a line is.
_PLAIN, _ITEM, _HEADING, _NOTHING = range(4)

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_LINE_FEED, _CARRIAGE_RETURN, _TAB, _SPACE, _STOP, _APOSTROPHE = 0x0A, 0x0D, 0x09, 0x20, 0x2E, 0x27
_LONGEST = 8

# English, German, French, Spanish and Italian.
_ABBREVIATIONS = """
    adj adm al approx apr apt art assn assoc asst aug ave bd bldg blvd brig bros ca capt cf chap cmdr co col corp
    cpl dec dept dir dist div dr ed eds eq eqs esp esq est etc ext feb fig figs ft gen gov hon hr ibid inc incl jan
    jr jul jun lt ltd maj mar messrs mr mrs ms mt mts no nos nov oct op pl pp pres prof pt pts pvt ref refs rep reps
    rev sec sen sens sep sept sgt sr st ste supt tel univ viz vol vols vs
    abb abs aufl bsp bspw bzgl bzw ebd evtl geb gest ggf hrsg inkl jh max min mio mrd nr sog str usw uvm vgl zzgl
    env fasc mlle mme
    dra dres pag sra sres srta ud uds
    dott ecc sig sigg
"""


@cache
def roles() -> npt.NDArray[np.uint8]:
    """What each character does to sentences, shape `(0x110000,)`."""
    known = tables()
    found = np.zeros(len(known.classes), dtype=np.uint8)
    lowered = known.lower[known.lower != np.arange(len(known.lower))]
    found[lowered] |= LOWER
    # Georgian sentences begin with letters that are lower-case only in name.
    found[0x10D0:0x1100] &= ~np.uint8(LOWER)
    role = known.classes & ROLE
    found[role == SPACE] |= BLANK
    found[(known.classes & LETTER) != 0] |= LETTERS
    found[(role == WORD) | (role == EXTEND)] |= IN_WORD
    for characters, what in [
        (".!?…؟۔।॥።‽", MARK),
        ("。！？｡", WIDE_MARK),
        ("\"')]}*_’”»›」』）】》〉］｝｣", CLOSER),
        ("“«‹", NARROW_CLOSER),
    ]:
        found[[ord(character) for character in characters]] |= what
    found.flags.writeable = False
    return found


@cache
def abbreviations() -> npt.NDArray[np.uint64]:
    """Words before a full stop that is none: each in lower case, its bytes in one number, ascending."""
    words = _ABBREVIATIONS.split()
    packed = sorted({int.from_bytes(word.encode(), "little") for word in words if len(word) <= _LONGEST})
    found = np.array(packed, dtype=np.uint64)
    found.flags.writeable = False
    return found


@kernel
def _character(data, at, end):
    """`decode`, compiled once."""
    return decode(data, at, end)


@kernel
def skip_blanks(data, at, end, role_of):
    """The first place from `at` on that holds no white space, or `end`."""
    while at < end:
        byte = data[at]
        if byte < 0x80:
            if role_of[byte] & BLANK == 0:
                return at
            at += 1
        else:
            code, size = _character(data, at, end)
            if role_of[code] & BLANK == 0:
                return at
            at += size
    return end


@kernel
def skip_blanks_of_line(data, at, end, role_of):
    """The first place from `at` on that holds a line break or no white space, or `end`."""
    while at < end:
        byte = data[at]
        if byte < 0x80:
            if byte == _LINE_FEED or role_of[byte] & BLANK == 0:
                return at
            at += 1
        else:
            code, size = _character(data, at, end)
            if role_of[code] & BLANK == 0:
                return at
            at += size
    return end


@kernel
def without_blanks(data, start, end, role_of):
    """The place after the last character of `data[start:end]` that is no white space."""
    while end > start:
        before = end - 1
        if data[before] < 0x80:
            if role_of[data[before]] & BLANK == 0:
                return end
        else:
            before = _before(data, start, end)
            code, _ = _character(data, before, end)
            if role_of[code] & BLANK == 0:
                return end
        end = before
    return start


@kernel
def next_sentence(data, begin, at, end, heading, role_of, short):
    """The next sentence of `data[begin:end]`: where it begins and ends, and whether what follows is in a heading.

    Args:
        data: text.
        begin: of the text.
        at: where the last sentence ended; `begin` for the first.
        end: of the text.
        heading: what the last call said; False at the beginning of a text.
        role_of: `roles()`.
        short: `abbreviations()`.

    Returns:
        A beginning of -1 where there is no further sentence.
    """
    start = skip_blanks(data, at, end, role_of)
    if start == end:
        return np.int64(-1), end, False
    line = _line_start(data, at, start)
    if line > at or line == begin:
        heading = _line_kind(data, line, end, role_of) == _HEADING
    at = start
    while at < end:
        at = _skip_plain(data, at, end)
        if at >= end:
            break
        if data[at] == _LINE_FEED:
            kind = _line_kind(data, at + 1, end, role_of)
            if kind != _PLAIN or heading:
                return start, without_blanks(data, start, at, role_of), False
            at += 1
            continue
        code, size = _character(data, at, end)
        role = role_of[code]
        if role & (MARK | WIDE_MARK) == 0:
            at += size
            continue
        first, marks, wide = at, 0, False
        while at < end:
            code, size = _character(data, at, end)
            role = role_of[code]
            if role & (MARK | WIDE_MARK):
                wide = wide or role & WIDE_MARK != 0
                marks += 1
            elif role & CLOSER == 0 and (wide or role & NARROW_CLOSER == 0):
                break
            at += size
        if wide:
            return start, at, heading
        if at >= end:
            break
        if role_of[code] & BLANK == 0:
            continue
        if marks == 1 and data[first] == _STOP and _is_short(data, start, first, role_of, short):
            continue
        following = skip_blanks_of_line(data, at, end, role_of)
        if following < end and data[following] == _LINE_FEED:
            # The line break decides, unless the sentence is over anyway.
            if _line_kind(data, following + 1, end, role_of) != _PLAIN:
                return start, at, heading
            following = skip_blanks(data, following, end, role_of)
        if following < end:
            code, _ = _character(data, following, end)
            if role_of[code] & LOWER:
                continue
        return start, at, heading
    return start, without_blanks(data, start, end, role_of), False


@njit(inline="always")
def _matches(eight, value):
    """A high bit in the first byte that is `value`; those after it may be wrong."""
    other = eight ^ (_ONES * np.uint64(value))
    return (other - _ONES) & ~other & _HIGH


@kernel
def _skip_plain(data, at, end):
    """The first place from `at` on with a line break, `.`, `!`, `?` or a byte that is not ASCII, or `end`."""
    safe = min(len(data), end) - 8
    while at <= safe:
        eight = load_eight(data, at)
        found = _matches(eight, 0x0A) | _matches(eight, 0x2E) | _matches(eight, 0x21) | _matches(eight, 0x3F)
        found |= eight & _HIGH
        if found:
            return at + np.int64(trailing_zeros(found) >> np.uint64(3))
        at += 8
    while at < end:
        byte = data[at]
        if byte >= 0x80 or byte == 0x0A or byte == 0x2E or byte == 0x21 or byte == 0x3F:
            break
        at += 1
    return at


@kernel
def _before(data, start, at):
    """Where the character begins that ends before `at`."""
    first = at - 1
    while first > start and at - first < 4 and data[first] & 0xC0 == 0x80:
        first -= 1
    _, size = _character(data, first, at)
    return first if first + size == at else at - 1


@kernel
def _line_start(data, begin, at):
    """Where the line begins in which `at` is, or `begin` if it began before that."""
    while at > begin and data[at - 1] != _LINE_FEED:
        at -= 1
    return at


@kernel
def _line_kind(data, at, end, role_of):
    """What the line that begins at `at` is."""
    at = skip_blanks_of_line(data, at, end, role_of)
    if at >= end or data[at] == _LINE_FEED:
        return _NOTHING
    byte = data[at]
    if byte == 0x23:
        while at < end and data[at] == 0x23:
            at += 1
        return _HEADING if at < end and data[at] == _SPACE else _PLAIN
    if byte == 0x3E or byte == 0x7C:
        return _ITEM
    size = 1
    if 0x30 <= byte < 0x3A:
        while at + size < end and size < 4 and 0x30 <= data[at + size] < 0x3A:
            size += 1
        if size == 4 or at + size >= end or (data[at + size] != _STOP and data[at + size] != 0x29):
            return _PLAIN
        size += 1
    elif byte >= 0x80:
        code, size = _character(data, at, end)
        if code != 0x2022:
            return _PLAIN
    elif byte != 0x2D and byte != 0x2A and byte != 0x2B:
        return _PLAIN
    following = at + size
    return _ITEM if following < end and (data[following] == _SPACE or data[following] == _TAB) else _PLAIN


@kernel
def _is_short(data, start, stop, role_of, short):
    """Whether the word before the full stop at `stop` is an abbreviation, an initial or a number of two digits."""
    at = stop
    packed = np.uint64(0)
    while at > start and stop - at < _LONGEST and 0x61 <= (data[at - 1] | 0x20) < 0x7B:
        at -= 1
        packed = (packed << np.uint64(8)) | np.uint64(data[at] | 0x20)
    length = stop - at
    if length == 0:
        while at > start and stop - at < 3 and 0x30 <= data[at - 1] < 0x3A:
            at -= 1
        if at < stop:
            return stop - at <= 2 and not _goes_on(data, start, at, role_of)
        if at == start or data[at - 1] < 0x80:
            return False
        at = _before(data, start, at)
        code, _ = _character(data, at, stop)
        # A letter with a mark of its own is an initial, too: `É` in two parts.
        while at > start and role_of[code] & (IN_WORD | LETTERS) == IN_WORD:
            at = _before(data, start, at)
            code, _ = _character(data, at, stop)
        return role_of[code] & (LETTERS | IN_WORD) == LETTERS | IN_WORD and not _goes_on(data, start, at, role_of)
    if _goes_on(data, start, at, role_of):
        return False
    if length == 1:
        return True
    low, high = 0, len(short)
    while low < high:
        middle = (low + high) // 2
        if short[middle] < packed:
            low = middle + 1
        else:
            high = middle
    return low < len(short) and short[low] == packed


@kernel
def _goes_on(data, start, at, role_of):
    """Whether the word that is here from `at` on began before it; an apostrophe after a letter is part of a word."""
    if at == start:
        return False
    before = _before(data, start, at)
    code, _ = _character(data, before, at)
    if (code == _APOSTROPHE or code == 0x2019) and before > start:
        code, _ = _character(data, _before(data, start, before), before)
        return role_of[code] & LETTERS != 0
    return role_of[code] & IN_WORD != 0
