"""Text comes out in one form, what is in order is not touched, and doing it twice changes nothing."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.clean import Normalize
from tilth.clean import normalize as module
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, MissingExtraError

ftfy = pytest.importorskip("ftfy")

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
FORMS = ["NFC", "NFKC", None]

PIECES = [
    *"aZ 1.?\t\n\r\v\f\x00\x1a\x7f\x85\x90\x99\xa0\xad\u2028\u2029\u3000\u200b\ufeff\ufffd",
    *"éßäöüÄàÃÂÅÐ√≈─┐└├×œ…–—’“”€™°º½ﬁｱﾞ가각각éÅΩя»в„Ю中☃",
    "e\u0301",
    "\u0323\u0307",
    "\u0307\u0323",
    "Ã©",
    "â€™",
    "â\x80\x99",
    "voilÃ ",
    "Ñ‚ÐµÑ\x81Ñ‚",
    "Ã\x00³",
    "\n\n\n\n",
    "  \n",
    "    ",
    "plain words that fill a block of sixty-four bytes, and then some more",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


def one(step, text):
    return step({"text": [text]})["text"][0]


def addresses(column):
    return [buffer.address for chunk in column.chunks for buffer in chunk.buffers() if buffer is not None]


def reference(text, form="NFC", mojibake=True, control=True, white_space=True):
    for _ in range(module.ROUNDS + 1):
        before = text
        if mojibake:
            text = "\n".join(ftfy.fix_encoding(line) for line in text.split("\n"))
        if form:
            text = unicodedata.normalize(form, text)
        if control:
            text = re.sub("\r\n|[\r\v\f\x85]", "\n", text)
            text = "".join(c for c in text if c in "\t\n" or (unicodedata.category(c) != "Cc" and c != "\ufeff"))
        if white_space:
            text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
            text = text.replace("\u2028", "\n").replace("\u2029", "\n\n")
            text = re.sub("[ \t]+(?=\n|$)", "", text)
            text = re.sub("\n{4,}", "\n\n\n", text).lstrip("\n").rstrip(" \t\n")
        if text == before:
            break
    return text


@given(texts, st.sampled_from(FORMS), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=600, deadline=None)
def test_the_kernels_do_what_plain_python_does(text, form, mojibake, control, white_space):
    options = {"form": form, "mojibake": mojibake, "control": control, "white_space": white_space}
    assert one(Normalize("text", **options), text) == reference(text, **options)


@given(st.lists(st.none() | texts, max_size=6), st.sampled_from(FORMS))
@settings(max_examples=300, deadline=None)
def test_a_second_time_finds_nothing_to_do(rows, form):
    step = Normalize("text", form=form)
    once = step.transform(pa.table({"text": pa.array(rows, pa.string())}))["text"]
    assert step.rewrite(module.strings_of(once)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schÃ¶n", "schön"),
        ("voilÃ le travail", "voilà le travail"),
        ("a\r\nb\rc\x0cd\x0be", "a\nb\nc\nd\ne"),
        ("\ufeffbe\x00gin\x7f", "begin"),
        ("a\u00a0b\u3000c", "a b c"),
        ("a\u2028b\u2029c", "a\nb\n\nc"),
        ("def f():  \n\treturn 1\t\n", "def f():\n\treturn 1"),
        ("\n \n    indented", "    indented"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("a\n\n \n\n\n\nb", "a\n\n\nb"),
        ("e\u0301", "é"),
        (" \t\n ", ""),
        ("zero\u200bwidth \u200djoiners stay, two  spaces too", "zero\u200bwidth \u200djoiners stay, two  spaces too"),
        ("Ã\x00³", "ó"),
        ("", ""),
        (None, None),
    ],
)
def test_what_changes(text, expected):
    assert one(Normalize("text"), text) == expected


@pytest.mark.parametrize(
    "piece",
    ["  \n", "\n\n\n\n", "\x00", "\u00a0", "e\u0301", "א\u0591\u05b0", "\u1112\u1161\u11ab", "Ã©", "Ã ", "\x99"],
)
def test_nothing_is_missed_between_two_blocks(piece):
    rows = ["a" * before + piece + "é" * accents + "c" * 70 for before in range(130) for accents in (0, 1)]
    assert Normalize("text")({"text": rows})["text"] == [reference(row) for row in rows]
    assert all(Normalize("text")({"text": [row]})["text"] != [row] for row in rows)


def test_nfkc_replaces_what_only_looks_different():
    assert one(Normalize("text", form="NFKC"), "ﬁne ½ ｶﾞ") == "fine 1⁄2 ガ"
    assert one(Normalize("text"), "ﬁne ½ ｶﾞ") == "ﬁne ½ ｶﾞ"


def test_mojibake_is_repaired_line_by_line():
    assert one(Normalize("text"), "schÃ¶n\nein ☃ bleibt, Ã© nicht") == "schön\nein ☃ bleibt, é nicht"


def test_only_the_encoding_is_repaired():
    text = "&lt;b&gt; “quotes” ﬂ ＡＢ \x1b[0m"
    assert one(Normalize("text", control=False), text) == text


def test_a_column_in_order_is_handed_back_itself():
    table = pa.table({"text": pa.chunked_array([["clean", None], ["", "naïve café", "中文 тест"]])})
    made = Normalize("text").transform(table)["text"]
    assert addresses(made) == addresses(table["text"])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_column_keeps_its_type_its_nulls_and_its_slice(kind):
    rows = ["x ", None, "", "e\u0301", "same", None, "y\r\n"]
    table = pa.table({"text": pa.array(rows, pa.string()).cast(kind)})
    for first in range(len(rows)):
        made = Normalize("text").transform(table.slice(first, 4))["text"]
        assert made.type == kind
        assert made.to_pylist() == [None if row is None else reference(row) for row in rows[first : first + 4]]


def test_chunks_are_joined_or_kept():
    table = pa.table({"text": pa.chunked_array([["a "], ["b"], [None, "c "]])})
    assert Normalize("text").transform(table)["text"].to_pylist() == ["a", "b", None, "c"]


@pytest.mark.parametrize("chunk_bytes", [1, 2**30])
def test_a_large_column_is_rewritten_chunk_by_chunk(chunk_bytes, monkeypatch):
    monkeypatch.setattr("tilth.clean.rewrite.CHUNK_BYTES", chunk_bytes)
    table = pa.table({"text": pa.chunked_array([["a "], ["b"], [None, "c "]])})
    assert Normalize("text").transform(table)["text"].to_pylist() == ["a", "b", None, "c"]


def test_nothing_and_nulls():
    for column in (pa.array([], pa.string()), pa.nulls(3, pa.string()), pa.nulls(3)):
        made = Normalize("text").transform(pa.table({"text": column}))["text"]
        assert made.to_pylist() == column.to_pylist()
        assert made.type == column.type


def test_bytes_that_are_not_utf8_become_replacement_characters():
    bad = [b"ok \xff\xc3 \xe2\x82", b"\xed\xa0\x80", b"fine", b"\xf4\x90\x80\x80" * 30, b"\xc3"]
    offsets = np.cumsum([0, *map(len, bad)], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(bad))]
    column = pa.Array.from_buffers(pa.string(), len(bad), buffers)
    made = Normalize("text").transform(pa.table({"text": column}))["text"].to_pylist()
    assert made == [text.decode("utf-8", "replace") for text in bad]


def test_long_rows_of_every_kind():
    for text in ("word " * 2_000_000, "Ã©" * 500_000, "\n" * 5_000_000, "e\u0301" * 1_000_000, "a\u00a0\n" * 1_000_000):
        made = one(Normalize("text"), text)
        assert len(made) < len(text)
        assert made == one(Normalize("text"), made)


def test_it_works_wherever_datasets_do(tmp_path):
    rows = {"a": ["x ", None, "y"], "b": ["e\u0301", "", "z\r\n"], "n": [1, 2, 3]}
    wanted = {"a": ["x", None, "y"], "b": ["é", "", "z"], "n": [1, 2, 3]}
    step = Normalize("a", "b")
    ds = Dataset.from_dict(rows)
    assert step.apply(ds)[:] == wanted
    assert ds.map(step, batched=True)[:] == wanted
    assert ds.with_format("arrow").map(step, batched=True).with_format(None)[:] == wanted
    assert step.apply(DatasetDict({"train": ds}))["train"][:] == wanted
    assert step.apply(ds.select([2, 0]))["a"][:] == ["y", "x"]
    stream = step.apply(IterableDataset.from_generator(lambda: iter(ds)))
    assert [row["b"] for row in stream] == wanted["b"]
    assert (step.reads, step.writes) == (("a", "b"), ("a", "b"))


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ArgumentError, match="form='NFD'"):
        Normalize("text", form="NFD")
    with pytest.raises(ArgumentError, match="columns"):
        Normalize()
    with pytest.raises(ArgumentError, match="different"):
        Normalize("a", "a")
    with pytest.raises(ArgumentError, match="columns"):
        Normalize(["a"])
    with pytest.raises(MissingColumnError, match="'txt'"):
        Normalize("txt").apply(Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(ColumnTypeError, match="int64"):
        Normalize("text").apply(Dataset.from_dict({"text": [1]}))


def test_without_ftfy_only_mojibake_is_refused(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tilth\[clean\]"):
        Normalize("text")
    assert one(Normalize("text", mojibake=False), "Ã© ") == "Ã©"


def test_every_field_is_part_of_the_fingerprint():
    steps = [
        Normalize("a"),
        Normalize("b"),
        Normalize("a", form=None),
        Normalize("a", mojibake=False),
        Normalize("a", control=False),
        Normalize("a", white_space=False),
    ]
    assert len({step.fingerprint for step in steps}) == len(steps)
    assert Normalize("a") == Normalize("a")


@pytest.mark.skipif(not (DATA / "corpus" / "man.parquet").exists(), reason="the shared corpus is not here")
def test_real_text_as_plain_python_has_it():
    table = pq.read_table(DATA / "corpus" / "man.parquet", columns=["text"])
    table = table.take(pa.array(range(0, table.num_rows, 400)))
    made = Normalize("text").transform(table)["text"].to_pylist()
    assert made == [reference(text) for text in table["text"].to_pylist()]
