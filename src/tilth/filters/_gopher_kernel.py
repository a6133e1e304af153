"""What Gopher's rules count, for each row in one pass over its bytes.

Where text is ASCII, 64 bytes are classed at once into bit masks, and tokens, letters and symbols are counted by bit
arithmetic; only words as long as a stop word are looked at one by one. What is not ASCII, with the words that touch it,
is read character by character. A block ends before a word that may go on, so no word is ever seen in halves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tilth.text.kernel import kernel
from tilth.text.strings import Strings, from_python
from tilth.text.unicode import EXTEND, LETTER, ROLE, SPACE, SPACELESS, SYMBOL, WORD, tables
from tilth.text.words import decode, hash_word, leading_zeros, ones, trailing_zeros

# The columns of what `count` gives.
WORDS = 0
WORD_CHARACTERS = 1
TOKENS = 2
ALPHABETIC_WORDS = 3
HASHES = 4
ELLIPSES = 5
LINES = 6
BULLET_LINES = 7
ELLIPSIS_LINES = 8
STOP_WORDS = 9
_COLUMNS = 10

_ALL = ~np.uint64(0)
_ONE = np.uint64(1)
_MASKS = 7
_LINE_FEED, _CARRIAGE_RETURN, _UNIT_SEPARATOR, _DOT, _DASH = 0x0A, 0x0D, 0x1F, 0x2E, 0x2D
_ELLIPSIS, _BULLET = 0x2026, 0x2022
_NEXT_LINE, _LINE_SEPARATOR, _PARAGRAPH_SEPARATOR = 0x85, 0x2028, 0x2029


def count(text: Strings, stop_words: Sequence[str]) -> npt.NDArray[np.int64]:
    """The counts named above for each row, shape `(rows, 10)`; zeros where there is no text.

    Args:
        text: the rows.
        stop_words: single words of at most 63 characters, in any case; how many different ones a row has is counted.
    """
    known = tables()
    table, lengths, different = _stop_table(stop_words)
    counts: npt.NDArray[np.int64] = count_rows(
        text.data, text.offsets, text.valid, known.classes, known.lower, table, lengths, different
    )
    return counts


def _stop_table(stop_words: Sequence[str]) -> tuple[npt.NDArray[np.uint64], np.uint64, int]:
    """An open hash table of the words' hashes (0 for a free slot), a bit for each length, and how many differ."""
    known = tables()
    hashes: set[int] = set()
    lengths = 0
    for word in stop_words:
        text = from_python([word])
        hashes.add(int(hash_word(text.data, text.offsets[0], text.offsets[1], known.lower)))
        lengths |= 1 << len(word)
    table = np.zeros(1 << max(4, (4 * len(hashes)).bit_length()), dtype=np.uint64)
    for value in sorted(hashes):
        slot = value & (len(table) - 1)
        while table[slot]:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = value
    return table, np.uint64(lengths), len(hashes)


@kernel
def count_rows(data, offsets, valid, classes, lower, table, lengths, different):
    """`count` on flat buffers."""
    rows = len(offsets) - 1
    counts = np.zeros((rows, _COLUMNS), dtype=np.int64)
    seen = np.full(len(table), -1, dtype=np.int64)
    last = np.zeros(64, dtype=np.uint8)
    for row in range(rows):
        if valid[row]:
            _count_row(
                data,
                offsets[row],
                offsets[row + 1],
                classes,
                lower,
                table,
                lengths,
                different,
                seen,
                row,
                last,
                counts[row],
            )
    return counts


@kernel
def _count_row(data, begin, end, classes, lower, table, lengths, different, seen, row, last, tally):
    at, line = begin, begin
    # What the byte before `at` leaves open: a run of symbols, and so many dots.
    in_symbol, dots = np.uint64(0), np.int64(0)
    while at < end:
        left = end - at
        if at + 64 <= len(data):
            word, letter, beyond, visible, breaks, hashes, dot = _masks(data, at)
        else:
            for place in range(len(data) - at):
                last[place] = data[at + place]
            word, letter, beyond, visible, breaks, hashes, dot = _masks(last, 0)
        size = min(left, 64, np.int64(trailing_zeros(beyond)))
        stopped = size < min(left, 64)
        if size > 0 and (size < left or size == 64):
            size -= np.int64(leading_zeros(~(word << np.uint64(64 - size))))
        if size > 0:
            here = _ALL >> np.uint64(64 - size)
            word &= here
            symbol = visible & ~word & here
            begun = ones(symbol & ~((symbol << _ONE) | in_symbol))
            in_symbol = (symbol >> np.uint64(size - 1)) & _ONE
            starts = word & ~(word << _ONE)
            in_block = ones(starts)
            tally[WORDS] += in_block
            tally[TOKENS] += in_block + begun
            tally[WORD_CHARACTERS] += ones(word)
            # Adding a word's first bit to its bits that are no letters carries out of the word if it has no letter.
            other = word & ~letter
            carried = (other + (starts & other)) & ~other
            tally[ALPHABETIC_WORDS] += in_block - ones(carried & ~word)
            tally[HASHES] += ones(hashes & here)
            dots = _dots(dot & here, size, dots, tally)
            if tally[STOP_WORDS] < different:
                _stop_words(data, at, word, starts, lower, table, lengths, seen, row, tally)
            breaks &= here
            while breaks != 0:
                place = at + np.int64(trailing_zeros(breaks))
                breaks &= breaks - _ONE
                if not (data[place] == _LINE_FEED and place > begin and data[place - 1] == _CARRIAGE_RETURN):
                    _end_line(data, line, place, classes, tally)
                line = place + 1
            at += size
        if (stopped or size == 0) and at < end:
            at, line, in_symbol = _run(data, at, end, line, in_symbol, classes, lower, table, lengths, seen, row, tally)
            dots = np.int64(0)
    if line < end:
        _end_line(data, line, end, classes, tally)


@kernel
def _dots(dot, size, before, tally):
    """Count ellipses in runs of dots, three dots each; gives how many dots end the block."""
    open_dots = np.int64(0)
    while dot != 0:
        first = np.int64(trailing_zeros(dot))
        length = np.int64(trailing_zeros(~(dot >> np.uint64(first))))
        dot &= ~((_ALL >> np.uint64(64 - length)) << np.uint64(first))
        known = before if first == 0 else np.int64(0)
        tally[ELLIPSES] += (known + length) // 3 - known // 3
        if first + length == size:
            open_dots = known + length
    return open_dots


@kernel
def _stop_words(data, at, word, starts, lower, table, lengths, seen, row, tally):
    """Look up those words of a block that are as long as a stop word."""
    wanted, going, length = np.uint64(0), starts, np.uint64(1)
    while going != 0 and lengths >> length != 0:
        following = going & (word >> length)
        if (lengths >> length) & _ONE:
            wanted |= going & ~following
        going = following
        length += _ONE
    while wanted != 0:
        first = np.int64(trailing_zeros(wanted))
        wanted &= wanted - _ONE
        length_here = np.int64(trailing_zeros(~(word >> np.uint64(first))))
        tally[STOP_WORDS] += _meet(hash_word(data, at + first, at + first + length_here, lower), table, seen, row)


@kernel
def _meet(found, table, seen, row):
    """1 if this hash is in the table and was not met in this row before, else 0."""
    slot = np.int64(found & np.uint64(len(table) - 1))
    while table[slot] != 0:
        if table[slot] == found:
            fresh = seen[slot] != row
            seen[slot] = row
            return 1 if fresh else 0
        slot = (slot + 1) & (len(table) - 1)
    return 0


@kernel
def _run(data, at, end, line, in_symbol, classes, lower, table, lengths, seen, row, tally):
    """Read characters from `at` on until ASCII comes that is in no word of before.

    Returns where that is, where its line begins, and whether a run of symbols is open.
    """
    begin = start = at
    state = SYMBOL if in_symbol else SPACE
    words, symbols, characters, alphabetic, ellipses = 0, 0, 0, 0, 0
    before, has_letter = 0, False
    while at < end and (data[at] >= 0x80 or state == WORD or at == begin):
        code, size = decode(data, at, end)
        kind = classes[code]
        role = kind & ROLE
        if code < 0x80 and role != WORD:
            break
        if role == EXTEND or (role == WORD and state == WORD):
            if state in (WORD, SPACELESS):
                characters += 1
                if not has_letter and kind & LETTER:
                    has_letter = True
                    alphabetic += 1
            at += size
            continue
        # Folding keeps the number of characters, so a word of another length is no stop word.
        if state in (WORD, SPACELESS) and _as_long(characters - before, lengths):
            tally[STOP_WORDS] += _meet(hash_word(data, start, at, lower), table, seen, row)
        if role in (WORD, SPACELESS):
            start, before = at, characters
            has_letter = (kind & LETTER) != 0
            words += 1
            characters += 1
            alphabetic += 1 if has_letter else 0
        elif role == SYMBOL:
            symbols += 0 if state == SYMBOL else 1
            ellipses += 1 if code == _ELLIPSIS else 0
        elif code in (_NEXT_LINE, _LINE_SEPARATOR, _PARAGRAPH_SEPARATOR):
            _end_line(data, line, at, classes, tally)
            line = at + size
        state = role
        at += size
    if state in (WORD, SPACELESS) and _as_long(characters - before, lengths):
        tally[STOP_WORDS] += _meet(hash_word(data, start, at, lower), table, seen, row)
    tally[WORDS] += words
    tally[TOKENS] += words + symbols
    tally[WORD_CHARACTERS] += characters
    tally[ALPHABETIC_WORDS] += alphabetic
    tally[ELLIPSES] += ellipses
    return at, line, _ONE if state == SYMBOL else np.uint64(0)


@kernel
def _as_long(characters, lengths):
    return characters < 64 and (lengths >> np.uint64(characters)) & _ONE != 0


@kernel
def _end_line(data, start, end, classes, tally):
    """Count the line `data[start:end]`: what it starts and ends with, blanks aside."""
    tally[LINES] += 1
    while start < end:
        code, size = decode(data, start, end)
        if not _is_blank(code, classes):
            tally[BULLET_LINES] += 1 if code in (_DASH, _BULLET) else 0
            break
        start += size
    while end > start:
        back = end - 1
        # A character begins at most three bytes back here: no blank and no ellipsis is longer.
        while back > start and end - back < 3 and (data[back] & 0xC0) == 0x80:
            back -= 1
        code, size = decode(data, back, end)
        if back + size == end and _is_blank(code, classes):
            end = back
            continue
        dots = end - start >= 3 and data[end - 1] == _DOT and data[end - 2] == _DOT and data[end - 3] == _DOT
        tally[ELLIPSIS_LINES] += 1 if dots or (code == _ELLIPSIS and back + size == end) else 0
        break


@kernel
def _is_blank(code, classes):
    """White space, and the four separators of ASCII, which Python strips too."""
    return (classes[code] & ROLE) == SPACE or 0x1C <= code <= _UNIT_SEPARATOR


@intrinsic  # type: ignore[misc]
def _masks(_context, data, at):
    """For the 64 bytes of `data` from `at` on, a bit each, seven times.

    In a word; a letter; not ASCII; visible ASCII; a line break as Python knows it; `#`; `.`. Written as one vector
    operation each, which LLVM turns into what the processor has.
    """

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), 64)
        pointer = builder.gep(array.data, [arguments[1]])
        values = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=1)

        def all_of(value):
            return ir.Constant(vector, [value] * 64)

        def within(bytes_, low, count):
            return builder.icmp_unsigned("<", builder.sub(bytes_, all_of(low)), all_of(count))

        def equal(value):
            return builder.icmp_unsigned("==", values, all_of(value))

        letter = within(builder.or_(values, all_of(0x20)), 0x61, 26)
        word = builder.or_(letter, builder.or_(within(values, 0x30, 10), equal(0x5F)))
        beyond = builder.icmp_unsigned(">=", values, all_of(0x80))
        visible = within(values, 0x21, 0x7F - 0x21)
        breaks = builder.or_(within(values, _LINE_FEED, 4), within(values, 0x1C, 3))
        found = (word, letter, beyond, visible, breaks, equal(0x23), equal(_DOT))
        return cgutils.pack_array(builder, [builder.bitcast(bits, ir.IntType(64)) for bits in found])

    return types.UniTuple(types.uint64, _MASKS)(data, types.int64), generate
