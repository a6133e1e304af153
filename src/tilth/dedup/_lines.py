"""Lines, paragraphs and sentences on Arrow buffers: where they are, what they hash to, and texts without some of them.

A text is `gap unit gap unit ... gap`: units are what can go, gaps are the line breaks and blanks between them. A unit's
key is a 128-bit hash of it as it is compared, folded or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.dedup._equal import fold
from tilth.dedup._sentences import abbreviations, next_sentence, roles, skip_blanks_of_line
from tilth.text.bits import address, eight_at, load_eight, mix, trailing_zeros, write_eight
from tilth.text.kernel import kernel
from tilth.text.strings import Bytes, Offsets, Strings
from tilth.text.unicode import tables

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

LINE, PARAGRAPH, SENTENCE = range(3)
UNITS = {"line": LINE, "paragraph": PARAGRAPH, "sentence": SENTENCE}

FREE, STAYS, GOES = range(3)
"""What is said of a unit: nothing, that it is one of the copies that stay, that it is one of those that go."""

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)
_K3 = np.uint64(0xD6E8FEB86659FD93)
_LINE_FEED, _CARRIAGE_RETURN = 0x0A, 0x0D


@dataclass(frozen=True, eq=False)
class Units:
    """The units of some texts.

    Attributes:
        ends: the units of row `i` are those from `ends[i]` to `ends[i + 1]`, shape `(rows + 1,)`.
        starts: where in the data each begins, shape `(units,)`.
        stops: where it ends.
        keys: a hash of each and of the `span - 1` after it, shape `(units, 2)`; zeros where that is too short to count
            or reaches beyond the row.
    """

    ends: Numbers
    starts: Numbers
    stops: Numbers
    keys: Hashes

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.ends.nbytes + self.starts.nbytes + self.stops.nbytes + self.keys.nbytes


def units(text: Strings, unit: str, min_chars: int, span: int, normalize: bool) -> Units:
    """Find and hash the units of each text; a null has none.

    Args:
        text: the texts.
        unit: `line`, `paragraph` or `sentence`.
        min_chars: how many characters `span` units must have together to get a key.
        span: how many neighbours a key stands for.
        normalize: whether units are folded before they are hashed.
    """
    known = tables()
    ends, starts, stops = _find_all(text.data, text.offsets, text.valid, UNITS[unit], roles(), abbreviations())
    keys = np.zeros((len(starts), 2), dtype=np.uint64)
    longest = int((stops - starts).max(initial=0))
    # Two bytes can become three when folded, and eight are written at once.
    scratch = np.empty(longest * 3 // 2 + 16 if normalize else 0, dtype=np.uint8)
    sizes = np.empty(len(starts), dtype=np.int64)
    # No unit has more characters than bytes, so most of the short ones need no hash.
    least, enough = min_chars if span == 1 else 0, 4 * min_chars
    _hash_all(text.data, starts, stops, known.classes, known.lower, normalize, least, enough, scratch, keys, sizes)
    _join_spans(ends, sizes, min_chars, span, keys)
    return Units(ends, starts, stops, keys)


def without(
    text: Strings, found: Units, places: Numbers, said: npt.NDArray[np.uint8], span: int
) -> tuple[Bytes, Offsets, Numbers, Numbers]:
    """The texts without the units that go.

    Returns:
        The bytes and offsets of all rows, and for each row how many units went and the place of the first key for which
        one went, of shape `(rows,)`. A row of which nothing is left is empty.
    """
    rows = len(text)
    out = np.empty(text.nbytes + 8, dtype=np.uint8)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    gone, reason = np.zeros(rows, dtype=np.int64), np.full(rows, -1, dtype=np.int64)
    _write_all(
        text.data,
        text.offsets,
        text.valid,
        found.ends,
        found.starts,
        found.stops,
        places,
        said,
        span,
        out,
        offsets,
        gone,
        reason,
    )
    return out[: max(1, int(offsets[-1]))], offsets, gone, reason


@njit(inline="always")
def _line_end(data, at, end):
    """The place of the next line break from `at` on, or `end`."""
    safe = min(len(data), end) - 8
    while at <= safe:
        eight = load_eight(data, at) ^ (_ONES * np.uint64(_LINE_FEED))
        found = (eight - _ONES) & ~eight & _HIGH
        if found:
            return at + np.int64(trailing_zeros(found) >> np.uint64(3))
        at += 8
    while at < end and data[at] != _LINE_FEED:
        at += 1
    return at


@njit(inline="always")
def _before_break(data, start, stop):
    """`stop`, a place of a line break, or the one before it where that is a carriage return."""
    return stop - 1 if stop > start and data[stop - 1] == _CARRIAGE_RETURN else stop


@kernel
def _find_all(data, offsets, valid, unit, role_of, short):
    rows = len(offsets) - 1
    ends = np.zeros(rows + 1, dtype=np.int64)
    room = 64 + (offsets[rows] - offsets[0]) // 32
    starts, stops = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    count = 0
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1] if valid[row] else offsets[row]
        at, heading = begin, False
        while at < end:
            if unit == SENTENCE:
                start, stop, heading = next_sentence(data, begin, at, end, heading, role_of, short)
                if start < 0:
                    break
                at = stop
            else:
                start, content = at, at
                if data[at] <= 0x20 or data[at] >= 0x80:
                    content = skip_blanks_of_line(data, at, end, role_of)
                if content >= end:
                    break
                stop = _line_end(data, content, end)
                at = stop + 1
                if stop == content:
                    continue
                if unit == PARAGRAPH:
                    while at < end:
                        content = at
                        if data[at] <= 0x20 or data[at] >= 0x80:
                            content = skip_blanks_of_line(data, at, end, role_of)
                        if content >= end or data[content] == _LINE_FEED:
                            at = content + 1
                            break
                        stop = _line_end(data, content, end)
                        at = stop + 1
                if stop < end:
                    stop = _before_break(data, start, stop)
            if count == room:
                room *= 2
                starts, stops = _longer(starts, room), _longer(stops, room)
            starts[count] = start
            stops[count] = stop
            count += 1
        ends[row + 1] = count
    return ends, starts[:count].copy(), stops[:count].copy()


@kernel
def _longer(numbers, room):
    longer = np.empty(room, dtype=np.int64)
    for at in range(len(numbers)):
        longer[at] = numbers[at]
    return longer


@kernel
def _hash_all(data, starts, stops, classes, lower, normalize, least, enough, scratch, keys, sizes):
    """Write the hash of each unit of `least` bytes or more, and how many characters it has.

    From `enough` bytes on, which are enough characters however long each is, it is how many bytes.
    """
    for unit in range(len(starts)):
        start, stop = starts[unit], stops[unit]
        if normalize:
            while start < stop and (data[start] == 0x20 or 0x09 <= data[start] < 0x0E):
                start += 1
            while start < stop and (data[stop - 1] == 0x20 or 0x09 <= data[stop - 1] < 0x0E):
                stop -= 1
        if stop - start < least:
            sizes[unit] = stop - start
            continue
        if normalize:
            plain, one, two = _hash_plain(data, start, stop)
            if plain:
                sizes[unit] = stop - start
            else:
                size = fold(data, start, stop, classes, lower, scratch)
                one, two = _hash(scratch, 0, size)
                sizes[unit] = size if size >= enough else _characters(scratch, 0, size)
        else:
            one, two = _hash(data, start, stop)
            sizes[unit] = stop - start if stop - start >= enough else _characters(data, start, stop)
        # Zero says that there is no key.
        keys[unit, 0] = one if one != 0 else np.uint64(1)
        keys[unit, 1] = two


@njit(inline="always")
def _absorb(one, two, eight):
    one = (one ^ eight) * _K1
    two = (two + eight) * _K3
    return one ^ (one >> np.uint64(32)), two ^ (two >> np.uint64(29))


@njit(inline="always")
def _finish(one, two, length):
    return mix(one ^ np.uint64(length)), mix(two + np.uint64(length) * _K1)


@njit(inline="always")
def _some(data, at, end):
    """The up to seven bytes of `data[at:end]`, as `load_eight` gives them, with zeros after them."""
    if at + 8 <= len(data):
        return load_eight(data, at) & ((np.uint64(1) << np.uint64(8 * (end - at))) - np.uint64(1))
    eight = np.uint64(0)
    for place in range(end - at):
        eight |= np.uint64(data[at + place]) << np.uint64(8 * place)
    return eight


@kernel
def _hash_plain(data, start, end):
    """Whether folding `data[start:end]` does no more than lower ASCII letters, and if so the hash of it folded."""
    one, two = _K3, _K2
    at, blank = start, np.uint64(0)
    while at < end:
        rest = end - at
        eight = load_eight(data, at) if rest >= 8 else _some(data, at, end)
        # The bytes beyond the end are no concern.
        asked = _HIGH if rest >= 8 else (np.uint64(1) << np.uint64(8 * rest)) - np.uint64(1)
        spaces = ~((eight ^ (_ONES * np.uint64(0x20))) + _ONES * np.uint64(0x7F)) & _HIGH
        control = ~(eight + _ONES * np.uint64(0x60)) & _HIGH
        odd = (eight & _HIGH) | control | (spaces & ((spaces << np.uint64(8)) | blank))
        if odd & asked:
            return False, one, two
        blank = spaces >> np.uint64(56)
        upper = (eight + _ONES * np.uint64(0x80 - 0x41)) & ~(eight + _ONES * np.uint64(0x80 - 0x5B)) & _HIGH
        one, two = _absorb(one, two, eight | (upper >> np.uint64(2)))
        at += 8
    one, two = _finish(one, two, end - start)
    return True, one, two


@kernel
def _hash(data, start, end):
    one, two = _K3, _K2
    at = start
    while at + 8 <= end:
        one, two = _absorb(one, two, load_eight(data, at))
        at += 8
    if at < end:
        one, two = _absorb(one, two, _some(data, at, end))
    return _finish(one, two, end - start)


@kernel
def _characters(data, start, end):
    """How many characters begin in `data[start:end]`."""
    count = 0
    for at in range(start, end):
        count += (data[at] & 0xC0) != 0x80
    return count


@kernel
def _join_spans(ends, sizes, min_chars, span, keys):
    """Make each unit's key that of it and its neighbours, and zero where they do not count."""
    for row in range(len(ends) - 1):
        for unit in range(ends[row], ends[row + 1]):
            if unit + span > ends[row + 1]:
                keys[unit, 0] = np.uint64(0)
                continue
            size = np.int64(0)
            for other in range(unit, unit + span):
                size += sizes[other]
            if size < min_chars:
                keys[unit, 0] = np.uint64(0)
                continue
            if span > 1:
                # Units after this one have their own keys still.
                one, two = _K3, _K2
                for other in range(unit, unit + span):
                    one, _ = _absorb(one, two, keys[other, 0])
                    _, two = _absorb(one, two, keys[other, 1])
                one, two = _finish(one, two, span)
                keys[unit, 0] = one if one != 0 else np.uint64(1)
                keys[unit, 1] = two


@kernel
def _write_all(data, offsets, valid, ends, starts, stops, places, said, span, out, new_offsets, gone, reason):
    to = np.int64(0)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1] if valid[row] else offsets[row]
        goes_until, stays_until, place = np.int64(-1), np.int64(-1), np.int64(-1)
        # `run` begins what is kept and not written yet. After a unit that goes it is a gap that waits, until it is
        # known what comes next.
        run, written = begin, begin
        gap_start, gap_stop, strength = begin, begin, np.int64(-1)
        kept = 0
        for unit in range(ends[row], ends[row + 1]):
            if said[unit] == GOES:
                goes_until, place = unit + span, places[unit]
            elif said[unit] == STAYS:
                stays_until = unit + span
            if goes_until > unit >= stays_until:
                if gone[row] == 0:
                    reason[row] = place
                gone[row] += 1
                if strength < 0:
                    to = _copy(data, run, written, out, to)
                    gap_start, gap_stop = written, starts[unit]
                    strength = _strength(data, gap_start, gap_stop)
                following = starts[unit + 1] if unit + 1 < ends[row + 1] else end
                other = _strength(data, stops[unit], following)
                if other > strength and kept > 0:
                    gap_start, gap_stop, strength = stops[unit], following, other
            else:
                if strength >= 0:
                    to = _copy(data, gap_start, gap_stop, out, to)
                    run, strength = starts[unit], np.int64(-1)
                kept += 1
                written = stops[unit]
        if gone[row] > 0 and kept == 0:
            to = new_offsets[row]
        else:
            # A text ends as it did.
            to = _copy(data, run if strength < 0 else stops[ends[row + 1] - 1], end, out, to)
        new_offsets[row + 1] = to


@kernel
def _copy(data, start, stop, out, to):
    """Copy `data[start:stop]` to `out` from `to` on, and up to seven bytes more; gives its end there."""
    source, target = address(data) + start, address(out) + to
    size = stop - start
    safe = min(size, len(data) - start - 7)
    at = 0
    while at < safe:
        write_eight(target + at, 0, eight_at(source, at))
        at += 8
    while at < size:
        out[to + at] = data[start + at]
        at += 1
    return to + size


@kernel
def _strength(data, start, stop):
    """How far a gap parts: by its line breaks, then by whether there is anything."""
    breaks = 0
    for at in range(start, stop):
        breaks += data[at] == _LINE_FEED
    return np.int64(2 * breaks + (stop > start))
