"""`Substring` removes what is repeated, all of it and nothing else; characters, words and first copies stay whole."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections import defaultdict
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth import frame as frame_module
from tilth.dedup import Substring, _repeats, _sequence
from tilth.dedup._repeats import repeats
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.pipeline import Pipeline
from tilth.text.strings import from_python
from tilth.text.threads import set_threads
from tilth.text.unicode import EXTEND, ROLE, SPACE, SPACELESS, WORD, tables
from tilth.text.words import words

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
UNITS = ["token", "char", "byte"]
KEEPS = ["first", "none"]

PIECES = [
    "a",
    "b",
    "A",
    "ß",
    "É",
    "é",
    "x_1",
    "Ⱥ",
    "中",
    "文",
    "ไ",
    "e\u0301",
    "中\u0301",
    "averylongwordofmanyletters",
]
PIECES += [" ", " ", " ", "\n", "\n\n  ", ". ", ", ", " (", ")", "-", "😀", "\u3000", "\u200b", "\u0301", "\t", "\x00"]
PHRASE = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def table_of(texts, kind=None) -> Dataset:
    return Dataset(pa.table({"text": pa.array(texts, kind or pa.string())}), fingerprint="made")


def of_bytes(rows: list[bytes | None]) -> Dataset:
    """Rows of any bytes, as they come out of a file that is not what it says."""
    ends = np.cumsum([0, *(len(row or b"") for row in rows)]).astype(np.int32)
    valid = pa.py_buffer(np.packbits(np.array([row is not None for row in rows], dtype=bool), bitorder="little"))
    data = pa.py_buffer(b"".join(row or b"" for row in rows))
    array = pa.Array.from_buffers(pa.string(), len(rows), [valid, pa.py_buffer(ends), data])
    return Dataset(pa.table({"text": array}), fingerprint="bytes")


def raw(ds: Dataset) -> list[bytes]:
    column = ds.with_format("arrow")[:]["text"].cast(pa.large_binary()) if len(ds) else pa.array([], pa.binary())
    return column.to_pylist()


# What follows says the same as the step, slowly and in other words.


def role(character: str) -> int:
    code = ord(character)
    return int(tables().classes[0xFFFD if 0xDC80 <= code <= 0xDCFF else code]) & ROLE


def word_places(text: str) -> list[tuple[int, int]]:
    places, start = [], None
    for at, character in enumerate(text):
        kind = role(character)
        inside = start is not None and (kind == EXTEND or (kind == WORD and role(text[start]) == WORD))
        if inside:
            continue
        if start is not None:
            places.append((start, at))
        start = at if kind in (WORD, SPACELESS) else None
    return places if start is None else [*places, (start, len(text))]


def decoded(row: bytes) -> str:
    return row.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def units_of(row: bytes, unit: str) -> list:
    text = decoded(row)
    if unit == "token":
        return ["".join(chr(tables().lower[ord(c)]) for c in text[lo:hi]) for lo, hi in word_places(text)]
    return list(text) if unit == "char" else list(row)


def repeated(rows: list[list], length: int, keep: str) -> list[list[bool]]:
    """By the definition: each window against each other one."""
    stands = defaultdict(list)
    for row, units in enumerate(rows):
        for at in range(len(units) - length + 1):
            stands[tuple(units[at : at + length])].append((row, at))
    gone = [[False] * len(units) for units in rows]
    for places in stands.values():
        for row, at in places:
            others = [other for other in places if other < (row, at) or keep == "none"]
            if any(other != row or abs(there - at) >= length for other, there in others):
                gone[row][at : at + length] = [True] * length
    return gone


def runs_of(gone: list[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff([False, *gone, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def is_space(character: str) -> bool:
    return role(character) == SPACE


def without(row: bytes, gone: list[bool], unit: str) -> bytes:
    """The row without what goes."""
    if unit == "char":
        return encoded("".join(c for c, going in zip(decoded(row), gone, strict=True) if not going))
    if unit == "byte":
        out, at = b"", 0
        for character in decoded(row):
            size = len(encoded(character))
            # A character goes if all of it does.
            out += b"" if all(gone[at : at + size]) else encoded(character)
            at += size
        return out
    text, places = decoded(row), word_places(decoded(row))
    for lo, hi in reversed(runs_of(gone)):
        before, after = text[: places[lo][0]], text[places[hi - 1][1] :]
        after = after[head(after, lambda kind: kind not in (SPACE, WORD, SPACELESS)) :]
        opening = tail(before, lambda kind: kind not in (SPACE, WORD, SPACELESS))
        if opening == len(before) or is_space(before[-1 - opening]):
            before = before[: len(before) - opening]
        left, right = tail(before, lambda kind: kind == SPACE), head(after, lambda kind: kind == SPACE)
        if right == len(after):
            before = before[: len(before) - left]
        elif left == len(before):
            before, after = "", after[after[:right].rfind("\n") + 1 or right :]
        elif left and right:
            if after[:right].count("\n") >= before[-left:].count("\n"):
                before = before[: len(before) - left]
            else:
                after = after[right:]
        base = before[: len(before) - tail(before, lambda kind: kind == EXTEND)]
        joins = base and after and role(base[-1]) == role(after[0]) == WORD
        text = before + (" " if joins else "") + after
    return encoded(text)


def head(text: str, holds) -> int:
    """How many characters at the beginning there are whose role is such."""
    return next((at for at, character in enumerate(text) if not holds(role(character))), len(text))


def tail(text: str, holds) -> int:
    return head(text[::-1], holds)


def expected(rows: list[bytes | None], length: int, unit: str, keep: str) -> tuple[list[bytes], list[int]]:
    """The texts that stay, and the rows that go as repeated."""
    units = [[] if row is None else units_of(row, unit) for row in rows]
    gone = repeated(units, length, keep)
    stay, go = [], []
    for number, row in enumerate(rows):
        if row is None:
            continue
        left = without(row, gone[number], unit)
        empty = all(gone[number]) if unit == "token" else all(is_space(c) for c in decoded(left))
        if left != row and empty:
            go.append(number)
        else:
            stay.append(left)
    return stay, go


@st.composite
def corpora(draw):
    phrases = draw(st.lists(PHRASE, min_size=1, max_size=4))
    parts = st.lists(st.one_of(st.sampled_from(phrases), PHRASE), max_size=4).map("".join)
    return [None if text is None else text.encode() for text in draw(st.lists(st.one_of(st.none(), parts), max_size=6))]


def as_if_large(stack: ExitStack) -> None:
    """Search small data as large data is: in shares, in chunks, and with a short list of runs."""
    for name, value in {"_SMALL": 0, "_UNITS_AT_ONCE": 25, "_RUNS_AT_ONCE": 33}.items():
        stack.enter_context(mock.patch.object(_repeats, name, value))
    stack.enter_context(mock.patch.object(frame_module, "BATCH_ROWS", 2))


@settings(max_examples=250, deadline=None)
@given(corpora(), st.integers(1, 9), st.sampled_from(UNITS), st.sampled_from(KEEPS), st.booleans())
def test_what_goes_is_what_the_definition_says(rows, length, unit, keep, large):
    with ExitStack() as stack:
        if large:
            as_if_large(stack)
        step = Substring("text", length, unit, keep)
        ds = of_bytes(rows)
        outcome = step.run(ds)
        stay, go = expected(rows, length, unit, keep)
        nulls = [number for number, row in enumerate(rows) if row is None]
        assert raw(step.apply(ds)) == stay
        assert outcome.dropped.rows.tolist() == sorted([*nulls, *go])
        assert [step.reasons[code - 1] for code in outcome.dropped.codes] == [
            "null_text" if rows[number] is None else "repeated" for number in outcome.dropped.rows
        ]
        assert sorted([*outcome.origin, *outcome.dropped.rows]) == list(range(len(rows)))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([b"\xff", b"\xe4", b"\xb8", b"\xad", b"\xf0\x9f", b"a", b"\xe4\xb8\xad", b" "]))),
    st.integers(1, 6),
    st.sampled_from(UNITS),
    st.sampled_from(KEEPS),
)
def test_bytes_that_are_not_utf8_are_units_like_others(rows, length, unit, keep):
    rows = [b"".join(row) for row in rows]
    assert raw(Substring("text", length, unit, keep).apply(of_bytes(rows))) == expected(rows, length, unit, keep)[0]


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(1, 8), st.sampled_from(UNITS), st.sampled_from(KEEPS), st.booleans())
def test_spans_are_what_goes_and_where_it_stays(rows, length, unit, keep, large):
    with ExitStack() as stack:
        if large:
            as_if_large(stack)
        step = Substring("text", length, unit, keep)
        ds = of_bytes(rows)
        spans = step.spans(ds).to_pylist()
        outcome = step.run(ds)
    gone = [[False] * len(row or b"") for row in rows]
    for span in spans:
        row, lo, hi = span["row"], span["start"], span["end"]
        assert lo < hi <= len(rows[row])
        assert not any(gone[row][lo:hi])
        gone[row][lo:hi] = [True] * (hi - lo)
    assert [(span["row"], span["start"]) for span in spans] == sorted((span["row"], span["start"]) for span in spans)
    # A space may stand where something went.
    left = [
        bytes(byte for byte, going in zip(row or b"", gone[at], strict=True) if not going)
        for at, row in enumerate(rows)
    ]
    made = raw(outcome.dataset if outcome.dataset is not None else ds.select(outcome.origin))
    for row, text in zip(outcome.origin, made, strict=True):
        assert text.replace(b" ", b"") == left[row].replace(b" ", b"")
        assert len(text) - len(left[row]) <= (len(runs_of(gone[row])) if unit == "token" else 0)
    for span in spans:
        if span["kept_row"] is None:
            assert keep == "none"
            continue
        assert (span["kept_row"], span["kept_start"]) < (span["row"], span["end"])
        here = rows[span["row"]][span["start"] : span["end"]]
        there = rows[span["kept_row"]][span["kept_start"] : span["kept_end"]]
        assert units_of(here, unit) == units_of(there, unit) or (unit == "byte" and here == there)
        if keep == "first" and unit != "token":
            assert not any(gone[span["kept_row"]][span["kept_start"] : span["kept_end"]])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.integers(1, 24),
    st.booleans(),
    st.sampled_from([np.uint8, np.int32]),
    st.booleans(),
)
def test_every_copy_is_found_and_leads_to_what_stays(seed, letters, length, all_copies, kind, large):
    chance = random.Random(seed)
    rows: list[list[int]] = []
    for _ in range(chance.randint(0, 6)):
        made = [chance.randrange(letters) for _ in range(chance.choice([0, 1, 5, 60]))]
        if rows and chance.random() < 0.6:
            other = chance.choice(rows)
            made += other[chance.randrange(len(other) + 1) :] + chance.choice(rows)
        if chance.random() < 0.4:
            made += [chance.randrange(letters) for _ in range(chance.randint(1, 12))] * chance.randint(1, 12)
        rows.append(made)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    units = np.array([*(unit for row in rows for unit in row), 0], dtype=kind)
    with ExitStack() as stack:
        if large:
            as_if_large(stack)
        found = repeats(units, offsets, length, all_copies=all_copies)
        # Which copies are named must not depend on where the work was parted.
        stack.enter_context(mock.patch.object(_repeats, "_RUNS_AT_ONCE", 2**16))
        at_once = repeats(units, offsets, length, all_copies=all_copies)
        assert [found.begins.tolist(), found.sources.tolist()] == [at_once.begins.tolist(), at_once.sources.tolist()]
    gone = np.zeros(offsets[-1], dtype=np.bool_)
    for begin, end in zip(found.begins, found.ends, strict=True):
        assert begin < end and not gone[begin:end].any()
        gone[begin:end] = True
    keep = "none" if all_copies else "first"
    assert gone.tolist() == [going for row in repeated(rows, length, keep) for going in row]
    settled = found.settled(offsets)
    assert sum(settled.ends - settled.begins) == sum(gone)
    firsts = np.ones(len(gone), dtype=np.bool_)
    for begin, end, source in zip(settled.begins, settled.ends, settled.sources, strict=True):
        firsts[begin:end] = source < 0
    for pieces in (found, settled):
        for begin, end, source in zip(pieces.begins, pieces.ends, pieces.sources, strict=True):
            assert source < begin
            assert np.searchsorted(offsets, begin, "right") == np.searchsorted(offsets, end - 1, "right")
            if source >= 0:
                last = source + end - begin
                assert (units[begin:end] == units[source:last]).all()
                assert np.searchsorted(offsets, source, "right") == np.searchsorted(offsets, last - 1, "right")
                assert pieces is found or (firsts | ~gone)[source:last].all()
            else:
                assert all_copies
    traced = found.trace(np.flatnonzero(gone))
    assert (units[traced] == units[np.flatnonzero(gone)]).all()
    assert (firsts | ~gone)[traced].all()


NOTICE = "Copying and distribution of this file, with or without modification, are permitted in any medium."


def test_the_first_copy_stays_and_the_others_go():
    ds = table_of([f"One. {NOTICE}", f"Two. {NOTICE} End.", f"{NOTICE}\n\nThree."])
    assert Substring("text", 10).apply(ds)["text"][:] == [f"One. {NOTICE}", "Two. End.", "Three."]
    assert Substring("text", 10, keep="none").apply(ds)["text"][:] == ["One.", "Two. End.", "Three."]
    assert Substring("text", 16).apply(ds)["text"][:] == ds["text"][:]


def test_a_row_that_is_repeated_as_a_whole_is_dropped_and_its_evidence_names_the_first_copy():
    ds = table_of(["unique row", f"before: {NOTICE}", NOTICE, NOTICE.upper(), NOTICE + " And more."])
    step = Substring("text", 10)
    outcome = step.run(ds)
    assert outcome.origin.tolist() == [0, 1, 4]
    assert outcome.dropped.rows.tolist() == [2, 3]
    assert outcome.dropped.codes.tolist() == [2, 2]
    assert outcome.dropped.evidence.to_pylist() == [{"kept_row": 1}, {"kept_row": 1}]
    assert outcome.dataset["text"][:] == ["unique row", f"before: {NOTICE}", "And more."]
    evidence = Substring("text", 10, keep="none").run(table_of(["x y", NOTICE, NOTICE])).dropped.evidence
    assert evidence.to_pylist() == [{"kept_row": None}, {"kept_row": 1}]


def test_evidence_leads_past_copies_of_copies_to_the_text_that_stays():
    long = " ".join(f"w{number}" for number in range(40))
    ds = table_of([f"{long} head", f"tail {long}", f"{long} head tail", long])
    outcome = Substring("text", 10).run(ds)
    assert outcome.dropped.rows.tolist() == [3]
    assert outcome.dropped.evidence.to_pylist() == [{"kept_row": 0}]


def test_words_stay_whole_where_characters_are_cut():
    ds = table_of(["the beginning of it all was small", "in the beginnings of it all was smaller"])
    assert Substring("text", 4).apply(ds)["text"][1] == "in the beginnings smaller"
    assert Substring("text", 12, "char").apply(ds)["text"][1] == "in ser"


def test_a_character_is_never_split():
    # The last byte of 中 and all of 文 are repeated, and so are the first two bytes of 字.
    rows = ["\u4e2d文\u5b57", "\u4ead文\u5b58"]
    assert rows[0].encode()[2:8] == rows[1].encode()[2:8]
    ds = table_of(rows)
    assert Substring("text", 6, "byte").apply(ds)["text"][:] == [rows[0], "\u4ead\u5b58"]
    assert Substring("text", 2, "char").apply(ds)["text"][:] == rows


def test_no_window_reaches_over_the_end_of_a_row():
    ds = table_of(["one two three", "four five six", "three four one two three four five six"])
    assert Substring("text", 6).apply(ds)["text"][:] == ds["text"][:]
    assert Substring("text", 3).apply(ds)["text"][:] == [*ds["text"][:2], "three four"]
    assert Substring("text", 4, "char").apply(table_of(["ab", "cd", "abcd", "", "abcd"]))["text"][:] == [
        "ab",
        "cd",
        "abcd",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Start. {} End.", "Start. End."),
        ("Start.\n\n{}\n\nEnd.", "Start.\n\nEnd."),
        ("Start.\n\n{} End.", "Start.\n\nEnd."),
        ("Start. {}\n\nEnd.", "Start.\n\nEnd."),
        ("Start.\n  {}\n    End.", "Start.\n    End."),
        ("{}\n    indented", "    indented"),
        ("{} After", "After"),
        ("Before {}", "Before"),
        ("Before.\n\n{}\n", "Before.\n"),
        ('He said "{}" and left.', "He said and left."),
        ("See ({}); more.", "See more."),
        ("pre-{}-post", "pre-post"),
        ("x={}y", "x=y"),
        ("字{}字", "字字"),
        ("a字 {} 字b", "a字 字b"),
    ],
)
def test_what_is_left_around_words_reads_well(text, left):
    sentence = "Here is one sentence of eight plain words."
    assert Substring("text", 8).apply(table_of([sentence, text.format(sentence)]))["text"][1] == left


def test_words_that_would_become_one_are_kept_apart():
    ds = table_of(["中文字", "abc中文字def"])
    assert Substring("text", 3).apply(ds)["text"][:] == ["中文字", "abc def"]


def test_words_are_equal_in_lower_case_and_whatever_stands_between():
    ds = table_of(["Straße der Einheit, 12", "x STRASSE DER EINHEIT 12", "y straße -- der\n\nEINHEIT: 12!"])
    assert Substring("text", 4).apply(ds)["text"][:] == [ds["text"][0], ds["text"][1], "y"]


def test_words_of_any_length_and_script_are_told_apart():
    alike = ["a" * size for size in (1, 7, 8, 9, 15, 16, 17, 24, 25, 40)]
    alike += [word[:-1] + "b" for word in alike]
    alike += ["é" * size for size in (4, 8, 9, 20)] + ["_", "__", "a_b", "中", "文"]
    text = " ".join([*alike, *alike])
    made = Substring("text", 1).apply(table_of([text, text.upper()]))["text"][:]
    assert words(made[0]) == alike
    assert len(made) == 1


def test_long_words_with_the_same_hash_are_told_apart():
    vocabulary = _sequence._Vocabulary()

    def numbers(*found: bytes) -> list[int]:
        letters = np.frombuffer(b"".join(word + b"\0" for word in found), dtype=np.uint8)
        starts = np.cumsum([0, *(len(word) + 1 for word in found[:-1])]).astype(np.uint64)
        keys = np.stack([np.full(len(found), 7, dtype=np.uint64), _sequence._LONG | starts], axis=1)
        return vocabulary.join(keys, letters).tolist()

    one, two, three = b"a" * 30, b"a" * 29 + b"b", b"a" * 31
    assert numbers(one, two) == [0, 1]
    assert numbers(three, two, one) == [2, 1, 0]


def test_a_text_that_repeats_itself_keeps_its_first_turn():
    assert Substring("text", 4, "char").apply(table_of(["abcd" * 10]))["text"][:] == ["abcd"]
    # The window that repeats itself needs four characters of its own: the first whole turn after them is a copy.
    assert Substring("text", 4, "char").apply(table_of(["abc" * 10]))["text"][:] == ["abcabc"]
    assert Substring("text", 4, "char").apply(table_of(["a" * 50]))["text"][:] == ["aaaa"]
    assert Substring("text", 4, "char").apply(table_of(["a" * 7]))["text"][:] == ["a" * 7]
    assert Substring("text", 4, "char", "none").run(table_of(["a" * 50])).origin.tolist() == []


@pytest.mark.parametrize("keep", KEEPS)
def test_long_repetitions_take_no_time(keep):
    size, length = 3_000_000, 50
    kept = length if keep == "first" else 0
    for rows in (["a" * size], ["ab" * size], ["a" * length, "a" * size], ["ab" * 25 + "x", "ab" * size]):
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        units = np.frombuffer("".join(rows).encode(), dtype=np.uint8)
        found = repeats(units, offsets, length, all_copies=keep == "none")
        assert offsets[-1] - (found.ends - found.begins).sum() == kept + ("x" in rows[0])
    ds = table_of([NOTICE] * 100_000)
    assert Substring("text", 10, keep=keep).run(ds).origin.tolist() == ([0] if keep == "first" else [])


def test_a_long_window_of_a_short_cycle_takes_no_time():
    length = 100_000
    rows = ["ab" * (length // 2) + "x", "ab" * 1_000_000]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    found = repeats(np.frombuffer("".join(rows).encode(), dtype=np.uint8), offsets, length)
    assert offsets[-1] - (found.ends - found.begins).sum() == length + 1


@pytest.mark.parametrize("large", [True, False])
def test_cycles_that_other_rows_hold_in_part_are_followed_to_their_ends(large):
    length = 8
    with ExitStack() as stack:
        if large:
            as_if_large(stack)
        for period in range(1, 7):
            for more in range(period + 1):
                cycle = [*range(period)] * 40
                rows = [
                    [*cycle[: length + more], 90],
                    [*cycle[: 5 * length + more], 91],
                    [*cycle[1:70], 92, *cycle[:30]],
                ]
                offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
                for kind in (np.uint8, np.int32):
                    found = repeats(np.array([*chain.from_iterable(rows)], dtype=kind), offsets, length)
                    gone = np.zeros(offsets[-1], dtype=np.bool_)
                    for begin, end in zip(found.begins, found.ends, strict=True):
                        gone[begin:end] = True
                    assert gone.tolist() == [*chain.from_iterable(repeated(rows, length, "first"))]


def test_windows_with_the_same_hash_are_told_apart():
    word = np.zeros(1, dtype=np.uint8)
    while len(word) < 2048:
        word = np.concatenate([word, 1 - word])
    # Whatever the base, the polynomials of a Thue-Morse word and of its complement are equal modulo 2**64.
    base, hashes = int(_repeats._BASE), []
    for units in (word, 1 - word):
        hashed = 0
        for unit in units.tolist():
            hashed = (hashed * base + unit) % 2**64
        hashes.append(hashed)
    assert hashes[0] == hashes[1]
    units = np.concatenate([word, 1 - word, 1 - word, word, word])
    offsets = np.arange(6, dtype=np.int64) * 2048
    with mock.patch.object(_repeats, "_candidates", lambda *_: (offsets[:-1], offsets[:-1] + 1)):
        found = repeats(units, offsets, 2048)
    assert found.begins.tolist() == offsets[2:5].tolist()
    assert found.sources.tolist() == [2048, 0, 0]


def test_a_table_that_grows_loses_nothing():
    length, rows = 40, 60_000
    units = np.random.default_rng(1).integers(0, 256, rows * length).astype(np.uint8)
    # Each row is one window: none is found by following another one.
    offsets = np.arange(2 * rows + 1, dtype=np.int64) * length
    found = repeats(np.concatenate([units, units]), offsets, length)
    assert found.begins.tolist() == offsets[rows:-1].tolist()
    assert found.sources.tolist() == offsets[:rows].tolist()


def test_a_row_of_ten_megabytes():
    page = "".join(f"line {number} of a long page\n" for number in range(400_000))
    ds = table_of(["a head", page, page + "a tail", "x " + page[page.index("line 200000 ") :]])
    for unit in UNITS:
        made = Substring("text", 50, unit).apply(ds)["text"][:]
        assert [len(text) for text in made[:2]] == [6, len(page)]
        assert [text.strip() for text in made[2:]] == ["a tail", "x"]


@pytest.mark.parametrize("unit", UNITS)
def test_real_text_against_all_windows_of_it(unit):
    path = DATA / "corpus" / "docs.parquet"
    if not path.exists():
        pytest.skip("the real data is not here")
    texts = pq.read_table(path, columns=["text"])["text"].slice(20_000, 120).to_pylist()
    length = 50 if unit != "token" else 20
    seen: set[object] = set()
    stay = []
    for text in texts:
        row = text.encode()
        units = units_of(row, unit)
        keys = [hash(tuple(units[at : at + length])) for at in range(len(units) - length + 1)]
        gone = np.zeros(len(units) + 1, dtype=np.int64)
        for at, key in enumerate(keys):
            # A window is entered once it lies before the one that is looked up.
            if at >= length:
                seen.add(keys[at - length])
            if key in seen:
                gone[at] += 1
                gone[at + length] -= 1
        seen.update(keys)
        left = without(row, (np.cumsum(gone)[:-1] > 0).tolist(), unit)
        if left == row or (words(left.decode()) if unit == "token" else left.strip()):
            stay.append(left.decode())
    assert sum(map(len, stay)) < 0.9 * sum(map(len, texts))
    assert Substring("text", length, unit).apply(table_of(texts))["text"][:] == stay


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("keep", KEEPS)
def test_threads_batches_and_chunks_make_no_difference(unit, keep):
    chance = random.Random(3)
    lines = [" ".join(chance.choice(["red", "Grün", "蓝", "noir"]) for _ in range(30)) for _ in range(40)]
    texts = ["\n".join(chance.choice(lines) for _ in range(chance.randint(0, 9))) or None for _ in range(300)]
    # With keep="none" nothing else would be left of any text.
    texts = [text and (text if at % 3 else f"{text} the end of text {at}") for at, text in enumerate(texts)]
    step = Substring("text", 25, unit, keep)
    results = []
    chunks = pa.chunked_array([pa.array(texts[at : at + 7], pa.string()) for at in range(0, 300, 7)])
    cuts = [{"BATCH_ROWS": 16_384}, {"BATCH_ROWS": 13}]
    for ds in (table_of(texts), Dataset(pa.table({"text": chunks}), fingerprint="chunks")):
        for threads in (1, 2, 5):
            for cut in cuts:
                set_threads(threads)
                with ExitStack() as stack:
                    stack.enter_context(mock.patch.multiple(frame_module, **cut))
                    stack.enter_context(mock.patch.object(_repeats, "_SMALL", 0))
                    outcome = step.run(ds)
                    evidence = outcome.dropped.evidence.to_pylist()
                    results.append((outcome.origin.tolist(), evidence, outcome.dataset["text"][:], step.spans(ds)))
    assert len(results[0][2]) < 300
    assert all(result == results[0] for result in results)


def test_selected_and_shuffled_rows_are_counted_as_they_stand():
    ds = Dataset.from_dict({"text": [NOTICE, "x " + NOTICE, "alone", NOTICE + " z", None], "id": range(5)})
    for order in ([1, 3, 0, 2, 4], [0, 1, 3], [4, 3, 2, 1, 0], []):
        there = ds.select(order)
        plain = Dataset.from_list([ds[row] for row in order]) if order else ds.select(range(0))
        step = Substring("text", 10)
        made = step.apply(there)
        assert made.to_list() == step.apply(plain).to_list()
        assert made._indices is None
        assert step.spans(there) == step.spans(plain)
    assert Substring("text", 10).apply(ds.select([3, 1, 0, 2])).to_list() == [
        {"text": NOTICE + " z", "id": 3},
        {"text": "x", "id": 1},
        {"text": "alone", "id": 2},
    ]


@pytest.mark.parametrize("keep_all", [True, False])
def test_other_columns_features_and_formats_stay(keep_all):
    features = Features({"n": Value("int16"), "text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    texts = [NOTICE, "x " + NOTICE, "alone" if keep_all else NOTICE]
    ds = Dataset.from_dict({"n": [1, 2, 3], "text": texts, "label": [0, 1, 0]}, features=features)
    made = Substring("text", 10).apply(ds.with_format("numpy"))
    assert made.format["type"] == "numpy"
    assert made.features == features
    assert made.with_format(None)["n"][:] == ([1, 2, 3] if keep_all else [1, 2])
    assert list(made.with_format(None)["text"][:]) == [NOTICE, "x", "alone"][: 3 if keep_all else 2]
    assert ds["text"][:] == texts
    nested = Dataset.from_dict({"text": [NOTICE, NOTICE], "list": [[1, 2], []], "map": [{"a": "b"}, {"a": None}]})
    assert Substring("text", 10).apply(nested).to_list() == [{"text": NOTICE, "list": [1, 2], "map": {"a": "b"}}]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_the_type_of_the_column_stays(kind):
    column = pa.array([NOTICE, "x " + NOTICE, None], pa.string()).cast(kind)
    made = Substring("text", 10).run(Dataset(pa.table({"text": column}), fingerprint="kind")).dataset
    assert made.data.schema.field("text").type == kind
    assert made.data.column("text").to_pylist() == [NOTICE, "x"]


def test_bytes_beneath_a_null_are_no_text():
    text = " ".join(f"word{number}" for number in range(30)).encode()
    array = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            pa.py_buffer(b"\x02"),
            pa.py_buffer(np.array([0, len(text), 2 * len(text)], dtype=np.int32)),
            pa.py_buffer(text * 2),
        ],
    )
    ds = Dataset(pa.table({"text": array}), fingerprint="beneath")
    for unit in UNITS:
        outcome = Substring("text", 15, unit).run(ds)
        assert (outcome.origin.tolist(), outcome.dropped.rows.tolist(), outcome.dataset) == ([1], [0], None)


def test_nothing_is_written_where_nothing_changes():
    for texts in ([], [None], [None, None], ["", " "], ["one text", "another one"], [NOTICE, NOTICE]):
        for unit in UNITS:
            ds = table_of(texts)
            outcome = Substring("text", 10, unit).run(ds)
            assert outcome.dataset is None
            assert Substring("text", 10, unit).apply(ds)["text"][:] == [
                t for t in dict.fromkeys(texts) if t is not None
            ]
            assert Substring("text", 2**31 - 1, unit).run(ds).dataset is None
    assert Substring("text", 10).apply(Dataset(pa.table({"text": pa.nulls(3)})))["text"][:] == []


def test_white_space_alone_goes_only_if_something_went():
    ds = table_of(["   ", f"  {NOTICE}", f"\n{NOTICE}\n ", "\u3000\t"])
    assert Substring("text", 10).run(ds).dropped.rows.tolist() == [2]
    assert Substring("text", 90, "char").run(ds).dropped.rows.tolist() == [2]


def test_splits_are_done_each_by_itself():
    ds = DatasetDict({"train": table_of([NOTICE, NOTICE]), "test": table_of([NOTICE])})
    made = Substring("text", 10).apply(ds)
    assert {split: part["text"][:] for split, part in made.items()} == {"train": [NOTICE], "test": [NOTICE]}


def test_the_result_is_found_again_on_disk(tmp_path):
    Dataset.from_dict({"text": [NOTICE, "x " + NOTICE, NOTICE], "n": [1, 2, 3]}).save_to_disk(str(tmp_path / "ds"))
    ds = load_from_disk(str(tmp_path / "ds"))
    first = Substring("text", 10).apply(ds)
    files = sorted((tmp_path / "ds").glob("cache-*.arrow"))
    assert len(files) == 1
    again = Substring("text", 10).apply(ds)
    assert again._fingerprint == first._fingerprint
    assert again.to_list() == first.to_list() == [{"text": NOTICE, "n": 1}, {"text": "x", "n": 2}]
    assert sorted((tmp_path / "ds").glob("cache-*.arrow")) == files


def test_a_pipeline_accounts_for_every_row(tmp_path):
    texts = ["alone", NOTICE, None, f"x {NOTICE}", NOTICE.lower(), "", NOTICE]
    ds = Dataset.from_dict({"text": texts, "id": range(7)})
    curated = Pipeline(Substring("text", 10)).run(ds, cache_dir=tmp_path)
    assert curated.dataset.to_list() == [
        {"text": "alone", "id": 0},
        {"text": NOTICE, "id": 1},
        {"text": "x", "id": 3},
        {"text": "", "id": 5},
    ]
    rejected = {row["id"]: (row["reason"], row["evidence"]) for row in curated.rejected.to_list()}
    assert {row: reason for row, (reason, _) in rejected.items()} == {2: "null_text", 4: "repeated", 6: "repeated"}
    assert [json.loads(rejected[row][1])["kept_row"] for row in (4, 6)] == [1, 1]


def test_bad_arguments_are_refused_by_name():
    for arguments, named in [
        ({"column": ""}, "column"),
        ({"column": ["text"]}, "column"),
        ({"min_length": 0}, "min_length"),
        ({"min_length": 2.5}, "min_length"),
        ({"min_length": True}, "min_length"),
        ({"min_length": 2**31}, "min_length"),
        ({"unit": "word"}, "unit"),
        ({"keep": "last"}, "keep"),
    ]:
        with pytest.raises(ArgumentError, match=named):
            Substring(**{"column": "text", **arguments})
    ds = Dataset.from_dict({"text": ["a"], "n": [1]})
    for method in (Substring("txt").apply, Substring("txt").spans):
        with pytest.raises(MissingColumnError, match="txt"):
            method(ds)
    for method in (Substring("n").apply, Substring("n").spans):
        with pytest.raises(ColumnTypeError, match="n"):
            method(ds)
    with pytest.raises(TypeError, match="all rows at once"):
        ds.map(Substring("text"), batched=True)


def test_the_step_is_its_fields():
    step = Substring("text", 20, "char", "none")
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step
    assert copy.fingerprint == step.fingerprint != Substring("text", 20, "char").fingerprint
    assert (step.reads, step.writes) == (("text",), ("text",))


def test_the_tokeniser_is_the_shared_one():
    from tilth.dedup._sequence import places

    for text in [
        "",
        "Hello, wörld_1 — 中文 ไทย e\u0301\u0301x \u0301 a\u200db, 12中\u0301b",
        "x" * 100 + " y",
        "é" * 20,
    ]:
        strings = from_python([text + " and more text behind it, so that all paths are taken"])
        row = strings.text(0)
        assert row is not None
        found = words(row)
        zeros, numbers = np.zeros(len(found), dtype=np.int64), np.arange(len(found), dtype=np.int64)
        begins, ends = places(strings, "token", zeros, numbers)
        pieces = [row.encode()[lo:hi].decode() for lo, hi in zip(begins, ends, strict=True)]
        assert [words(piece) for piece in pieces] == [[word] for word in found]
        assert units_of(row.encode(), "token") == found
