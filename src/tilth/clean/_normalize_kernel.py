"""What `Normalize` does to bytes: find the rows that are not in order, and tidy those that Unicode tables can mend.

`survey` reads 64 bytes at a time and looks at single characters only where they are not ASCII. What it finds for a row
is a set of flags; a row without flags stays as it is. `tidy` writes control characters and white space anew.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tilth.clean import _blocks
from tilth.clean.rewrite import Rewritten
from tilth.text.kernel import kernel
from tilth.text.strings import Mask, Strings
from tilth.text.words import decode, trailing_zeros

# Flags of a row.
UNTIDY = 1
FORM = 2
MOJIBAKE = 4
BROKEN = 8

# The lowest bits of a character's kind say what `tidy` does with it, the others what `survey` has to look at.
_KEEP, _DROP, _SPACE, _LINE, _PARAGRAPH = range(5)
_ACTION = 0x07
_NOT_IN_FORM = 0x08
_MARK = 0x10
_LEAD = 0x20
_CONTROL = 0x40

_ALL = ~np.uint64(0)
_TAB, _LINE_FEED, _CARRIAGE_RETURN, _BLANK, _DELETE = 0x09, 0x0A, 0x0D, 0x20, 0x7F
_OVERLAP = 3
_LINES = 3
"""Most line breaks in a row: two blank lines."""

_LINE_TO_KEEP = 512
"""The longest line, in bytes, whose repair is remembered."""

# The rows of the table of mojibake.
_FIRST_OF_TWO, _BEFORE_BLANK, _BEFORE_QUESTION, _FIRST_OF_MORE, _FIRST_OF_LOST, _LATER, _ROLES = range(7)

_SUBSTITUTE, _QUESTION, _REPLACEMENT = 0x1A, 0x3F, 0xFFFD
_PLANES_WITH_DECOMPOSITIONS = 0x30000


@dataclass(frozen=True, eq=False)
class Tables:
    """What the kernels know of characters.

    Attributes:
        kinds: for each code point the bits above, shape `(0x110000,)`.
        marks: for each code point its canonical combining class, shape `(0x110000,)`.
        mojibake: see `_mojibake`, shape `(6, 0x10000)`; a column of zeros where it is switched off.
        control: whether control characters are put in order.
        white_space: whether white space is.
    """

    kinds: npt.NDArray[np.uint8]
    marks: npt.NDArray[np.uint8]
    mojibake: npt.NDArray[np.uint16]
    control: bool
    white_space: bool


@lru_cache(maxsize=8)
def tables(form: str | None, mojibake: bool, control: bool, white_space: bool) -> Tables:
    """The tables for these settings of `Normalize`."""
    kinds = np.zeros(0x110000, dtype=np.uint8)
    marks = np.zeros(0x110000, dtype=np.uint8)
    if control:
        kinds[[*range(0x20), *range(_DELETE, 0xA0), 0xFEFF]] = _DROP
        kinds[[0x0B, 0x0C, _CARRIAGE_RETURN, 0x85]] = _LINE
        kinds[[_TAB, _LINE_FEED]] = _KEEP
    if white_space:
        kinds[[code for code in range(0xA0, 0x10000) if unicodedata.category(chr(code)) == "Zs"]] = _SPACE
        kinds[0x2028], kinds[0x2029] = _LINE, _PARAGRAPH
    if form is not None:
        places, classes = _composing(form)
        kinds[places] |= _NOT_IN_FORM
        marks[:_PLANES_WITH_DECOMPOSITIONS] = classes
        kinds[marks > 0] |= _MARK
    confused = np.zeros((_ROLES, 1), dtype=np.uint16)
    if mojibake:
        confused = _mojibake()
        kinds[: confused.shape[1]][confused[:_LATER].any(axis=0)] |= _LEAD
        kinds[0x80:0xA0] |= _CONTROL
    return Tables(kinds, marks, confused, control, white_space)


def survey(text: Strings, known: Tables) -> npt.NDArray[np.uint8]:
    """The flags of each row, shape `(rows,)`; none where there is no text."""
    flags: npt.NDArray[np.uint8] = survey_rows(
        text.data,
        text.offsets,
        text.valid,
        known.kinds,
        known.marks,
        known.mojibake,
        known.control,
        known.white_space,
    )
    return flags


def repaired(text: Strings, row: int, known: Tables) -> bytes:
    """The bytes of a row, each line that may be mojibake read again by ftfy."""
    begin, end = int(text.offsets[row]), int(text.offsets[row + 1])
    pieces = []
    for first, last in suspect_lines(text.data, begin, end, known.kinds, known.mojibake).tolist():
        pieces.append(text.data[begin:first].tobytes())
        line = text.data[first:last].tobytes()
        pieces.append(_reread(line) if len(line) <= _LINE_TO_KEEP else _reread.__wrapped__(line))
        begin = last
    pieces.append(text.data[begin:end].tobytes())
    return b"".join(pieces)


@lru_cache(maxsize=8192)
def _reread(line: bytes) -> bytes:
    """A line as ftfy repairs it. Suspects come back often: the rules of a table, and all of them in the next round."""
    from ftfy import fix_encoding

    return str(fix_encoding(line.decode("utf-8", "replace"))).encode()


def tidied(text: Strings, rows: npt.NDArray[np.int64], known: Tables, before: Strings) -> Rewritten | None:
    """Those of the rows `rows` that differ from `before` once control characters and white space are in order."""
    data, offsets = tidy_rows(text.data, text.offsets, rows, known.kinds, known.white_space)
    other: Mask = _blocks.differ(before.data, before.offsets, rows, data, offsets)
    if other.all():
        return Rewritten(rows, data, offsets) if len(rows) else None
    if not other.any():
        return None
    data, offsets = _blocks.pick(data, offsets, np.flatnonzero(other))
    return Rewritten(rows[other], data, offsets)


@lru_cache(maxsize=2)
def _composing(form: str) -> tuple[list[int], npt.NDArray[np.uint8]]:
    """The characters whose presence alone may break a normalisation form, and the combining class of each character."""
    classes = np.zeros(_PLANES_WITH_DECOMPOSITIONS, dtype=np.uint8)
    # Hangul vowels and final consonants join what stands before them, by rule and not by table.
    places = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    for code in range(0x80, _PLANES_WITH_DECOMPOSITIONS):
        character = chr(code)
        classes[code] = unicodedata.combining(character)
        parts = unicodedata.decomposition(character)
        if parts:
            if not unicodedata.is_normalized(form, character):  # type: ignore[arg-type]
                places.add(code)
            if parts[0] != "<" and " " in parts:
                places.add(int(parts.split()[1], 16))
    return sorted(places), classes


@lru_cache(maxsize=1)
def _mojibake() -> npt.NDArray[np.uint16]:
    """Which characters may be bytes of UTF-8 that were read in another encoding: a bit for each encoding ftfy knows.

    The rows are the constants above: may be the first of two bytes; the same where a space is the second; where `?` is;
    may be the first of more bytes; the same where one of them is a space or `?`; may be a later byte. The highest bit
    stands for Latin encodings mixed in one text. What ftfy changes holds such a sequence or a C1 control character,
    so nothing else has to be shown to it.
    """
    from ftfy.chardata import ALTERED_UTF8_RE, CHARMAP_ENCODINGS, LOSSY_UTF8_RE

    found = np.zeros((_ROLES, 0x10000), dtype=np.uint16)
    for place, encoding in enumerate(CHARMAP_ENCODINGS):
        # ftfy puts lost spaces back in all encodings but this one, where an en dash would be the byte before them.
        spaced = encoding != "macroman"
        bits = 1 << place | (0 if encoding in ("macroman", "cp437") else 1 << 15)
        for byte in range(0x80, 0xF5):
            try:
                code = ord(bytes([byte]).decode(encoding))
            except UnicodeDecodeError:
                continue
            if byte < 0xC0:
                found[_LATER, code] |= bits
            elif byte < 0xE0:
                found[_FIRST_OF_TWO, code] |= bits
                if spaced and ALTERED_UTF8_RE.search(bytes([byte, _BLANK])):
                    found[_BEFORE_BLANK, code] |= bits
                if LOSSY_UTF8_RE.search(bytes([byte, _QUESTION])):
                    found[_BEFORE_QUESTION, code] |= bits
            else:
                found[_FIRST_OF_MORE, code] |= bits
                if spaced:
                    found[_FIRST_OF_LOST, code] |= bits
    found[_LATER, [_SUBSTITUTE, _REPLACEMENT]] = 0xFFFF
    return found


@kernel
def survey_rows(data, offsets, valid, kinds, marks, mojibake, control, white_space):
    """`survey` on flat buffers."""
    rows = len(offsets) - 1
    flags = np.zeros(rows, dtype=np.uint8)
    last = np.zeros(_blocks.BLOCK, dtype=np.uint8)
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        if valid[row] and begin < end:
            flags[row] = _survey_row(data, begin, end, kinds, marks, mojibake, control, white_space, last)
    return flags


@kernel
def _survey_row(data, begin, end, kinds, marks, mojibake, control, white_space, last):
    flags = 0
    if white_space:
        final = data[end - 1]
        if data[begin] == _LINE_FEED or final in (_LINE_FEED, _BLANK, _TAB):
            flags = UNTIDY
    at = begin
    # The end of the last character that is not ASCII, and its combining class.
    touched, mark = begin, np.uint8(0)
    while True:
        left = end - at
        if at + _blocks.BLOCK <= len(data):
            lines, blanks, controls, beyond = _classes(data, at)
        else:
            for place in range(len(data) - at):
                last[place] = data[at + place]
            lines, blanks, controls, beyond = _classes(last, 0)
        here = _ALL if left >= _blocks.BLOCK else _ALL >> np.uint64(_blocks.BLOCK - left)
        lines, blanks, controls, beyond = lines & here, blanks & here, controls & here, beyond & here
        untidy = controls if control else np.uint64(0)
        if white_space:
            many = lines & (lines >> np.uint64(1))
            untidy |= (blanks & (lines >> np.uint64(1))) | (many & (many >> np.uint64(2)))
        if untidy != 0:
            flags |= UNTIDY
        # Blocks overlap, so that each pattern of up to four bytes lies within one.
        step = left if left <= _blocks.BLOCK else _blocks.BLOCK - _OVERLAP
        while beyond != 0:
            first = np.int64(trailing_zeros(beyond))
            if first >= step:
                break
            place = at + first
            code, size = decode(data, place, end)
            beyond &= ~(((np.uint64(1) << np.uint64(size)) - np.uint64(1)) << np.uint64(first))
            if size == 1:
                flags |= BROKEN
            if place != touched:
                mark = np.uint8(0)
            touched = place + size
            kind = kinds[code]
            if kind == 0:
                mark = np.uint8(0)
                continue
            if kind & _ACTION:
                flags |= UNTIDY
            if kind & _NOT_IN_FORM:
                flags |= FORM
            if kind & _MARK:
                flags |= FORM if marks[code] < mark else 0
                mark = marks[code]
            else:
                mark = np.uint8(0)
            if kind & _CONTROL or (kind & _LEAD and _suspect(data, place + size, end, code, mojibake)):
                flags |= MOJIBAKE
        if left <= _blocks.BLOCK:
            return flags
        at = max(at + step, touched)
        if at >= end:
            return flags


@kernel
def _classes(data, at):
    """Bits for the 64 bytes from `at` on: line feeds; spaces and tabs; other ASCII control characters; not ASCII."""
    lines = _blocks.equal(data, at, np.uint8(_LINE_FEED))
    tabs = _blocks.equal(data, at, np.uint8(_TAB))
    blanks = tabs | _blocks.equal(data, at, np.uint8(_BLANK))
    controls = _blocks.within(data, at, np.uint8(0), np.uint8(0x20)) & ~(lines | tabs)
    controls |= _blocks.equal(data, at, np.uint8(_DELETE))
    return lines, blanks, controls, _blocks.within(data, at, np.uint8(0x80), np.uint8(0x80))


@kernel
def _suspect(data, at, end, lead, mojibake):
    """Whether the characters from `at` on make a UTF-8 sequence with `lead`, in an encoding that has them all."""
    if at >= end:
        return False
    second, size = decode(data, at, end)
    blank = second in (_BLANK, _QUESTION)
    if blank:
        if mojibake[_BEFORE_BLANK if second == _BLANK else _BEFORE_QUESTION, lead] != 0:
            return True
        follows = mojibake[_FIRST_OF_LOST, lead]
    elif second < 0x10000:
        if mojibake[_FIRST_OF_TWO, lead] & mojibake[_LATER, second] != 0:
            return True
        follows = mojibake[_FIRST_OF_MORE, lead] & mojibake[_LATER, second]
    else:
        return False
    if follows == 0 or at + size >= end:
        return False
    third, _ = decode(data, at + size, end)
    if third in (_BLANK, _QUESTION):
        # One later byte may have been lost, but not both.
        return not blank and follows & mojibake[_FIRST_OF_LOST, lead] != 0
    return third < 0x10000 and follows & mojibake[_LATER, third] != 0


@kernel
def suspect_lines(data, begin, end, kinds, mojibake):
    """Where each line of `data[begin:end]` that may be mojibake begins and ends, shape `(lines, 2)`."""
    found = np.empty((16, 2), dtype=np.int64)
    count = 0
    at = seen = begin
    while at < end:
        if data[at] < 0x80:
            if at + _blocks.BLOCK <= len(data):
                beyond = _blocks.within(data, at, np.uint8(0x80), np.uint8(0x80))
                at += np.int64(trailing_zeros(beyond))
            else:
                at += 1
            continue
        code, size = decode(data, at, end)
        at += size
        kind = kinds[code]
        if not (kind & _CONTROL or (kind & _LEAD and _suspect(data, at, end, code, mojibake))):
            continue
        line = at - size
        while line > seen and data[line - 1] != _LINE_FEED:
            line -= 1
        while at < end and data[at] != _LINE_FEED:
            at += 1
        if count == len(found):
            more = np.empty((2 * count, 2), dtype=np.int64)
            more[:count] = found
            found = more
        found[count, 0], found[count, 1] = line, at
        seen = at
        count += 1
    return found[:count]


@kernel
def tidy_rows(data, offsets, rows, kinds, white_space):
    """The rows `rows` with control characters and white space in order: bytes and offsets. No row gets longer."""
    size = np.int64(0)
    for row in rows:
        size += offsets[row + 1] - offsets[row]
    out = np.empty(size + _blocks.BLOCK, dtype=np.uint8)
    ends = np.empty(len(rows) + 1, dtype=np.int64)
    last = np.zeros(_blocks.BLOCK, dtype=np.uint8)
    ends[0] = 0
    for place in range(len(rows)):
        row = rows[place]
        begin, end = offsets[row], offsets[row + 1]
        ends[place + 1] = _tidy_row(data, begin, end, kinds, white_space, out, ends[place], last)
    return out[: ends[len(rows)]], ends


@kernel
def _tidy_row(data, begin, end, kinds, white_space, out, start, last):
    at, to = begin, start
    while at < end:
        # Whatever is neither a line feed, nor a control character, nor beyond ASCII is copied in runs.
        if at + _blocks.BLOCK <= len(data):
            lines, _, controls, beyond = _classes(data, at)
            _blocks.copy(data, at, out, to)
        else:
            for place in range(len(data) - at):
                last[place] = data[at + place]
            lines, _, controls, beyond = _classes(last, 0)
            for place in range(end - at):
                out[to + place] = data[at + place]
        run = min(np.int64(trailing_zeros(lines | controls | beyond)), end - at)
        at += run
        to += run
        while at < end:
            code, size = decode(data, at, end)
            if code == _LINE_FEED:
                to = _break_line(out, start, to, white_space)
            elif _BLANK <= code < _DELETE:
                break
            else:
                action = kinds[code] & _ACTION
                if action == _KEEP:
                    for place in range(size):
                        out[to + place] = data[at + place]
                    to += size
                elif action == _SPACE:
                    out[to] = _BLANK
                    to += 1
                elif action == _LINE:
                    if code == _CARRIAGE_RETURN and at + 1 < end and data[at + 1] == _LINE_FEED:
                        size += 1
                    to = _break_line(out, start, to, white_space)
                elif action == _PARAGRAPH:
                    to = _break_line(out, start, to, white_space)
                    to = _break_line(out, start, to, white_space)
            at += size
    if white_space:
        while to > start and (out[to - 1] == _BLANK or out[to - 1] == _TAB or out[to - 1] == _LINE_FEED):
            to -= 1
    return to


@kernel
def _break_line(out, start, to, white_space):
    """Write a line feed at `to`, unless it makes a blank line that is not wanted; gives where the next byte goes."""
    if white_space:
        while to > start and (out[to - 1] == _BLANK or out[to - 1] == _TAB):
            to -= 1
        if to == start or (to - start >= _LINES and _ends_in_lines(out, to)):
            return to
    out[to] = _LINE_FEED
    return to + 1


@kernel
def _ends_in_lines(out, to):
    return out[to - 1] == _LINE_FEED and out[to - 2] == _LINE_FEED and out[to - 3] == _LINE_FEED
