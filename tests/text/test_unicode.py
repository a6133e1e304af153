"""The stored tables say of each character what Unicode says, as far as this Python's older Unicode knows it."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest

from tilth.text.unicode import (
    CODEPOINTS,
    CONTROL,
    DIGIT,
    EXTEND,
    LETTER,
    PUNCTUATION,
    ROLE,
    SPACE,
    SPACELESS,
    SYMBOL,
    UPPER,
    WORD,
    tables,
)

CATEGORIES = np.array([unicodedata.category(chr(code)) for code in range(CODEPOINTS)])
KNOWN = ~np.isin(CATEGORIES, ["Cn", "Cs"])


def having(*starts: str) -> np.ndarray:
    return np.logical_or.reduce([np.char.startswith(CATEGORIES, start) for start in starts]) & KNOWN


def odd_ones(found: np.ndarray, expected: np.ndarray) -> set[str]:
    return {f"U+{code:04X}" for code in np.flatnonzero(found != expected)}


@pytest.mark.parametrize(
    ("flag", "categories"), [(LETTER, ("L",)), (DIGIT, ("Nd",)), (PUNCTUATION, ("P",)), (UPPER, ("Lu",))]
)
def test_flags_are_the_general_categories(flag, categories):
    found = (tables().classes & flag) != 0
    # A few characters changed their category since this Python was made.
    assert len(odd_ones(found & KNOWN, having(*categories))) <= 5


def test_every_letter_and_number_is_in_a_word_and_no_symbol_is():
    role = tables().classes & ROLE
    inside = np.isin(role, [WORD, SPACELESS])
    assert len(odd_ones(inside & KNOWN, having("L", "N", "Pc"))) <= 5
    assert not (inside & having("S", "Z", "Cc", "Cf")).any()
    assert (role[having("M")] == EXTEND).all()


def test_white_space_is_what_python_strips_but_for_four_separators():
    spaces = {chr(code) for code in np.flatnonzero((tables().classes & ROLE) == SPACE)}
    python = {chr(code) for code in range(CODEPOINTS) if chr(code).isspace()}
    assert python - spaces == set("\x1c\x1d\x1e\x1f")
    assert spaces <= python


@pytest.mark.parametrize(
    ("characters", "role"),
    [
        ("aZ0_é½Жא", WORD),
        ("中のカーกမខ", SPACELESS),
        (".-#'€😀→", SYMBOL),
        (" \t\n\r\x0b\x85\xa0\u3000\u2028", SPACE),
        ("\u0301\ufe0f\u200c\u200d", EXTEND),
        ("\x00\x1f\x7f\u200b\ufeff\u00ad", CONTROL),
        ("한글", WORD),
    ],
)
def test_some_characters_have_the_role_that_a_reader_expects(characters, role):
    assert [int(tables().classes[ord(character)] & ROLE) for character in characters] == [role] * len(characters)


def test_what_python_cannot_encode_is_a_symbol():
    assert (tables().classes[0xD800:0xE000] == SYMBOL).all()


def test_lower_case_is_the_first_character_of_what_python_gives():
    lower = tables().lower
    differing = [code for code in range(CODEPOINTS) if KNOWN[code] and lower[code] != ord(chr(code).lower()[0])]
    # Letters that were given a partner since.
    assert len(differing) <= (0 if sys.version_info < (3, 13) else 5), differing
    assert (lower[lower] == lower)[KNOWN].all()


def test_folding_never_leaves_the_word():
    classes, lower = tables().classes, tables().lower
    assert ((classes & ROLE) == (classes[lower] & ROLE))[KNOWN].all()
