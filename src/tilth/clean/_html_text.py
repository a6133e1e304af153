"""Text out of marked-up bytes: what stands between the tags, its references decoded, laid out as the tags say.

White space is treated in one of three ways: in `<pre>` it is kept, within elements that break lines it is collapsed as
a browser does, and outside of all of them it is kept too, for there the text is not HTML but has HTML in it.
"""

from __future__ import annotations

import numpy as np

from tilth.clean import _blocks
from tilth.clean._html_names import (
    BREAK,
    CELL,
    FLOW,
    ITEM,
    LINE,
    LIST,
    LONGEST_REFERENCE,
    PARAGRAPH,
    PRE,
    ROW,
    SHORT_FLOW,
    TABLE,
    Names,
    names,
)
from tilth.clean._html_tokens import (
    CODE,
    ELEMENT,
    END,
    KIND,
    LITERAL,
    OPENING,
    START,
    find,
    find_either,
    is_space,
    settle,
    tokenize,
)
from tilth.clean.rewrite import Rewritten
from tilth.text.kernel import kernel
from tilth.text.strings import Strings
from tilth.text.words import trailing_zeros

_LESS, _AMPERSAND, _HASH, _SEMICOLON, _BLANK, _TAB, _LINE_FEED, _CARRIAGE_RETURN = (
    0x3C,
    0x26,
    0x23,
    0x3B,
    0x20,
    0x09,
    0x0A,
    0x0D,
)
_REPLACEMENT = 0xFFFD

# What is known between two pieces of text: the places in `state`.
_TO = 0
"""Where the next byte is written."""
_FIRST = 1
"""Where this text begins in what is written."""
_FLOOR = 2
"""What is written up to here is never trimmed."""
_BREAKS = 3
"""Line breaks due before the next text: 0, 1 or 2."""
_SPACED = 4
"""A space is due before the next text."""
_BULLET = 5
"""A list item has begun."""
_FRESH = 6
"""Nothing was written yet in an item or a cell, so no break is due."""
_TABS = 7
"""Cells that began since the last text."""
_CELLS = 8
"""Cells of this table row."""
_LINES = 9
"""Whether nothing (0), one line (1) or more (2) was written since an item or a table row began."""
_LISTS = 10
_PRES = 11
_DEPTH = 12
_SHORT = 13
"""Lists, elements that keep white space, and elements that collapse it, that are open."""
_PLACES = 14


def strip(text: Strings) -> Rewritten | None:
    """The rows that hold tags or character references, without them; `None` where there is none."""
    known: Names = names()
    rows, data, offsets = strip_rows(
        text.data,
        text.offsets,
        text.valid,
        known.keys,
        known.elements,
        known.traits,
        known.slots,
        known.names,
        known.name_ends,
        known.values,
        known.value_ends,
        known.numbers,
    )
    return Rewritten(rows, data, offsets) if len(rows) else None


@kernel
def strip_rows(data, offsets, valid, keys, elements, traits, slots, labels, label_ends, values, value_ends, numbers):
    """`strip` on flat buffers: the rows that change, their bytes and their offsets."""
    count = len(offsets) - 1
    rows = np.empty(count, dtype=np.int64)
    ends = np.zeros(count + 1, dtype=np.int64)
    # Only references to two characters are shorter than what they stand for: five bytes become six.
    room = offsets[count] - offsets[0]
    out = np.empty(room + room // 5 + 2 * _blocks.BLOCK, dtype=np.uint8)
    references = (slots, labels, label_ends, values, value_ends, numbers)
    tokens = np.empty((1024, 4), dtype=np.int64)
    marks = np.zeros(len(traits), dtype=np.bool_)
    state = np.zeros(_PLACES, dtype=np.int64)
    changed = 0
    for row in range(count):
        begin, end = offsets[row], offsets[row + 1]
        if not valid[row]:
            continue
        if find_either(data, begin, end, _LESS, _AMPERSAND) == end:
            continue
        found, tokens = tokenize(data, begin, end, keys, elements, traits, tokens, marks)
        found, tags = settle(data, begin, tokens, found, traits, marks)
        to = ends[changed]
        if tags == 0 and not _has_reference(data, begin, end, tokens, found, references, out, to):
            continue
        ends[changed + 1] = _lay_out(data, begin, end, tokens, found, traits, references, state, out, to)
        rows[changed] = row
        changed += 1
    return rows[:changed], out[: ends[changed]], ends[: changed + 1]


@kernel
def _has_reference(data, begin, end, tokens, count, references, out, to):
    """Whether there is a character reference outside of all tokens."""
    at = begin
    for place in range(count + 1):
        stop = tokens[place, START] if place < count else end
        at = find(data, at, stop, _AMPERSAND)
        while at < stop:
            size, _ = _reference(data, at, stop, references, out, to)
            if size > 0:
                return True
            at = find(data, at + 1, stop, _AMPERSAND)
        at = tokens[place, END] if place < count else end
    return False


@kernel
def _lay_out(data, begin, end, tokens, count, traits, references, state, out, to):
    """Write the text of one row to `out` from `to` on; gives where it ends."""
    state[:] = 0
    state[_TO] = state[_FIRST] = state[_FLOOR] = to
    at = begin
    for place in range(count):
        _write(data, at, tokens[place, START], True, references, state, out)
        at = tokens[place, END]
        kind, element = tokens[place, KIND], tokens[place, ELEMENT]
        if kind == LITERAL:
            _write(data, tokens[place, START] + 9, at - 3, False, references, state, out)
        elif kind == CODE:
            _flush(state, out)
            state[_TO] = state[_FLOOR] = _blocks.copy_range(data, tokens[place, START], at, out, state[_TO])
        elif element >= 0:
            _pass(kind, traits[element], state, out)
            if kind == OPENING and traits[element] & PRE and at < end:
                # The line break right after the start tag is for the eye of the author.
                if data[at] == _LINE_FEED:
                    at += 1
                elif data[at] == _CARRIAGE_RETURN and at + 1 < end and data[at + 1] == _LINE_FEED:
                    at += 2
    _write(data, at, end, True, references, state, out)
    if state[_BREAKS] > 0:
        _trim(state, out)
    return state[_TO]


@kernel
def _pass(kind, traits, state, out):
    """What a start or an end tag does to the text after it."""
    opening = kind == OPENING
    if traits & BREAK:
        if state[_PRES] > 0:
            _flush(state, out)
            _put(_LINE_FEED, state, out)
            state[_FLOOR] = state[_TO]
        elif state[_FRESH] == 0:
            state[_BREAKS] = min(2, state[_BREAKS] + 1)
        return
    if traits & (PARAGRAPH | LINE | CELL):
        state[_SHORT] = 1 if opening and traits & SHORT_FLOW else 0
    if traits & (ITEM | ROW | CELL) or (traits & (LIST | TABLE) and not opening):
        state[_FRESH] = 0
    if traits & CELL:
        if opening:
            _begin_cell(state)
        return
    if traits & (ROW | TABLE):
        if traits & ROW and state[_LINES] == 1:
            # What ended in a cell's paragraph is still one line of the table.
            state[_BREAKS] = 1
        state[_CELLS] = state[_TABS] = state[_LINES] = 0
    elif traits & ITEM:
        state[_BULLET] = 0
        if opening:
            state[_LINES] = 0
        elif state[_LINES] == 1:
            state[_BREAKS] = 1
    _due(opening, traits, state)
    if traits & LIST:
        state[_LISTS] = max(0, state[_LISTS] + (1 if opening else -1))
    if not opening and traits & (LIST | TABLE | PRE):
        state[_LINES] = 2
        state[_BULLET] = 0 if traits & LIST else state[_BULLET]
    if opening and traits & ITEM:
        state[_BULLET] = state[_FRESH] = 1
    if traits & PRE:
        state[_PRES] = max(0, state[_PRES] + (1 if opening else -1))
        if not opening and state[_PRES] == 0:
            while state[_TO] > state[_FIRST] and out[state[_TO] - 1] in (_LINE_FEED, _CARRIAGE_RETURN):
                state[_TO] -= 1
            state[_FLOOR] = state[_TO]
    if traits & FLOW:
        state[_DEPTH] = max(0, state[_DEPTH] + (1 if opening else -1))


@kernel
def _due(opening, traits, state):
    """Note the line breaks that a tag makes due, of which a list in a list has fewer."""
    if state[_FRESH]:
        return
    nested = state[_LISTS] > (0 if opening else 1)
    if traits & PARAGRAPH and not (traits & LIST and nested):
        state[_BREAKS] = 2
    elif traits & (PARAGRAPH | LINE):
        state[_BREAKS] = max(1, state[_BREAKS])


@kernel
def _begin_cell(state):
    """Cells of one line stand side by side; what comes after a cell of several lines is a paragraph of its own."""
    if state[_CELLS] > 0 and state[_LINES] == 2:
        state[_BREAKS] = 2
    elif state[_CELLS] > 0:
        state[_BREAKS] = 0 if state[_LINES] == 1 else state[_BREAKS]
        state[_TABS] += 1
    state[_CELLS] += 1
    state[_FRESH] = 1


@kernel
def _write(data, at, end, decoding, references, state, out):
    """Write the text `data[at:end]`, which has no tag in it."""
    while at < end:
        if state[_PRES] > 0 or not (state[_DEPTH] > 0 or state[_SHORT]):
            if state[_PRES] == 0 and state[_BREAKS] > 0 and is_space(data[at]):
                # After a tag that breaks the line, white space only tells whether a blank line follows.
                lines = 0
                while at < end and is_space(data[at]):
                    lines += 1 if data[at] == _LINE_FEED else 0
                    at += 1
                state[_BREAKS] = max(state[_BREAKS], min(2, lines))
                continue
            stop = find(data, at, end, _AMPERSAND) if decoding else end
            if stop > at:
                _flush(state, out)
                state[_TO] = _blocks.copy_range(data, at, stop, out, state[_TO])
                at = stop
        elif is_space(data[at]):
            state[_SPACED] = 1
            at += 1
            continue
        if at < end:
            at = _write_one(data, at, end, decoding, references, state, out)
        if state[_PRES] > 0:
            state[_FLOOR] = state[_TO]


@kernel
def _write_one(data, at, end, decoding, references, state, out):
    """Write what begins at `at` and is no white space: a reference, or text up to the next; gives where it ends."""
    flowing = state[_PRES] == 0 and (state[_DEPTH] > 0 or state[_SHORT])
    if decoding and data[at] == _AMPERSAND:
        # Room for it is left anyway, so it is decoded beyond what may still have to be written before it.
        size, length = _reference(data, at, end, references, out, state[_TO] + 8)
        if size > 0:
            if flowing and length == 1 and is_space(out[state[_TO] + 8]):
                state[_SPACED] = 1
                return at + size
            _flush(state, out)
            _, length = _reference(data, at, end, references, out, state[_TO])
            state[_TO] += length
            return at + size
        _flush(state, out)
        _put(_AMPERSAND, state, out)
        return at + 1
    _flush(state, out)
    to = state[_TO]
    if not flowing or at + _blocks.BLOCK > len(data):
        _put(data[at], state, out)
        return at + 1
    spaces = _blocks.equal(data, at, np.uint8(_BLANK))
    # Exactly what `is_space` says: the first byte here is none of it, so that a run is never empty.
    special = _blocks.within(data, at, np.uint8(_TAB), np.uint8(2)) | _blocks.within(
        data, at, np.uint8(0x0C), np.uint8(2)
    )
    special |= spaces & (spaces << np.uint64(1))
    if decoding:
        special |= _blocks.equal(data, at, np.uint8(_AMPERSAND))
    run = min(np.int64(trailing_zeros(special)), end - at)
    _blocks.copy(data, at, out, to)
    at += run
    if out[to + run - 1] == _BLANK:
        state[_SPACED] = 1
        run -= 1
    state[_TO] = to + run
    return at


@kernel
def _flush(state, out):
    """Write the breaks, tabs, bullets and spaces that are due before text."""
    if state[_BREAKS] > 0:
        _trim(state, out)
        if state[_TO] > state[_FIRST]:
            for _ in range(state[_BREAKS] - _line_feeds(state, out)):
                _put(_LINE_FEED, state, out)
        state[_LINES] = min(2, state[_LINES] + 1)
        state[_SPACED] = 0
    if state[_TABS] > 0:
        for _ in range(state[_TABS]):
            _put(_TAB, state, out)
        state[_SPACED] = 0
    if state[_SPACED] and state[_TO] > state[_FIRST] and not is_space(out[state[_TO] - 1]):
        _put(_BLANK, state, out)
    if state[_BULLET]:
        _put(0x2D, state, out)
        _put(_BLANK, state, out)
    state[_LINES] = max(1, state[_LINES])
    state[_BREAKS] = state[_TABS] = state[_SPACED] = state[_BULLET] = state[_FRESH] = 0


@kernel
def _line_feeds(state, out):
    """How many line feeds, at most as many as are due, end what is written."""
    count = 0
    while count < state[_BREAKS] and state[_TO] - count > state[_FIRST] and out[state[_TO] - 1 - count] == _LINE_FEED:
        count += 1
    return count


@kernel
def _trim(state, out):
    """Take back white space before a break."""
    while state[_TO] > state[_FLOOR] and is_space(out[state[_TO] - 1]):
        state[_TO] -= 1


@kernel
def _put(byte, state, out):
    out[state[_TO]] = byte
    state[_TO] += 1


@kernel
def _reference(data, at, end, references, out, to):
    """Decode the character reference at `at` to `out`: bytes read and bytes written; none read if it is not one."""
    slots, labels, label_ends, values, value_ends, numbers = references
    at += 1
    if at < end and data[at] == _HASH:
        size, code = _number(data, at + 1, end)
        if size == 0:
            return 0, 0
        if 0x80 <= code < 0xA0:
            code = numbers[code - 0x80]
        if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            code = _REPLACEMENT
        return size + 2, _encode(code, out, to)
    state = np.uint64(0x811C9DC5)
    size = 0
    while at + size < end and size <= LONGEST_REFERENCE and data[at + size] != _SEMICOLON:
        byte = data[at + size]
        if not (0x61 <= (byte | 0x20) <= 0x7A or (size > 0 and 0x30 <= byte <= 0x39)):
            return 0, 0
        state = ((state ^ np.uint64(byte)) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
        size += 1
    if at + size >= end or size == 0 or data[at + size] != _SEMICOLON:
        return 0, 0
    slot = np.int64((state ^ (state >> np.uint64(15))) & np.uint64(len(slots) - 1))
    while slots[slot] != 0:
        number = slots[slot] - 1
        if label_ends[number + 1] - label_ends[number] == size:
            same = 0
            while same < size and labels[label_ends[number] + same] == data[at + same]:
                same += 1
            if same == size:
                length = value_ends[number + 1] - value_ends[number]
                for place in range(length):
                    out[to + place] = values[value_ends[number] + place]
                return size + 2, length
        slot = (slot + 1) & (len(slots) - 1)
    return 0, 0


@kernel
def _number(data, at, end):
    """The number of a reference from after `#` on: its length with the `;`, less one for `&`, and its value."""
    begin = at
    hexadecimal = at < end and (data[at] | 0x20) == 0x78
    if hexadecimal:
        at += 1
    first = at
    code = np.int64(0)
    while at < end:
        byte = np.int64(data[at])
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif hexadecimal and 0x61 <= (byte | 0x20) <= 0x66:
            digit = (byte | 0x20) - 0x57
        else:
            break
        code = code * (16 if hexadecimal else 10) + digit
        # Beyond Unicode the number no longer matters.
        if code > 0x10FFFF:
            code = np.int64(0x110000)
        at += 1
    if at == first or at >= end or data[at] != _SEMICOLON:
        return 0, code
    return at + 1 - begin, code


@kernel
def _encode(code, out, to):
    """Write a code point as UTF-8; gives its length."""
    if code < 0x80:
        out[to] = code
        return 1
    if code < 0x800:
        out[to] = 0xC0 | (code >> 6)
        out[to + 1] = 0x80 | (code & 0x3F)
        return 2
    if code < 0x10000:
        out[to] = 0xE0 | (code >> 12)
        out[to + 1] = 0x80 | ((code >> 6) & 0x3F)
        out[to + 2] = 0x80 | (code & 0x3F)
        return 3
    out[to] = 0xF0 | (code >> 18)
    out[to + 1] = 0x80 | ((code >> 12) & 0x3F)
    out[to + 2] = 0x80 | ((code >> 6) & 0x3F)
    out[to + 3] = 0x80 | (code & 0x3F)
    return 4
