"""Every Arrow column of text looks the same to a kernel, and what a kernel wrote becomes such a column again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Features, Json
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import ColumnTypeError, MissingColumnError
from tilth.text import strings as strings_module
from tilth.text.strings import build, from_python, is_text, one_array, strings, strings_of

ROWS = ["one", None, "", "zwei é", "中文", None, "end"]
KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]

rows_of_text = st.lists(st.none() | st.text(max_size=12), max_size=12)


def texts(view) -> list[str | None]:
    return [view.text(row) for row in range(len(view))]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_of_text_gives_its_rows(kind):
    assert texts(strings_of(pa.array(ROWS, pa.string()).cast(kind))) == ROWS


@given(rows_of_text, rows_of_text, st.integers(0, 12), st.integers(0, 12), st.booleans())
@settings(max_examples=200, deadline=None)
def test_slices_and_chunks_give_the_rows_in_sight(first, second, start, length, large):
    kind = pa.large_string() if large else pa.string()
    array = pa.array(first, kind).slice(start, length)
    assert texts(strings_of(array)) == first[start : start + length]
    chunked = pa.chunked_array([array, pa.array(second, kind).slice(1)], kind)
    assert texts(strings_of(chunked)) == first[start : start + length] + second[1:]


@given(rows_of_text, st.integers(0, 5), st.booleans())
@settings(max_examples=200, deadline=None)
def test_rebuilding_what_was_read_gives_the_same_array(rows, start, large):
    kind = pa.large_string() if large else pa.string()
    array = pa.array(rows, kind).slice(start)
    view = strings_of(array)
    data = np.frombuffer(b"".join((text or "").encode() for text in rows[start:]) + b" ", dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(np.diff(view.offsets) * view.valid)])
    rebuilt = view.rebuild(data, offsets)
    rebuilt.validate(full=True)
    assert rebuilt.type == kind and rebuilt.to_pylist() == array.to_pylist()


def test_no_rows_and_nothing_but_nulls_are_text():
    assert texts(strings_of(pa.nulls(3))) == [None] * 3
    assert texts(strings_of(pa.array([None, None], pa.string()))) == [None] * 2
    assert texts(strings_of(pa.array([], pa.string()))) == []
    assert texts(strings_of(pa.chunked_array([], pa.large_string()))) == []
    assert texts(from_python([])) == []


def test_text_is_not_copied_and_cannot_be_written():
    array = pa.array(["a" * 100, "b"], pa.string())
    view = strings_of(array)
    assert view.data.ctypes.data == array.buffers()[2].address
    with pytest.raises(ValueError, match="read-only"):
        view.data[0] = 0


def test_bytes_count_the_rows_in_sight():
    assert strings_of(pa.array(["ab", "é", "cdef"]).slice(1)).nbytes == 6


def test_text_beyond_two_gigabytes_is_built_as_large_string():
    # Zeros that no one touches take no memory.
    data, valid = np.zeros(2**31, dtype=np.uint8), np.ones(1, dtype=np.bool_)
    assert build(data, np.array([0, 2**31 - 1]), valid, pa.string()).type == pa.string()
    assert build(data, np.array([0, 2**31]), valid, pa.string()).type == pa.large_string()


def test_bytes_that_are_not_utf8_show_as_replacement_characters():
    offsets = pa.py_buffer(np.array([0, 2], dtype=np.int32))
    assert (
        strings_of(pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"a\xff")])).text(0) == "a\ufffd"
    )


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.binary(), pa.list_(pa.string()), pa.dictionary(pa.int8(), pa.int64())], ids=str
)
def test_a_column_that_is_not_text_is_refused(kind):
    assert not is_text(kind)
    with pytest.raises(ColumnTypeError, match=r"Length reads column 'n' as text"):
        strings(pa.table({"n": pa.nulls(1, kind)}), "n", "Length")


def test_a_missing_column_is_refused_with_those_present():
    with pytest.raises(MissingColumnError, match=r"Length reads column 'txt'.*\['text'\].*Did you mean 'text'"):
        strings(pa.table({"text": ["a"]}), "txt", "Length")


@pytest.mark.parametrize(
    "kind", [*KINDS, pa.int64(), pa.list_(pa.string()), pa.struct({"a": pa.string()}), pa.null()], ids=str
)
def test_a_column_in_pieces_becomes_one_array_of_its_type(kind):
    values = {pa.int64(): [1, None, 3], pa.null(): [None] * 3, pa.list_(pa.string()): [["a"], None, []]}.get(kind)
    values = [{"a": "x"}, None, {"a": None}] if pa.types.is_struct(kind) else values or ["a", None, ""]
    whole = pa.array(values, pa.string() if pa.types.is_dictionary(kind) else kind).cast(kind)
    assert one_array(whole) is whole
    for pieces in ([whole], [whole.slice(0, 1), whole.slice(1)], [whole.slice(0, 0), whole, whole.slice(2)], []):
        array = one_array(pa.chunked_array(pieces, kind))
        assert isinstance(array, pa.Array) and array.type == kind
        assert array.to_pylist() == [value for piece in pieces for value in piece.to_pylist()]


def test_a_column_of_one_piece_is_not_copied():
    piece = pa.array(["text"] * 9).slice(2, 5)
    assert [buffer and buffer.address for buffer in one_array(pa.chunked_array([piece])).buffers()] == [
        buffer and buffer.address for buffer in piece.buffers()
    ]


@pytest.mark.parametrize("kind, wide", [(pa.string(), pa.large_string()), (pa.binary(), pa.large_binary())])
def test_more_bytes_than_its_offsets_can_count_come_out_as_large(kind, wide, monkeypatch):
    monkeypatch.setattr(strings_module, "OFFSET_LIMIT", 64)
    pieces = [pa.array([b"x" * 10, None], kind), pa.array([b"y" * 10], kind)]
    assert one_array(pa.chunked_array(pieces)).type == kind
    array = one_array(pa.chunked_array(pieces * 4))
    assert array.type == wide
    assert array.cast(pa.binary()).to_pylist() == [b"x" * 10, None, b"y" * 10] * 4


def test_no_rows_of_a_nested_extension_type_are_an_array():
    kind = Features({"rows": [Json()]}).arrow_schema.field("rows").type
    assert one_array(pa.chunked_array([], kind)).type == kind
