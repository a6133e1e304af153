"""Words are found and hashed in place as the plain definition says, wherever they lie in a buffer."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilth.text.strings import from_python, strings_of
from tilth.text.unicode import tables
from tilth.text.words import HASH_VERSION, count_words, decode, hash_word, hash_words, words

ODD = list("aZ09_ .-'é\u0301ßİKЖ中のกー\u200b\u200d\ufeff\ufffd\x00\x7f\x85\u2028😀𝒳 \n")
texts = st.one_of(
    st.text(st.sampled_from(ODD), max_size=140),
    st.text(max_size=60),
    st.lists(
        st.sampled_from(["word ", "x" * 7, "Y" * 8, "_" * 9, "z" * 64, " " * 63, "é", "中", "."]), max_size=30
    ).map("".join),
)

_MASK = 2**64 - 1
_SEED, _K1, _K2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hash_of(word: str) -> int:
    """The hash of a folded word, written plainly: its UTF-8 in little-endian groups of sixteen bytes."""
    encoded = word.replace("_", "\x7f").encode()

    def absorb(state: int, at: int) -> int:
        one, two = (int.from_bytes(encoded[lo : lo + 8], "little") for lo in (at, at + 8))
        product = (one ^ _K1) * (two ^ _K2 ^ state)
        return product >> 64 ^ product & _MASK

    return reduce(absorb, range(0, len(encoded), 16), len(encoded) * _SEED & _MASK)


def hashes(data: bytes, start: int, end: int) -> list[int]:
    known = tables()
    out = np.zeros((end - start + 1) // 2 + 1, dtype=np.uint64)
    buffer = np.frombuffer(data or b"\0", dtype=np.uint8)
    return [int(value) for value in out[: hash_words(buffer, start, end, known.classes, known.lower, out)]]


@given(texts)
@settings(max_examples=400, deadline=None)
def test_hashed_words_are_the_words_of_the_definition(text):
    encoded = text.encode()
    assert hashes(encoded, 0, len(encoded)) == [hash_of(word) for word in words(text)]


@given(texts)
@settings(max_examples=400, deadline=None)
def test_counted_words_are_the_words_of_the_definition(text):
    assert count_words(from_python([text])).tolist() == [len(words(text))]


@given(texts, st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=200, deadline=None)
def test_words_do_not_depend_on_what_lies_around_a_row(text, before, behind):
    encoded = text.encode()
    data = b"w" * before + encoded + b"w" * behind
    assert hashes(data, before, before + len(encoded)) == [hash_of(word) for word in words(text)]
    column = from_python(["w" * before, text, "w" * behind])
    assert count_words(column).tolist() == [min(before, 1), len(words(text)), min(behind, 1)]


@given(texts)
@settings(max_examples=100, deadline=None)
def test_a_word_alone_hashes_as_it_does_among_others(text):
    known = tables()
    found = words(text)
    alone = [np.frombuffer(word.encode(), dtype=np.uint8) for word in found]
    assert [int(hash_word(word, 0, len(word), known.lower)) for word in alone] == [hash_of(word) for word in found]


@given(st.lists(st.sampled_from(["word", " ", "中", "é", "x" * 40, "\u0301", ".", "_", "ไ", "😀"]), max_size=4000))
@settings(max_examples=20, deadline=None)
def test_long_texts_are_hashed_in_several_goes(pieces):
    text = "".join(pieces)
    encoded = text.encode()
    assert hashes(encoded, 0, len(encoded)) == [hash_of(word) for word in words(text)]


@pytest.mark.parametrize("piece", ["a ", "中", "é ", "ab中", "中é"])
def test_no_more_is_written_than_there_can_be_words(piece):
    encoded = (piece * 5_000).encode()
    room = (len(encoded) + 1) // 2
    guarded = np.full(room + 8, 7, dtype=np.uint64)
    known = tables()
    buffer = np.frombuffer(encoded, dtype=np.uint8)
    hash_words(buffer, 0, len(encoded), known.classes, known.lower, guarded[:room])
    assert (guarded[room:] == 7).all()


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 128, 129, 1000])
def test_a_word_hashes_the_same_at_every_place(length):
    word = ("Word_9" * length)[:length]
    expected = hash_of(word.lower())
    for shift in range(66):
        for tail in (0, 1, 20):
            data = b"." * shift + word.encode() + b"." * tail
            assert hashes(data, 0, len(data)) == [expected]


@given(st.text(st.characters(max_codepoint=0x24F), max_size=80))
@example("½ a² x_y can't e-mail µ ǅ")
@settings(max_examples=300, deadline=None)
def test_where_words_are_spaced_and_unmarked_they_are_what_python_finds(text):
    # Control and format characters stand outside \w as they do outside words; I with a dot folds to two in Python.
    found = [word.lower() for word in re.findall(r"\w+", text.replace("İ", "i"))]
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n", []),
        ("One two", ["one", "two"]),
        ("don't stop", ["don", "t", "stop"]),
        ("snake_case 3.14", ["snake_case", "3", "14"]),
        ("中文word字", ["中", "文", "word", "字"]),
        ("ราชา", ["ร", "า", "ช", "า"]),
        ("e\u0301te\u0301 \u0301x", ["e\u0301te\u0301", "x"]),
        ("zero\u200bwidth soft\u00adhyphen", ["zero", "width", "soft", "hyphen"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("ÀÉÎ İ K", ["àéî", "i", "k"]),
    ],
)
def test_words_of_some_texts(text, expected):
    assert words(text) == expected


def test_hashes_are_pinned():
    # Stores of hashes outlive processes: whoever changes a value here raises HASH_VERSION.
    assert HASH_VERSION == 2
    pinned = {
        "a": 0xCC4E2D64BC0183DD,
        "the": 0x5777E62867D37BED,
        "snake_case": 0x3FC13936A4A18E76,
        "straße": 0x918FFC57EF79F5C6,
        "привет": 0xCA36C42B1D461F55,
        "中": 0xC883197FE5FDFE7C,
        "an_identifier_of_more_than_sixteen_bytes": 0x6F59C16A3E9D3593,
    }
    assert {word: hashes(word.encode(), 0, len(word.encode()))[0] for word in pinned} == pinned


def test_folded_words_hash_alike_and_others_do_not():
    assert hashes(b"The THE the", 0, 11) == [hash_of("the")] * 3
    assert hashes("ÜBER über".encode(), 0, 11) == [hash_of("über")] * 2
    several = ["a", "b", "ab", "a_", "_a", "_", "a" * 8, "a" * 9, "a" * 16, "a" * 17, "0", "o"]
    assert len({hash_of(word) for word in several}) == len(several)


@given(st.binary(max_size=150))
@example(b"\xe0\x81\x81\xf0\x80\x81\x81\xed\xa0\x80\xf5\x80\x80\x80\xc0\x81")
@example(b"word\xe4\xb8")
@settings(max_examples=400, deadline=None)
def test_bytes_that_are_not_utf8_read_as_replacement_characters(data):
    expected = words(data.decode("utf-8", "replace"))
    assert hashes(data, 0, len(data)) == [hash_of(word) for word in expected]
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32))
    column = strings_of(pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data or b"\0")]))
    assert count_words(column).tolist() == [len(expected)]


@given(st.text(min_size=1, max_size=1))
@example("\U0010ffff")
@settings(max_examples=200, deadline=None)
def test_a_character_decodes_to_itself(character):
    encoded = character.encode()
    assert decode(np.frombuffer(encoded, dtype=np.uint8), 0, len(encoded)) == (ord(character), len(encoded))
    if len(encoded) > 1:
        assert decode(np.frombuffer(encoded, dtype=np.uint8), 0, len(encoded) - 1) == (0xFFFD, 1)


def test_sliced_chunked_and_null_rows_count_alone():
    rows = ["one two", None, "", "three", "中文 x", None, "last words here"]
    counts = [2, 0, 0, 1, 3, 0, 3]
    array = pa.array(rows, pa.string())
    assert count_words(strings_of(array.slice(2, 4))).tolist() == counts[2:6]
    chunked = pa.chunked_array([rows[:3], [], rows[3:]], pa.large_string())
    assert count_words(strings_of(chunked)).tolist() == counts
    assert count_words(strings_of(pa.nulls(3))).tolist() == [0, 0, 0]
    assert count_words(strings_of(pa.array([], pa.string()))).tolist() == []


GUARDED = """
import ctypes, mmap
import numpy as np
from tilth.filters._gopher_kernel import count
from tilth.text.strings import Strings
from tilth.text.unicode import tables
from tilth.text.words import count_words, hash_words
import pyarrow as pa

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
# Whoever reads a byte of the second page is killed.
assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(address + page), page, 0) == 0
whole = np.frombuffer(memory, dtype=np.uint8)
known = tables()
pieces = [b"word " * 30, b"x" * 130, b"the-end.", "caf\\u00e9 \\u4e2d\\u6587 \\u2026".encode(), b"...\\r"]
pieces += [b"\\xe4\\xb8", b"\\xf0\\x9f\\x98", b"\\xe2\\x80"]
for piece in pieces:
    for length in range(len(piece) + 1):
        for part in (piece[:length], piece[len(piece) - length :]):
            whole[page - length : page] = np.frombuffer(part, dtype=np.uint8)
            data = whole[page - length : page] if length else whole[page - 1 : page]
            data.flags.writeable = False
            out = np.zeros(length + 1, dtype=np.uint64)
            found = hash_words(data, 0, length, known.classes, known.lower, out)
            text = Strings(data, np.array([0, length]), np.ones(1, dtype=np.bool_), pa.string())
            assert found == count_words(text)[0] == count(text, ("the", "word"))[0, 0]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="guards memory by mprotect")
def test_no_kernel_reads_past_the_end_of_a_buffer():
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
