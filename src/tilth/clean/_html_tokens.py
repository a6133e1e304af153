"""Where the tags are in a text, and which of them are tags.

Text often holds `<` that begins no tag: comparisons, generics, placeholders. So a tag needs the name of an element and
what reads as its attributes, and a bare start tag such as `<b>` or `<map>` needs company: see `settle`. Code as
Markdown marks it, in a text that does not begin with a tag, holds none. Every scan is bounded, so a text takes time in
proportion to its length whatever it holds.
"""

from __future__ import annotations

import numpy as np

from tilth.clean import _blocks
from tilth.clean._html_names import ALONE, HIDDEN, LONGEST_NAME, NESTED, OPTIONAL, PARAGRAPH
from tilth.text.kernel import kernel
from tilth.text.words import trailing_zeros

# The columns of a token and its kinds. BARE is a start tag without any attribute that has a value.
START, END, ELEMENT, KIND = range(4)
OPENING, CLOSING, NOTHING, LITERAL, BARE, CODE = range(6)

_LINE_FEED, _TICK, _LONGEST_SPAN, _SHORTEST_FENCE = 0x0A, 0x60, 8, 3
_LESS, _GREATER, _SLASH, _EQUALS, _BANG, _MARK = 0x3C, 0x3E, 0x2F, 0x3D, 0x21, 0x3F
_DOUBLE, _SINGLE, _DASH, _BRACKET, _CLOSE_BRACKET = 0x22, 0x27, 0x2D, 0x5B, 0x5D
_AMPERSAND, _BAR, _PLUS, _SEMICOLON, _TILDE, _CARET = 0x26, 0x7C, 0x2B, 0x3B, 0x7E, 0x5E

# What an attempt to read attributes came to, beside the end of the tag.
_VALUED, _CLOSED = 1, 2
_REFUSED, _RAN_OUT = -1, -2

_PATIENCE = 4096


@kernel
def tokenize(data, begin, end, keys, elements, traits, tokens, missing):
    """The tags of `data[begin:end]` in order: how many, and the tokens, shape `(room, 4)`, in more room if needed.

    Comments, declarations, hidden elements with all they hold, and pieces of code are one token each. `missing` is
    scratch, a flag for each element.
    """
    missing[:] = False
    count = 0
    quotes, no_comment, no_section = True, False, False
    wasted = 0
    at = begin
    while at < end and is_space(data[at]):
        at += 1
    tick = _LESS if at < end and data[at] == _LESS else _TICK
    while True:
        at = find_either(data, at, end, _LESS, tick)
        if at + 2 >= end:
            return count, tokens
        element, kind, stop = np.int64(-1), NOTHING, np.int64(-1)
        second = data[at + 1]
        if data[at] == _TICK:
            kind = CODE
            stop, after = _code(data, begin, at, end)
            if stop < 0:
                at = after
                continue
        elif second == _SLASH:
            element, after = _name(data, at + 2, end, keys, elements)
            if element >= 0:
                kind = CLOSING
                stop = _until(data, after, end)
        elif second == _BANG:
            if data[at + 2] == _DASH and at + 3 < end and data[at + 3] == _DASH:
                if not no_comment:
                    stop = _closing(data, at + 4, end, _DASH)
                    no_comment = stop < 0
            elif data[at + 2] == _BRACKET and _is(data, at + 2, end, b"[cdata["):
                if not no_section:
                    kind = LITERAL
                    stop = _closing(data, at + 11, end, _CLOSE_BRACKET)
                    no_section = stop < 0
            elif (
                _is(data, at + 2, end, b"doctype")
                and at + 9 < end
                and (is_space(data[at + 9]) or data[at + 9] == _GREATER)
            ):
                stop = _until(data, at + 9, end)
        elif second == _MARK:
            if _is(data, at + 2, end, b"xml"):
                stop = _until(data, at + 5, end)
        else:
            element, after = _name(data, at + 1, end, keys, elements)
            if element >= 0:
                stop, shape, reached = _attributes(data, after, end, quotes)
                if stop < 0:
                    wasted += reached - at
                    # A quotation mark that is never closed must not swallow the text, nor cost more than reading it.
                    if quotes and (stop == _RAN_OUT or wasted > end - begin + _PATIENCE):
                        quotes = False
                        continue
                else:
                    kind = OPENING if shape != 0 or traits[element] & ALONE else BARE
                    if traits[element] & HIDDEN and not shape & _CLOSED and not missing[element]:
                        close = _end_of_hidden(data, stop, end, element, traits, keys, elements)
                        missing[element] = close < 0
                        if close >= 0:
                            kind, stop = NOTHING, close
        if stop < 0:
            at += 1
            continue
        if count == len(tokens):
            more = np.empty((2 * count, 4), dtype=np.int64)
            more[:count] = tokens
            tokens = more
        tokens[count, START], tokens[count, END] = at, stop
        tokens[count, ELEMENT], tokens[count, KIND] = element, kind
        count += 1
        at = stop


@kernel
def settle(data, begin, tokens, count, traits, ended):
    """Leave out the bare start tags that are text; gives how many tokens are left, and how many of them are no code.

    A bare start tag counts if an end tag of its element is in the text. One that shapes the text, as `<p>` does and
    `<b>` does not, counts too if there is any other mark-up, or if the text begins with such a tag. `ended` is scratch,
    a flag for each element.
    """
    ended[:] = False
    markup = False
    for place in range(count):
        kind = tokens[place, KIND]
        if kind == CLOSING:
            ended[tokens[place, ELEMENT]] = True
        if kind not in (BARE, CODE):
            markup = True
    if not markup and count > 0 and tokens[0, KIND] == BARE and traits[tokens[0, ELEMENT]] & (OPTIONAL | PARAGRAPH):
        first = begin
        while is_space(data[first]):
            first += 1
        markup = first == tokens[0, START]
    left, tags = 0, 0
    for place in range(count):
        kind, element = tokens[place, KIND], tokens[place, ELEMENT]
        if kind == BARE:
            if not (ended[element] or (markup and traits[element] != 0)):
                continue
            kind = OPENING
        tokens[left] = tokens[place]
        tokens[left, KIND] = kind
        left += 1
        tags += 0 if kind == CODE else 1
    return left, tags


@kernel
def find(data, at, end, byte):
    """Where `byte` is next in `data[at:end]`, or `end`."""
    return find_either(data, at, end, byte, byte)


@kernel
def find_either(data, at, end, byte, other):
    """Where one of two bytes is next in `data[at:end]`, or `end`."""
    while at < end and at + _blocks.BLOCK <= len(data):
        found = _blocks.equal(data, at, np.uint8(byte)) | _blocks.equal(data, at, np.uint8(other))
        if found != 0:
            return min(at + np.int64(trailing_zeros(found)), end)
        at += _blocks.BLOCK
    while at < end and data[at] != byte and data[at] != other:
        at += 1
    return min(at, end)


@kernel
def is_space(byte):
    """Whether HTML calls it white space: space, tab, line feed, form feed, carriage return."""
    return byte == 0x20 or byte == 0x09 or byte == 0x0A or byte == 0x0C or byte == 0x0D


@kernel
def lower(byte):
    """An ASCII letter in lower case; anything else as it is."""
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@kernel
def _code(data, begin, at, end):
    """Where the code ends that the backticks at `at` begin, or -1; and where the backticks end."""
    size = _ticks(data, at, end)
    after = at + size
    first = at
    while first > begin and data[first - 1] == 0x20:
        first -= 1
    line = find_either(data, after, end, _TICK, _LINE_FEED)
    opens = line >= end or data[line] == _LINE_FEED
    if size >= _SHORTEST_FENCE and opens and (first == begin or data[first - 1] == _LINE_FEED):
        while True:
            # A fence that is never closed holds the rest of the text.
            at = find(data, at, end, _LINE_FEED) + 1
            if at >= end:
                return end, after
            while at < end and data[at] == 0x20:
                at += 1
            closing = _ticks(data, at, end)
            if closing >= size:
                return at + closing, after
    if size > _LONGEST_SPAN:
        return np.int64(-1), after
    at = line
    while True:
        at = find_either(data, at, end, _TICK, _LINE_FEED)
        if at >= end:
            return np.int64(-1), after
        if data[at] == _LINE_FEED:
            at += 1
            if at < end and data[at] == _LINE_FEED:
                return np.int64(-1), after
            continue
        closing = _ticks(data, at, end)
        at += closing
        if closing == size:
            return at, after


@kernel
def _ticks(data, at, end):
    """How many backticks are at `at`."""
    size = 0
    while at + size < end and data[at + size] == _TICK:
        size += 1
    return size


@kernel
def _name(data, at, end, keys, elements):
    """The element whose name is at `at`, whole, and where the name ends; -1 if there is none."""
    low, high = np.uint64(0), np.uint64(0)
    state = np.uint64(0x811C9DC5)
    size = 0
    while at < end and size < LONGEST_NAME:
        byte = lower(data[at])
        if not (0x61 <= byte <= 0x7A or (size > 0 and 0x30 <= byte <= 0x39)):
            break
        if size < 8:
            low |= np.uint64(byte) << np.uint64(8 * size)
        else:
            high |= np.uint64(byte) << np.uint64(8 * (size - 8))
        state = ((state ^ np.uint64(byte)) * np.uint64(0x01000193)) & np.uint64(0xFFFFFFFF)
        size += 1
        at += 1
    if size == 0 or at >= end or not (is_space(data[at]) or data[at] == _SLASH or data[at] == _GREATER):
        return np.int64(-1), at
    slot = np.int64((state ^ (state >> np.uint64(15))) & np.uint64(len(keys) - 1))
    while keys[slot, 0] != 0:
        if keys[slot, 0] == low and keys[slot, 1] == high:
            return elements[slot], at
        slot = (slot + 1) & (len(keys) - 1)
    return np.int64(-1), at


@kernel
def _attributes(data, at, end, quotes):
    """Read attributes from `at` on: the end of the tag or why there is none, what the tag has, how far it was read."""
    shape, slash = 0, False
    while at < end:
        byte = data[at]
        if byte == _GREATER:
            return at + 1, shape | _CLOSED if slash else shape, at
        if is_space(byte):
            at += 1
            continue
        if byte == _SLASH:
            slash = True
            at += 1
            continue
        slash = False
        # No attribute begins so, but the right side of a comparison may.
        if byte in (_LESS, _EQUALS, _AMPERSAND, _BAR, _PLUS, _SEMICOLON, _BANG, _MARK, _TILDE, _CARET):
            return np.int64(_REFUSED), shape, at
        while at < end and not is_space(data[at]):
            byte = data[at]
            if byte in (_SLASH, _GREATER, _EQUALS):
                break
            if byte == _LESS:
                return np.int64(_REFUSED), shape, at
            at += 1
        while at < end and is_space(data[at]):
            at += 1
        if at >= end or data[at] != _EQUALS:
            continue
        shape |= _VALUED
        at += 1
        while at < end and is_space(data[at]):
            at += 1
        if at >= end:
            break
        byte = data[at]
        if quotes and (byte in (_DOUBLE, _SINGLE)):
            at = find(data, at + 1, end, byte)
            if at >= end:
                break
            at += 1
            continue
        if byte == _EQUALS:
            return np.int64(_REFUSED), shape, at
        while at < end and data[at] != _GREATER and not is_space(data[at]):
            if data[at] == _LESS:
                return np.int64(_REFUSED), shape, at
            at += 1
    return np.int64(_RAN_OUT), shape, end


@kernel
def _until(data, at, end):
    """Where the next `>` ends; -1 if a `<` or the end comes first."""
    while at < end and data[at] != _LESS:
        if data[at] == _GREATER:
            return np.int64(at + 1)
        at += 1
    return np.int64(-1)


@kernel
def _closing(data, at, end, byte):
    """Where a `>` after two of `byte` ends, the two after the first two bytes before `at`; -1 if there is none."""
    first = at - 2
    while True:
        at = find(data, at, end, _GREATER)
        if at >= end:
            return np.int64(-1)
        if at - 2 >= first and data[at - 1] == byte and data[at - 2] == byte:
            return np.int64(at + 1)
        at += 1


@kernel
def _is(data, at, end, word):
    """Whether `data` has this word, given in lower case, at `at`."""
    if at + len(word) > end:
        return False
    same = 0
    while same < len(word) and lower(data[at + same]) == word[same]:
        same += 1
    return same == len(word)


@kernel
def _end_of_hidden(data, at, end, element, traits, keys, elements):
    """Where the end tag ends that closes a hidden element whose start tag ends at `at`; -1 if there is none."""
    depth = 1
    while True:
        at = find(data, at, end, _LESS)
        if at + 2 >= end:
            return np.int64(-1)
        closing = data[at + 1] == _SLASH
        if closing or traits[element] & NESTED:
            found, after = _name(data, at + 2 if closing else at + 1, end, keys, elements)
            if found == element:
                close = find(data, after, end, _GREATER)
                if close >= end:
                    return np.int64(-1)
                depth += -1 if closing else 1
                if not closing and data[close - 1] == _SLASH:
                    depth -= 1
                if depth == 0:
                    return np.int64(close + 1)
                at = close
        at += 1
