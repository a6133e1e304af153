"""The names that HTML gives a meaning: elements with what each does to text, and character references.

Element names are those of the HTML standard with the obsolete ones that browsers still know, and of MathML. Character
references are Python's own table of HTML5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5

import numpy as np
import numpy.typing as npt

# What an element does to the text around it and in it.
PARAGRAPH = 1
"""A blank line before and after it."""
LINE = 2
"""A line of its own."""
VOID = 4
"""It has no end tag."""
OPTIONAL = 8
"""It may go without an end tag."""
HIDDEN = 16
"""What it holds is not text."""
NESTED = 32
"""Hidden, and may hold itself."""
FLOW = 64
"""White space in it is collapsed until its end tag."""
SHORT_FLOW = 128
"""White space in it is collapsed until the next element that breaks a line."""
PRE = 256
"""White space in it is kept."""
LIST = 512
ITEM = 1024
ROW = 2048
CELL = 4096
TABLE = 8192
ALONE = 16384
"""Its start tag means something without any attribute, and has no end tag."""
BREAK = 32768

_ELEMENTS = {
    PARAGRAPH | FLOW: """
        address article aside blockquote center dialog div fieldset figcaption figure footer form frameset h1 h2 h3 h4
        h5 h6 header hgroup legend main nav search section
    """,
    PARAGRAPH: "details summary noframes",
    PARAGRAPH | FLOW | OPTIONAL: "body html caption",
    PARAGRAPH | SHORT_FLOW | OPTIONAL: "p",
    PARAGRAPH | FLOW | PRE: "listing plaintext pre xmp",
    PARAGRAPH | FLOW | LIST: "dir dl menu ol ul",
    PARAGRAPH | FLOW | TABLE: "table",
    PARAGRAPH | VOID | ALONE: "hr",
    LINE | VOID | ALONE | BREAK: "br",
    VOID | ALONE: "wbr",
    VOID: """
        area base basefont bgsound col command embed frame image img input isindex keygen link meta param source spacer
        track
    """,
    LINE | SHORT_FLOW | OPTIONAL | ITEM: "li",
    LINE | SHORT_FLOW | OPTIONAL: "dd dt optgroup option",
    LINE | OPTIONAL | ROW: "tr",
    LINE | OPTIONAL: "tbody tfoot thead",
    OPTIONAL: "colgroup",
    SHORT_FLOW | OPTIONAL | CELL: "td th",
    HIDDEN: "iframe noembed script style title",
    HIDDEN | OPTIONAL | PARAGRAPH: "head",
    HIDDEN | NESTED: "svg template",
    0: """
        a abbr acronym applet audio b bdi bdo big blink button canvas cite code data datalist del dfn em font i ins kbd
        label map mark marquee meter multicol nobr noscript object output picture portal progress q rb rp rt rtc ruby s
        samp select selectedcontent slot small span strike strong sub sup textarea time tt u var video
        math annotation maction menclose merror mfenced mfrac mglyph mi mmultiscripts mn mo mover mpadded mphantom
        mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover semantics
    """,
}

ELEMENTS = {name: traits for traits, names in _ELEMENTS.items() for name in names.split()}
"""What each element does, in the bits above."""

LONGEST_NAME = 16
LONGEST_REFERENCE = max(map(len, html5)) - 1

WINDOWS_1252 = tuple(
    ord(bytes([byte]).decode("cp1252")) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else byte
    for byte in range(0x80, 0xA0)
)
"""The characters that numeric references to C1 control characters stand for."""


@dataclass(frozen=True, eq=False)
class Names:
    """The tables that the kernels look names up in, open hash tables with 0 for a free slot.

    Attributes:
        keys: the bytes of an element's name in two numbers, the first lowest, shape `(slots, 2)`.
        elements: the number of that element, shape `(slots,)`.
        traits: what each element does, shape `(elements,)`.
        slots: the number of a character reference plus one, shape `(slots,)`, by `hash_name`.
        names: the bytes of all names of references; `name_ends` cuts them.
        values: the UTF-8 of all that they stand for; `value_ends` cuts it.
        numbers: what numeric references from 0x80 to 0x9F stand for.
    """

    keys: npt.NDArray[np.uint64]
    elements: npt.NDArray[np.int64]
    traits: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint8]
    name_ends: npt.NDArray[np.int64]
    values: npt.NDArray[np.uint8]
    value_ends: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


@lru_cache(maxsize=1)
def names() -> Names:
    """The tables, made on first use."""
    keys = np.zeros((1024, 2), dtype=np.uint64)
    elements = np.zeros(1024, dtype=np.int64)
    for number, name in enumerate(ELEMENTS):
        padded = name.encode().ljust(LONGEST_NAME, b"\0")
        low, high = (int.from_bytes(padded[start : start + 8], "little") for start in (0, 8))
        slot = hash_name(name.encode()) % len(keys)
        while keys[slot, 0]:
            slot = (slot + 1) % len(keys)
        keys[slot], elements[slot] = (low, high), number
    references = {name[:-1].encode(): value.encode() for name, value in html5.items() if name.endswith(";")}
    slots = np.zeros(8192, dtype=np.int64)
    for number, reference in enumerate(references):
        slot = hash_name(reference) % len(slots)
        while slots[slot]:
            slot = (slot + 1) % len(slots)
        slots[slot] = number + 1
    return Names(
        keys,
        elements,
        np.array(list(ELEMENTS.values()), dtype=np.int64),
        slots,
        *_joined(list(references)),
        *_joined(list(references.values())),
        np.array(WINDOWS_1252, dtype=np.int64),
    )


def hash_name(name: bytes) -> int:
    """FNV-1a in 32 bits, folded: what the kernels compute byte by byte."""
    state = 0x811C9DC5
    for byte in name:
        state = ((state ^ byte) * 0x01000193) & 0xFFFFFFFF
    return state ^ (state >> 15)


def _joined(parts: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(b"".join(parts), dtype=np.uint8), ends
