"""Cutting spans out of texts, so that no character is split and, where words were cut, what remains reads well."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from tilth.dedup._pieces import Numbers
from tilth.text.kernel import kernel
from tilth.text.strings import Mask, Strings, build
from tilth.text.unicode import EXTEND, ROLE, SPACE, SPACELESS, WORD, tables
from tilth.text.words import decode

_LINE_BREAK = 0x0A


def inwards(text: Strings, rows: Numbers, begins: Numbers, ends: Numbers) -> None:
    """Move the ends of spans, counted in bytes from the beginning of their rows, into them, off split characters."""
    _inwards(text.data, text.offsets, rows, begins, ends)


def tidied(text: Strings, rows: Numbers, begins: Numbers, ends: Numbers) -> Mask:
    """Widen spans of words by what belongs to them.

    Punctuation that follows the last word goes too, and what comes before the first word unless a word touches it. Of
    the white space on both sides the one with more line breaks stays. At the ends of a text nothing needs to be kept
    apart: its beginning keeps the indentation of the line that it begins with now.

    Returns:
        For each span whether a space must stand in its place, because two words would become one.
    """
    gaps = np.zeros(len(rows), dtype=np.bool_)
    _tidy(text.data, text.offsets, tables().classes, rows, begins, ends, gaps)
    return gaps


def blank(text: Strings, rows: Numbers, begins: Numbers, ends: Numbers) -> Mask:
    """For each span whether its row holds nothing but white space outside of its spans, which are ascending."""
    found = np.zeros(len(rows), dtype=np.bool_)
    _blank(text.data, text.offsets, tables().classes, rows, begins, ends, found)
    return found


def cut(text: Strings, kept: Mask, rows: Numbers, begins: Numbers, ends: Numbers, gaps: Mask) -> pa.Array:
    """The rows that are kept, none of them null, without the spans."""
    data, offsets = _cut(text.data, text.offsets, kept, rows, begins, ends, gaps)
    return build(data, offsets, np.ones(len(offsets) - 1, dtype=np.bool_), text.type)


@kernel
def _inwards(data, offsets, rows, begins, ends):
    for span in range(len(rows)):
        row_begin, row_end = offsets[rows[span]], offsets[rows[span] + 1]
        for side in range(2):
            place = row_begin + (begins[span] if side == 0 else ends[span])
            start = place
            while start > row_begin and place - start < 3 and start < row_end and (data[start] & 0xC0) == 0x80:
                start -= 1
            if start < place < row_end:
                _, size = decode(data, start, row_end)
                if start + size > place:
                    if side == 0:
                        begins[span] = start + size - row_begin
                    else:
                        ends[span] = start - row_begin
        ends[span] = max(begins[span], ends[span])


@njit(inline="always")
def _before(data, begin, at):
    """Where the character begins that ends at `at`."""
    start = at - 1
    while start > begin and at - start < 4 and (data[start] & 0xC0) == 0x80:
        start -= 1
    _, size = decode(data, start, at)
    return start if start + size == at else at - 1


@kernel
def _tidy(data, offsets, classes, rows, begins, ends, gaps):
    for span in range(len(rows)):
        row_begin, row_end = offsets[rows[span]], offsets[rows[span] + 1]
        begin, end = row_begin + begins[span], row_begin + ends[span]
        while end < row_end:
            code, size = decode(data, end, row_end)
            role = classes[code] & ROLE
            if role in (SPACE, WORD, SPACELESS):
                break
            end += size
        at = begin
        while at > row_begin:
            start = _before(data, row_begin, at)
            role = classes[decode(data, start, at)[0]] & ROLE
            if role in (WORD, SPACELESS):
                at = begin
                break
            if role == SPACE:
                break
            at = start
        begin = at
        before, breaks_before = begin, 0
        while before > row_begin:
            start = _before(data, row_begin, before)
            code, _ = decode(data, start, before)
            if classes[code] & ROLE != SPACE:
                break
            breaks_before += 1 if code == _LINE_BREAK else 0
            before = start
        after, breaks_after, line = end, 0, end
        while after < row_end:
            code, size = decode(data, after, row_end)
            if classes[code] & ROLE != SPACE:
                break
            after += size
            if code == _LINE_BREAK:
                breaks_after += 1
                line = after
        if after == row_end:
            begin = before
        elif before == row_begin:
            begin, end = row_begin, line if breaks_after > 0 else after
        elif before < begin and after > end:
            if breaks_after >= breaks_before:
                begin = before
            else:
                end = after
        begins[span], ends[span] = begin - row_begin, end - row_begin
        gaps[span] = _would_join(data, row_begin, begin, end, row_end, classes)


@njit(inline="always")
def _would_join(data, row_begin, begin, end, row_end, classes):
    """Whether a word of a script with spaces ends at `begin` and another begins at `end`."""
    if begin == row_begin or end == row_end or classes[decode(data, end, row_end)[0]] & ROLE != WORD:
        return False
    at = begin
    while at > row_begin:
        start = _before(data, row_begin, at)
        role = classes[decode(data, start, at)[0]] & ROLE
        if role != EXTEND:
            return role == WORD
        at = start
    return False


@kernel
def _blank(data, offsets, classes, rows, begins, ends, found):
    span = 0
    while span < len(rows):
        row_begin, row_end = offsets[rows[span]], offsets[rows[span] + 1]
        first = span
        at, empty = row_begin, True
        while True:
            inside = span < len(rows) and rows[span] == rows[first]
            stop = row_begin + begins[span] if inside else row_end
            while empty and at < stop:
                code, size = decode(data, at, row_end)
                empty = classes[code] & ROLE == SPACE
                at += size
            if not inside:
                break
            at = row_begin + ends[span]
            span += 1
        found[first:span] = empty


@kernel
def _cut(data, offsets, kept, rows, begins, ends, gaps):
    size = np.int64(0)
    count = 0
    for row in range(len(kept)):
        if kept[row]:
            size += offsets[row + 1] - offsets[row]
            count += 1
    out = np.empty(size, dtype=np.uint8)
    bounds = np.zeros(count + 1, dtype=np.int64)
    span, filled, to = 0, 0, np.int64(0)
    for row in range(len(kept)):
        at = offsets[row]
        while span < len(rows) and rows[span] == row:
            if kept[row]:
                stop = offsets[row] + begins[span]
                out[to : to + stop - at] = data[at:stop]
                to += stop - at
                if gaps[span]:
                    out[to] = 0x20
                    to += 1
                at = offsets[row] + ends[span]
            span += 1
        if kept[row]:
            stop = offsets[row + 1]
            out[to : to + stop - at] = data[at:stop]
            to += stop - at
            filled += 1
            bounds[filled] = to
    return out[:to].copy(), bounds
