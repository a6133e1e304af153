"""Text comes out of HTML, and what is no HTML stays as it is, byte for byte."""

from __future__ import annotations

import os
import time
from html.entities import html5
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clean.html_reference import strip_html
from tilth.clean import Normalize, StripHtml
from tilth.clean._html_names import ELEMENTS, LONGEST_NAME
from tilth.errors import ArgumentError

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

SHAPES = [
    "<{}>",
    "</{}>",
    "<{}/>",
    '<{} a="x>y">',
    "<{} b='<'",
    "<{} c=d>",
    "<{} hidden>",
    "<{0}>x</{0}>",
    "<{} ",
    "<{}>\n",
]
ODD = [
    *"<>&;/\"'=!`x- \n\r\t\f\v\0\x1f",
    "``",
    "```\n",
    "\n```",
    "  \n ",
    "\n\n",
    "<!--",
    "-->",
    "<!-->",
    "<![CDATA[",
    "]]>",
    "<!doctype html>",
    "<?xml version='1.0'?>",
    "&amp;",
    "&#x26;",
    "&#10;",
    "&#32;",
    "&#150;",
    "&#0;",
    "&nGt;",
    "&notanentity;",
    "&lt",
    "a < b && c > d",
    "List<int>",
    "é中☃\u00a0",
    "<P>",
    "words that are longer than sixty-four bytes, to fill a block, with  two spaces, and more",
]
COMMON = ["p", "div", "b", "pre", "ul", "li", "table", "tr", "td", "br", "script", "svg", "head", "code", "h1"]
tags = st.builds(str.format, st.sampled_from(SHAPES), st.sampled_from(sorted(ELEMENTS)))
common = st.builds(
    str.format,
    st.sampled_from(SHAPES),
    st.sampled_from(
        ["p", "div", "b", "pre", "ul", "li", "table", "tr", "td", "br", "script", "svg", "head", "code", "h1"]
    ),
)
pages = st.lists(common | tags | st.sampled_from(ODD) | st.text(max_size=3), max_size=14).map("".join)


def one(text):
    return StripHtml("text")({"text": [text]})["text"][0]


@given(st.lists(st.none() | pages, min_size=1, max_size=4))
@settings(max_examples=700, deadline=None)
def test_the_kernel_does_what_plain_python_does(rows):
    made = StripHtml("text")({"text": rows})["text"]
    assert made == [None if row is None else strip_html(row) for row in rows]


@given(st.lists(st.sampled_from([*"<>/!-`&;\"'= ab\n", "pre", "li", "td"]), max_size=30).map("".join))
@settings(max_examples=700, deadline=None)
def test_so_it_does_on_noise(text):
    assert one(text) == strip_html(text)


PLAIN = [
    "if a < b and b > c: pass",
    "x<y, x <y> z",
    "List<int> a = new Map<String, List<T>>();",
    "#include <map>\n#include <set>\nstd::vector<a> v;  // <b>",
    "for (i=0; i <a && b> c; i++)",
    "a <b || c>d; if (x <i = 3>)",
    "public <P> void f(Foo<P> x)",
    "cp <source> <dest>   # two  spaces\n\n\n\tand a tab ",
    "the <p> and the <div> element",
    "mail <me@example.org> or <https://example.org/a>",
    "<your-name>, <foo:bar>, <T>, <3, <-, <>",
    "AT&T &copy 2020 ?a=1&copy=2 &#; &#x; &#xg; & ; &nosuchname; &amp",
    "<!-- never closed",
    "<a href=",
    "<p",
    "```html\n<p>AT&amp;T</p>\n```\nand `<br>` and ``<b>x</b> ` ``",
    "",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_html_stays_byte_for_byte(text):
    assert one(text) == text


def test_a_column_without_html_is_handed_back_itself():
    table = pa.table({"text": pa.chunked_array([[*PLAIN, None]])})
    made = StripHtml("text").transform(table)["text"]
    assert [buffer.address for buffer in made.chunk(0).buffers() if buffer] == [
        buffer.address for buffer in table["text"].chunk(0).buffers() if buffer
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AT&amp;T  &lt;b&gt;\n", "AT&T  <b>\n"),
        ("<p>one</p>\n\n<p>two\n  lines</p>", "one\n\ntwo lines"),
        ("<p>one<p>two", "one\n\ntwo"),
        ("<div><div><h1>Title</h1></div><p>Text", "Title\n\nText"),
        ("line<br>line<br/>\nline<br><br>line", "line\nline\nline\n\nline"),
        ("<ul><li>a</li><li><p>b</p></li><li></li></ul>after", "- a\n- b\n\nafter"),
        ("<ol><li>a<ul><li>b</ul><li>c</ol>", "- a\n- b\n- c"),
        ("<table><tr><th>a<th>b<tr><td>1</td><td></td><td><p>3</p></td></tr></table>", "a\tb\n1\t\t3"),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\n\nc"),
        ("<p>x</p><pre>\n  a\n\n   b &lt; c\n</pre><p>y  z", "x\n\n  a\n\n   b < c\n\ny z"),
        ("<pre>a<br>b<span>  c</span></pre>", "a\nb  c"),
        ("<head><title>t</title></head><body>a<script>'</p>'</script>b<style>x{}</style></body>", "ab"),
        ("a<template>x<template>y</template>z</template>b<br>", "ab"),
        ("a<!-- <b> -->b<!-->c", "abc"),
        ("<p>x <![CDATA[a <b> &amp; c]]> y</p>", "x a <b> &amp; c y"),
        ("<?xml version='1.0'?><!DOCTYPE html><p>x", "x"),
        ("<a href='x>y' title=\"<b>\">link</a>", "link"),
        ("<p title='>x</p> y", "x\n\ny"),
        ("<P>Some <B>B</B>old <IMG SRC=x></P>", "Some Bold"),
        ("H<sub>2</sub>O, <b>a</b>\n    code", "H2O, a\n    code"),
        ("# Title\n\n<div align=center>\n<img src=x>\n</div>\n\n* item\n* `<b>`\n", "# Title\n\n* item\n* `<b>`\n"),
        ("<p></p>", ""),
        ("<p>a\v \v\0b" + 70 * "x", "a\v \v\0b" + 70 * "x"),
        ("&#x80;&#150;&#0;&#xD800;&#x110000;&#99999999999999999999;&#x1F600;", "€–\ufffd\ufffd\ufffd\ufffd😀"),
        ("&nGt;&NotEqualTilde;&CounterClockwiseContourIntegral;", "≫⃒≂̸∳"),
        (None, None),
    ],
)
def test_what_changes(text, expected):
    assert one(text) == expected


@pytest.mark.parametrize("piece", ["  ", "\t", " \n ", "\f", "\r", "&amp;", "<b>", "<br>", "</p>", "`"])
def test_nothing_is_missed_between_two_blocks(piece):
    rows = ["<p>" + "a" * before + piece + "b c" + "d" * 70 for before in range(130)]
    assert StripHtml("text")({"text": rows})["text"] == [strip_html(row) for row in rows]


def test_every_named_reference_is_known():
    for name, value in html5.items():
        if name.endswith(";"):
            assert one(f"x &{name} y") == f"x {value} y"
            assert one(f"&{name[:-1]}x") == f"&{name[:-1]}x"


def test_every_element_is_a_tag_in_any_case():
    assert max(map(len, ELEMENTS)) <= LONGEST_NAME
    for name in ELEMENTS:
        assert one(f"a</{name}>b").replace("\n", "") == "ab"
        assert one(f"a</{name.upper()} >b").replace("\n", "") == "ab"


HOSTILE = [
    "<div>",
    '<a href="',
    "<",
    "<a ",
    "<!--",
    "<![CDATA[",
    "<svg>",
    "<svg><svg></svg>",
    "<script>",
    "<script a=1>",
    "&",
    "&#1",
    "&#",
    "</p ",
    "<!doctype ",
    "<ul><li>",
    "<td>",
    "<pre>\n",
    "a <br>",
    "x\n\n<br>",
    "`<b>",
    "`" * 7 + " ",
    "\n``` x",
    '<a x="<a y=\'" z=\'w="',
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_follows_length_whatever_the_text(piece):
    one(piece)
    text = piece * (2_000_000 // len(piece)) + ";"
    start = time.process_time()
    one(text)
    # A quadratic scan would take hours; this allows a slow machine.
    assert time.process_time() - start < 5


def test_bytes_that_are_not_utf8_pass_through():
    bad = [b"<p>\xff\xc3</p>\xe2\x82", b"\xed\xa0\x80 &amp;", b"\xff", b"<b\xff>x</b>", b'<p title="\xc3">\xf0']
    offsets = np.cumsum([0, *map(len, bad)], dtype=np.int32)
    column = pa.Array.from_buffers(pa.string(), len(bad), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(bad))])
    made = StripHtml("text").transform(pa.table({"text": column}))["text"].cast(pa.binary()).to_pylist()
    assert made == [b"\xff\xc3\n\n\xe2\x82", b"\xed\xa0\x80 &", b"\xff", b"<b\xff>x", b"\xf0"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_keeps_its_type_its_nulls_and_its_slice(kind):
    rows = ["<p>x</p>", None, "", "a &lt; b", "same", None, "y<br>"]
    table = pa.table({"text": pa.array(rows, pa.string()).cast(kind)})
    for first in range(len(rows)):
        made = StripHtml("text").transform(table.slice(first, 4))["text"]
        assert made.type == kind
        assert made.to_pylist() == [None if row is None else strip_html(row) for row in rows[first : first + 4]]


def test_it_works_wherever_datasets_do():
    ds = Dataset.from_dict({"a": ["<p>x</p>", None, "1 < 2"], "b": ["", "&amp;", "<br>z"], "n": [1, 2, 3]})
    wanted = {"a": ["x", None, "1 < 2"], "b": ["", "&", "z"], "n": [1, 2, 3]}
    step = StripHtml("a", "b")
    assert step.apply(ds)[:] == wanted
    assert ds.map(step, batched=True)[:] == wanted
    assert ds.with_format("arrow").map(step, batched=True).with_format(None)[:] == wanted
    assert [row["b"] for row in step.apply(IterableDataset.from_generator(lambda: iter(ds)))] == wanted["b"]
    assert step.apply(ds.select([]))[:] == {"a": [], "b": [], "n": []}
    assert step.apply(Dataset.from_dict({"a": [None], "b": [None]}))[:] == {"a": [None], "b": [None]}


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ArgumentError, match="mode='markdown'"):
        StripHtml("text", mode="markdown")
    with pytest.raises(ArgumentError, match="columns"):
        StripHtml()
    assert StripHtml("text") == StripHtml("text", mode="text")
    assert StripHtml("a").fingerprint != Normalize("a", mojibake=False).fingerprint


@pytest.mark.skipif(not (DATA / "corpus" / "html.parquet").exists(), reason="the shared corpus is not here")
@pytest.mark.parametrize(("name", "every"), [("html", 120), ("docs", 60)])
def test_real_pages_as_plain_python_has_them(name, every):
    table = pq.read_table(DATA / "corpus" / f"{name}.parquet", columns=["text"])
    table = table.take(pa.array(range(0, table.num_rows, every)))
    rows = [text for text in table["text"].to_pylist() if len(text) < 60_000]
    assert StripHtml("text")({"text": rows})["text"] == [strip_html(text) for text in rows]
