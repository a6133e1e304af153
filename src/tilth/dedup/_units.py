"""Hashes of the units of a text: words by the shared tokeniser, anything else character by character."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from tilth.text.bits import byte_at, four_at, multiplied, write_eight
from tilth.text.kernel import kernel
from tilth.text.unicode import CONTROL, DIGIT, EXTEND, ROLE, SPACE, SPACELESS, SYMBOL, WORD
from tilth.text.words import decode_at, hash_words_at

CHARS, CASED, NUMBERS, PUNCTUATION = 1, 2, 4, 8

_STATE = np.uint64(0x9E3779B97F4A7C15)
_K1 = np.uint64(0xBF58476D1CE4E5B9)
_K2 = np.uint64(0x94D049BB133111EB)


def room_of(offsets: npt.NDArray[np.int64], mode: int) -> int:
    """How many units any of the texts between these offsets can have, and one to spare."""
    most = int(np.diff(offsets).max(initial=0))
    return most // 2 + 2 if mode == 0 else most + 1


@kernel
def hash_units(text, start, end, limit, classes, lower, mode, out):
    """Write the hash of each unit of `text[start:end]` to `out`; all arrays are given by their addresses.

    Returns how many units there are.
    """
    if mode == 0:
        return hash_words_at(text, start, end, limit, classes, lower, out)
    count = 0
    state = _STATE
    # What the last character was: SYMBOL where no word is open, else WORD or SPACELESS.
    opened = np.uint8(SYMBOL)
    in_number = False
    at = start
    while at < end:
        code, size = decode_at(text, at, end, limit)
        at += size
        kind = byte_at(classes, code)
        role = kind & np.uint8(ROLE)
        digit = mode & NUMBERS != 0 and kind & np.uint8(DIGIT) != 0
        if mode & CASED == 0:
            code = np.int64(four_at(lower, 4 * code))
        if mode & CHARS:
            if role in (SPACE, CONTROL):
                in_number = False
                continue
            if not (digit and in_number):
                write_eight(out, count, _with(_STATE, 0x30 if digit else code))
                count += 1
            in_number = digit
            continue
        goes_on = (role == WORD and opened == WORD) or (role == EXTEND and opened != SYMBOL)
        if not goes_on:
            if opened != SYMBOL:
                write_eight(out, count, state)
                count += 1
            state, opened, in_number = _STATE, np.uint8(SYMBOL), False
            if role in (WORD, SPACELESS):
                opened = role
            elif role == SYMBOL and mode & PUNCTUATION:
                write_eight(out, count, _with(_STATE, code))
                count += 1
        if opened != SYMBOL:
            if not (digit and in_number):
                state = _with(state, 0x30 if digit else code)
            in_number = digit
    if opened != SYMBOL:
        write_eight(out, count, state)
        count += 1
    return count


@njit(inline="always")
def _with(state, code):
    """The state of a hash after one more character."""
    return multiplied(state ^ _K1, np.uint64(code) ^ _K2) + state
