"""What each character is, as tables that do not depend on the Python we run on.

The tables lie beside this file (`unicode.npz`), so words and hashes are the same on every machine and in every Python
version. `python -m tilth.text.unicode` makes them anew; it needs the package `regex`, whose Unicode version they take.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

CODEPOINTS = 0x110000

# The low three bits of a class say what a character does to words.
SYMBOL = 0
"""Stands outside words: punctuation, symbols, and what is not assigned."""
SPACE = 1
WORD = 2
"""Letters, numbers and connectors of scripts that put spaces between words."""
SPACELESS = 3
"""A character of a script without spaces: a word by itself."""
EXTEND = 4
"""Marks and joiners: part of the word or spaceless character before them, and nothing by themselves."""
CONTROL = 5
"""Control and format characters: they part words and count as no symbol."""
ROLE = 7

# The bits above it say more.
LETTER = 8
DIGIT = 16
PUNCTUATION = 32
UPPER = 64

_SPACELESS_SCRIPTS = ("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
_FILE = Path(__file__).with_name("unicode.npz")


@dataclass(frozen=True, eq=False)
class Tables:
    """Properties by code point.

    Attributes:
        classes: a role in the low three bits and flags above, shape `(0x110000,)`.
        lower: the simple lower-case mapping, shape `(0x110000,)`.
        version: what they were made with.
    """

    classes: npt.NDArray[np.uint8]
    lower: npt.NDArray[np.int32]
    version: str


@cache
def tables() -> Tables:
    """The tables, read once a process (a few milliseconds)."""
    with np.load(_FILE, allow_pickle=False) as stored:
        starts, values, pairs = stored["starts"], stored["values"], stored["lower"]
        version = str(stored["version"])
    lengths = np.diff(np.append(starts, CODEPOINTS))
    lower = np.arange(CODEPOINTS, dtype=np.int32)
    lower[pairs[:, 0]] = pairs[:, 1]
    return Tables(np.repeat(values, lengths), lower, version)


def _make() -> None:
    import regex

    everything = "".join(map(chr, range(0xD800))) + "\x00" * 0x800 + "".join(map(chr, range(0xE000, CODEPOINTS)))
    classes = np.zeros(CODEPOINTS, dtype=np.uint8)

    def put(pattern: str, role: int | None = None, flag: int = 0) -> None:
        for match in regex.finditer(f"(?V1){pattern}+", everything):
            span = slice(*match.span())
            if role is not None:
                classes[span] = (classes[span] & ~np.uint8(ROLE)) | np.uint8(role)
            classes[span] |= np.uint8(flag)

    put(r"[\p{Cc}\p{Cf}]", CONTROL)
    put(r"\p{White_Space}", SPACE)
    put(r"[\p{L}\p{N}\p{Pc}]", WORD)
    for script in _SPACELESS_SCRIPTS:
        put(rf"[\p{{L}}&&\p{{Script={script}}}]", SPACELESS)
        put(rf"[\p{{Nl}}&&\p{{Script={script}}}]", SPACELESS)
    # Length marks and half-width kana that several scripts share.
    put(r"[\u30fc\uff70]", SPACELESS)
    put(r"[\p{M}\u200c\u200d]", EXTEND)
    put(r"\p{L}", flag=LETTER)
    put(r"\p{Nd}", flag=DIGIT)
    put(r"\p{P}", flag=PUNCTUATION)
    put(r"\p{Lu}", flag=UPPER)
    classes[0xD800:0xE000] = SYMBOL
    lower = [(code, ord(chr(code).lower()[0])) for code in range(CODEPOINTS) if chr(code).lower() != chr(code)]
    starts = np.flatnonzero(np.diff(classes.astype(np.int16), prepend=-1)).astype(np.int32)
    np.savez_compressed(
        _FILE,
        starts=starts,
        values=classes[starts],
        lower=np.array(lower, dtype=np.int32),
        version=np.array(f"regex {regex.__version__}"),
    )


if __name__ == "__main__":
    _make()
