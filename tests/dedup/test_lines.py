"""`Lines` takes out what is repeated and nothing else, and what it leaves reads as it did."""

from __future__ import annotations

import os
import pickle
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth
from tilth import Pipeline
from tilth.dedup import Lines, _lines
from tilth.dedup._sentences import LOWER, roles
from tilth.dedup._tally import Tally
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.text.strings import from_python, strings_of
from tilth.text.unicode import LETTER, ROLE, SPACE, WORD, tables

DATA = Path(os.environ.get("TILTH_DATA", Path(__file__).parents[3] / "shared" / "data"))
MENU = "Home | Products | About us"
NOTE = "This page uses cookies to work as it should."

PIECES = [
    "a",
    "B",
    "é",
    "e\u0301",
    "中",
    "ไทย",
    "😀",
    "I",
    "it",
    "Mr",
    "etc",
    "E.g",
    "3",
    "12",
    "1999",
    "don't",
    "x" * 30,
]
PIECES += [
    ".",
    ".",
    "!",
    "?",
    "...",
    "…",
    "。",
    "！",
    "؟",
    "”",
    '"',
    ")",
    "'",
    "“",
    "」",
    "*",
    ",",
    "-",
    "# ",
    "- ",
    "1. ",
]
PIECES += [" ", " ", " ", "  ", "\u00a0", "\u3000", "\t", "\n", "\n", "\n\n", "\r\n", "\r", " \n \n", "\u200b", "\x00"]
TEXT = st.one_of(st.text(max_size=15), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
UNITS = st.sampled_from(["line", "paragraph", "sentence"])
# Few different sentences, so that many are repeated, in any arrangement.
WRITTEN = st.lists(
    st.tuples(
        st.sampled_from(["One is here.", "one IS  here.", "Two!", "Three? ", "四在这里。", "五", "Dr. No", "", " "]),
        st.sampled_from([" ", "\n", "\n\n", "\n \n\n", "\r\n", ""]),
    ),
    max_size=7,
).map(lambda pairs: "".join(part for pair in pairs for part in pair))


# The rules in plain Python.


def is_space(character: str) -> bool:
    return int(tables().classes[ord(character)]) & ROLE == SPACE


def is_blank(text: str) -> bool:
    return all(is_space(character) for character in text)


def folded(text: str) -> str:
    lower = "".join(" " if is_space(c) else chr(tables().lower[ord(c)]) for c in text)
    return " ".join(piece for piece in lower.split(" ") if piece)


def lines_of(text: str) -> list[tuple[int, int]]:
    found, at = [], 0
    while at < len(text):
        end = text.find("\n", at)
        stop = len(text) if end < 0 else end
        if not is_blank(text[at:stop]):
            found.append((at, stop - 1 if end > 0 and text[stop - 1] == "\r" else stop))
        at = stop + 1
    return found


def paragraphs_of(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, stop in lines_of(text):
        if found and text[found[-1][1] : start] in ("\n", "\r\n"):
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found


MARKS, WIDE, CLOSERS = ".!?…؟۔।॥።‽", "。！？｡", "\"')]}*_’”»›」』）】》〉］｝｣"


def kind_of_line(text: str, at: int) -> str:
    line = text[at:].split("\n", 1)[0]
    line = line[next((i for i, c in enumerate(line) if not is_space(c)), len(line)) :]
    if not line:
        return "nothing"
    if line.startswith("#"):
        return "heading" if line.lstrip("#").startswith(" ") else "plain"
    if line[0] in ">|":
        return "item"
    digits = len(line) - len(line.lstrip("0123456789"))
    mark = line[digits : digits + 1]
    size = digits + 1 if 1 <= digits <= 3 and mark in (".", ")") else 1 if line[0] in "-*+•" else 0
    return "item" if size and line[size : size + 1] in (" ", "\t") else "plain"


def in_word(character: str) -> bool:
    return int(tables().classes[ord(character)]) & ROLE in (WORD, tilth.text.unicode.EXTEND)


def is_letter(character: str) -> bool:
    return bool(tables().classes[ord(character)] & LETTER)


def goes_on(text: str, start: int, at: int) -> bool:
    if at == start:
        return False
    if text[at - 1] in "'’" and at - 1 > start:
        return is_letter(text[at - 2])
    return in_word(text[at - 1])


def is_short(text: str, start: int, stop: int) -> bool:
    at = stop
    while at > start and stop - at < 8 and text[at - 1].isascii() and text[at - 1].isalpha():
        at -= 1
    if at < stop:
        word = text[at:stop].lower()
        known = {number.to_bytes(8, "little").rstrip(b"\0").decode() for number in _known_abbreviations()}
        return not goes_on(text, start, at) and (len(word) == 1 or word in known)
    while at > start and stop - at < 3 and text[at - 1] in "0123456789":
        at -= 1
    if at < stop:
        return stop - at <= 2 and not goes_on(text, start, at)
    if at == start or text[at - 1].isascii():
        return False
    at -= 1
    while at > start and in_word(text[at]) and not is_letter(text[at]):
        at -= 1
    return in_word(text[at]) and is_letter(text[at]) and not goes_on(text, start, at)


def _known_abbreviations() -> list[int]:
    from tilth.dedup._sentences import abbreviations

    return [int(number) for number in abbreviations()]


def sentences_of(text: str) -> list[tuple[int, int]]:
    found, at, heading = [], 0, False
    while True:
        start = at
        while start < len(text) and is_space(text[start]):
            start += 1
        if start == len(text):
            return found
        if at == 0 or "\n" in text[at:start]:
            line = text.rfind("\n", at, start) + 1
            heading = kind_of_line(text, line) == "heading"
        at, stop = start, None
        while at < len(text) and stop is None:
            character = text[at]
            if character == "\n":
                if heading or kind_of_line(text, at + 1) != "plain":
                    stop, heading = at, False
                at += 1
                continue
            if character not in MARKS + WIDE:
                at += 1
                continue
            first = at
            wide = False
            while at < len(text):
                wide = wide or text[at] in WIDE
                if text[at] not in MARKS + WIDE + CLOSERS and (wide or text[at] not in "“«‹"):
                    break
                at += 1
            marks = sum(c in MARKS + WIDE for c in text[first:at])
            if wide or at == len(text):
                stop = at
                continue
            if not is_space(text[at]) or (marks == 1 and character == "." and is_short(text, start, first)):
                continue
            following = at
            while following < len(text) and is_space(text[following]) and text[following] != "\n":
                following += 1
            if following < len(text) and text[following] == "\n":
                if kind_of_line(text, following + 1) != "plain":
                    stop = at
                    continue
                while following < len(text) and is_space(text[following]):
                    following += 1
            if following < len(text) and roles()[ord(text[following])] & LOWER:
                continue
            stop = at
        stop = len(text) if stop is None else stop
        at = stop
        while is_space(text[stop - 1]):
            stop -= 1
        found.append((start, stop))


SPLIT = {"line": lines_of, "paragraph": paragraphs_of, "sentence": sentences_of}


def without_repeats(texts: list[str | None], step: Lines) -> list[str | None]:
    """What is left of each text; None where it is dropped."""
    split = [[] if text is None else SPLIT[step.unit](text) for text in texts]
    fold = folded if step.normalize else str
    spans: list[list[tuple[str, ...] | None]] = []
    for text, found in zip(texts, split, strict=True):
        said = [fold(text[start:stop]) for start, stop in found]
        windows = [tuple(said[at : at + step.span]) for at in range(len(said))]
        spans.append([w if len(w) == step.span and sum(map(len, w)) >= step.min_chars else None for w in windows])
    total = Counter(window for row in spans for window in row if window is not None)
    so_far: Counter[tuple[str, ...]] = Counter()
    left: list[str | None] = []
    for text, found, windows in zip(texts, split, spans, strict=True):
        goes, stays = set(), set()
        for at, window in enumerate(windows):
            if window is not None and total[window] > step.max_repeats:
                so_far[window] += 1
                (stays if so_far[window] <= step.max_repeats else goes).update(range(at, at + step.span))
        goes -= stays
        left.append(None if text is None else rejoined(text, found, goes))
    return left


def rejoined(text: str, found: list[tuple[int, int]], goes: set[int]) -> str | None:
    if not goes:
        return text
    kept = [at for at in range(len(found)) if at not in goes]
    if not kept:
        return None
    stops = [0, *(stop for _, stop in found)]
    starts = [*(start for start, _ in found), len(text)]
    gaps = [text[stop:start] for stop, start in zip(stops, starts, strict=True)]
    out = gaps[0]
    for before, at in zip([None, *kept], kept, strict=False):
        if before is not None:
            between = gaps[before + 1 : at + 1]
            out += max(between, key=lambda gap: (gap.count("\n"), gap != ""))
        out += text[slice(*found[at])]
    return out + gaps[-1]


# What the kernels say.


def table_of(texts: list[str | None], kind: pa.DataType | None = None) -> Dataset:
    return Dataset(pa.table({"text": pa.array(texts, kind or pa.string())}))


def pieces(text: str, unit: str) -> list[str]:
    data = text.encode()
    found = _lines.units(from_python([text]), unit, 1, 1, True)
    return [data[start:stop].decode() for start, stop in zip(found.starts, found.stops, strict=True)]


def left_of(step: Lines, texts: list[str | None]) -> list[str | None]:
    outcome = step.run(table_of(texts))
    left: list[str | None] = [None] * len(texts)
    rows = (table_of(texts) if outcome.dataset is None else outcome.dataset)["text"][:]
    if outcome.dataset is None:
        rows = [rows[row] for row in outcome.origin]
    for row, text in zip(outcome.origin.tolist(), rows, strict=True):
        left[row] = text
    return left


def test_the_first_copies_stay_and_the_others_go():
    texts = [f"{MENU}\nOne.", f"Two.\n{MENU}", f"{MENU}\nThree.\n{MENU}"]
    assert left_of(Lines("text"), texts) == [f"{MENU}\nOne.", "Two.", "Three."]
    assert left_of(Lines("text", max_repeats=2), texts) == [f"{MENU}\nOne.", f"Two.\n{MENU}", "Three."]
    assert left_of(Lines("text", max_repeats=4), texts) == texts


def test_short_lines_never_count_and_never_go():
    texts = ["}\nreturn x;\n}", "}\nreturn x;\n}"]
    assert left_of(Lines("text"), texts) == texts
    assert left_of(Lines("text", min_chars=9), texts) == [texts[0], "}\n}"]
    assert left_of(Lines("text", min_chars=10), texts) == texts
    # Characters, not bytes, and as they are compared.
    assert left_of(Lines("text", min_chars=4), ["四个汉字", "四个汉字"]) == ["四个汉字", None]
    assert left_of(Lines("text", min_chars=5), ["四个汉字", "四个汉字"]) == ["四个汉字"] * 2
    assert left_of(Lines("text", min_chars=6), ["  a  b c  "] * 2) == ["  a  b c  "] * 2
    assert left_of(Lines("text", min_chars=6, normalize=False), ["  a  b c  "] * 2) == ["  a  b c  ", None]


def test_blank_lines_are_no_copies_of_each_other():
    text = "One line of text that is here.\n\n\n\nAnother line of text.\n\n"
    assert left_of(Lines("text", min_chars=1), [text]) == [text]
    blank = ["", " ", "\n\n", " \n\t\n", "\u3000\n"] * 3
    for unit in SPLIT:
        assert left_of(Lines("text", min_chars=1, unit=unit), blank) == blank
        assert len(Lines("text", min_chars=1, unit=unit).repeated(table_of([*blank, text]))) == 0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"a\n{NOTE}\nb", "a\nb"),
        (f"a\n\n{NOTE}\nb", "a\n\nb"),
        (f"a\n{NOTE}\n\n\nb", "a\n\n\nb"),
        (f"a\n\n{NOTE}\n\nb", "a\n\nb"),
        (f"a\n\n{NOTE}\n{NOTE}\n\n{NOTE}\nb", "a\n\nb"),
        (f"{NOTE}\n\nb", "b"),
        (f"\n\n{NOTE}\n\nb", "\n\nb"),
        (f"a\n\n{NOTE}", "a"),
        (f"a\n\n{NOTE}\n", "a\n"),
        (f"a\r\n{NOTE}\r\n  b  \r\n", "a\r\n  b  \r\n"),
        (f"a  \n\t{NOTE} \t\n\n  b", "a  \n\n  b"),
    ],
)
def test_no_blank_line_is_added_and_ends_stay_as_they_were(text, left):
    assert left_of(Lines("text"), [NOTE, text]) == [NOTE, left]


@pytest.mark.parametrize(
    ("unit", "text", "left"),
    [
        ("sentence", f"He came. {NOTE} He went.", "He came. He went."),
        ("sentence", f"He came.  {NOTE}\nHe went.", "He came.\nHe went."),
        ("sentence", f"He came. {NOTE}\n\nHe went.", "He came.\n\nHe went."),
        ("sentence", f"{NOTE} He went.", "He went."),
        ("sentence", f"他来了。{NOTE} 他走了。", "他来了。 他走了。"),
        ("sentence", f"He came. {NOTE}", "He came."),
        ("paragraph", f"a\nb\n\n{NOTE}\n\nc\n", "a\nb\n\nc\n"),
        ("paragraph", f"a\n\n{NOTE}\n \n\nc", "a\n \n\nc"),
        ("paragraph", f"a\n{NOTE}\n\nc", f"a\n{NOTE}\n\nc"),
    ],
)
def test_sentences_and_paragraphs_are_not_joined(unit, text, left):
    assert left_of(Lines("text", unit=unit), [NOTE, text]) == [NOTE, left]


@pytest.mark.parametrize(
    "sentences",
    [
        ["One is here.", "Two is there!", "Is three?", "Yes."],
        ["Dr. Smith met J. R. Ewing and Mrs. Jones on Jan. 5 at noon.", "He paid $3.50 for it."],
        ["See Fig. 3 and e.g. Sec. 4.2 of vol. II.", "Then go on."],
        ["Das war am 5. Mai bzw. am 6. Juni 1999.", "Danach nicht mehr."],
        ["Version 2.0 is at example.com/a.b?c=d!e now.", "So it is."],
        ['"Is it?" he asked.', '"It is."', "(Or not.)", "**Bold.**", "‘So!’", "„Ja.“", "»Nein.«"],
        ["Wait... what?", "Well…", "Good?!", "“No!”"],
        ["It isn't.", "It's Tom's.", "Let's go."],
        ["Émile wrote to É. Zola.", "А. С. Пушкин родился в 1799 году.", "Он писал."],
    ],
)
def test_sentences_end_where_they_do(sentences):
    for gap in (" ", "  ", "\n", "\n\n", "\r\n"):
        text = gap.join(sentences)
        assert pieces(text, "sentence") == sentences
        assert pieces(f"\n {text}\n", "sentence") == sentences


def test_sentences_of_scripts_without_spaces():
    assert pieces("他来了。他说：“走吧！”然后走了？是的。\n好", "sentence") == [
        "他来了。",
        "他说：“走吧！”",
        "然后走了？",
        "是的。",
        "好",
    ]
    assert pieces("「行こう。」彼は言った。", "sentence") == ["「行こう。」", "彼は言った。"]
    assert pieces("यह एक है। वह दो है।", "sentence") == ["यह एक है।", "वह दो है।"]
    assert pieces("هل هذا واحد؟ نعم.", "sentence") == ["هل هذا واحد؟", "نعم."]
    assert pieces("ეს ერთია. ეს ორია.", "sentence") == ["ეს ერთია.", "ეს ორია."]
    assert pieces("ประโยคแรก ประโยคที่สอง", "sentence") == ["ประโยคแรก ประโยคที่สอง"]


def test_a_sentence_goes_on_over_line_breaks_and_ends_at_headings_items_and_blank_lines():
    assert pieces("A long\nsentence goes\r\non here. And ends", "sentence") == [
        "A long\nsentence goes\r\non here.",
        "And ends",
    ]
    assert pieces("No full stop\n\nNor here\n \t\nEnd", "sentence") == ["No full stop", "Nor here", "End"]
    text = "# Title\nText of it\n- one\n- two\nstill two\n1. first\n12) twelfth\n> quoted\n## End. More\nlast"
    found = [
        "# Title",
        "Text of it",
        "- one",
        "- two\nstill two",
        "1. first",
        "12) twelfth",
        "> quoted",
        "## End.",
        "More",
    ]
    assert pieces(text, "sentence") == [*found, "last"]
    assert pieces("one\n-2 is less than\n#hashtag and\n1999. So", "sentence") == [
        "one\n-2 is less than\n#hashtag and\n1999.",
        "So",
    ]


@settings(max_examples=300, deadline=None)
@given(TEXT, UNITS)
def test_units_are_those_of_the_rules(text, unit):
    text = text.encode("utf-8", "replace").decode()
    assert pieces(text, unit) == [text[start:stop] for start, stop in SPLIT[unit](text)]


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5), UNITS)
def test_units_and_gaps_make_up_the_text(texts, unit):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    found = _lines.units(strings_of(pa.array(texts)), unit, 1, 1, True)
    joined = "".join(texts).encode()
    edges = np.stack([found.starts, found.stops], axis=1).ravel()
    assert (np.diff(edges) >= 0).all()
    for start, stop in zip(found.starts, found.stops, strict=True):
        piece = joined[start:stop].decode()
        assert piece
        assert not is_blank(piece)
    outside = np.ones(len(joined), dtype=bool)
    for start, stop in zip(found.starts, found.stops, strict=True):
        outside[start:stop] = False
    assert is_blank(bytes(np.frombuffer(joined, np.uint8)[outside]).decode("utf-8"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.none(), WRITTEN, TEXT), max_size=6),
    UNITS,
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_what_is_left_is_what_the_rule_leaves(texts, unit, min_chars, max_repeats, span, normalize):
    texts = [text if text is None else text.encode("utf-8", "replace").decode() for text in texts]
    step = Lines("text", min_chars, max_repeats, unit, span, normalize)
    assert left_of(step, texts) == without_repeats(texts, step)


@settings(max_examples=100, deadline=None)
@given(st.lists(WRITTEN, max_size=6), st.sampled_from(["line", "paragraph"]), st.integers(1, 2))
def test_each_unit_is_left_as_often_as_it_may_be_and_a_second_time_changes_nothing(texts, unit, max_repeats):
    step = Lines("text", 3, max_repeats, unit)

    def count(rows: list[str]) -> Counter[str]:
        return Counter(folded(row[slice(*span)]) for row in rows for span in SPLIT[unit](row))

    left = [text for text in left_of(step, texts) if text is not None]
    before, after = count(texts), count(left)
    assert after == {said: min(times, max_repeats) if len(said) >= 3 else times for said, times in before.items()}
    assert left_of(step, left) == left


def test_three_sentences_in_a_row_go_together():
    text = "Alpha is first. Beta is second. Gamma is third."
    step = Lines("text", unit="sentence", span=3)
    texts = [text, f"Here: {text} There.", f"Now beta is second. {text}", "Alpha is first. Beta is second. Delta."]
    assert left_of(step, texts) == [text, texts[1], "Now beta is second.", texts[3]]
    # What overlaps a span that stays does not go with one that goes.
    again = ["Same again here."] * 5
    assert left_of(step, [" ".join(again)]) == [" ".join(again[:3])]


def test_hashes_are_equal_for_units_that_fold_to_the_same():
    same = ["A line  of TEXT, é", "\ta line of text, É  ", "a\u00a0line\u3000of text, é"]
    other = ["a line of text, e\u0301", "a line of text, è", "a lineof text, é"]
    found = _lines.units(from_python([*same, *other]), "line", 1, 1, True)
    assert len(np.unique(found.keys[:3], axis=0)) == 1
    assert len(np.unique(found.keys, axis=0)) == 4
    for length in range(1, 40):
        one = ("Abcdefgh ij" * 4)[:length].strip()
        texts = [one, one.upper(), one.replace(" ", "  "), *(one[:at] + "#" + one[at + 1 :] for at in range(len(one)))]
        keys = _lines.units(from_python(texts), "line", 1, 1, True).keys
        assert (keys[:3] == keys[0]).all()
        assert len(np.unique(keys, axis=0)) == len(one) + 1
        assert len(np.unique(_lines.units(from_python(texts), "line", 1, 1, False).keys, axis=0)) == len(set(texts))
    for before in range(20):
        texts = ["x" * before + blanks + "y" * 9 for blanks in (" ", "  ", " " * 9, "\u00a0")]
        assert len(np.unique(_lines.units(from_python(texts), "line", 1, 1, True).keys, axis=0)) == 1


def test_a_unit_whose_hash_agrees_in_one_half_never_goes(monkeypatch):
    whole = _lines.units

    def three_bits(*arguments):
        found = whole(*arguments)
        found.keys[:, 0] = (found.keys[:, 0] & np.uint64(7)) + np.uint64(1)
        return found

    texts = [f"unique line number {number}" for number in range(200)]
    monkeypatch.setattr(_lines, "units", three_bits)
    assert left_of(Lines("text"), texts) == texts
    assert left_of(Lines("text"), [*texts, texts[0]])[:-1] == texts


def test_bytes_that_are_not_utf8_stay_different_and_stay():
    data = b"\xff\xfe line that is broken\n\xff\xfd line that is broken\n\xff\xfe line that is broken\n\x80"
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])
    outcome = Lines("text").run(Dataset(pa.table({"text": broken}), fingerprint="broken"))
    left = outcome.dataset.data.column("text").chunk(0).cast(pa.binary())[0].as_py()
    assert left == b"\xff\xfe line that is broken\n\xff\xfd line that is broken\n\x80"


def test_a_row_of_which_nothing_is_left_is_dropped_with_evidence():
    texts = ["other text", f"{MENU}\n{NOTE}\nmine", None, f"{NOTE}\n\n{MENU}\n", f"{MENU}\n}}", NOTE.upper()]
    outcome = Lines("text").run(table_of(texts))
    assert outcome.origin.tolist() == [0, 1, 4]
    assert outcome.dataset["text"][:] == ["other text", f"{MENU}\n{NOTE}\nmine", "}"]
    assert outcome.dropped.rows.tolist() == [2, 3, 5]
    assert [Lines.reasons[code - 1] for code in outcome.dropped.codes] == ["null_text", "nothing_left", "nothing_left"]
    assert outcome.dropped.evidence.to_pylist() == [
        {"units": None, "kept_row": None},
        {"units": 2, "kept_row": 1},
        {"units": 1, "kept_row": 1},
    ]


def test_where_nothing_is_repeated_the_data_is_not_written_again():
    outcome = Lines("text").run(table_of([MENU, NOTE, None]))
    assert outcome.dataset is None
    assert outcome.origin.tolist() == [0, 1]
    assert outcome.dropped.rows.tolist() == [2]


def test_rows_without_repeats_keep_their_memory_and_other_columns_their_own(monkeypatch):
    monkeypatch.setattr(tilth.frame, "BATCH_ROWS", 4)
    texts = [f"line that is only here {number}" for number in range(8)] + [NOTE, f"a\n{NOTE}"]
    table = pa.table({"id": pa.array(range(10)), "text": pa.array(texts)})
    outcome = Lines("text").run(Dataset(table))
    written = outcome.dataset.data.column("text")
    assert written.chunk(0).buffers()[2].address == table["text"].chunk(0).buffers()[2].address
    assert outcome.dataset.data.column("id").chunk(0).buffers()[1].address == table["id"].chunk(0).buffers()[1].address
    assert written.to_pylist() == [*texts[:9], "a"]


def test_repeated_says_what_would_go():
    texts = [f"{NOTE}\n{MENU}", None, f"x\n\t{MENU.upper()} \n{NOTE}\nshort", MENU, "a line that is only here", "short"]
    found = Lines("text").repeated(table_of(texts))
    assert found[:] == {"text": [MENU, NOTE], "count": [3, 2], "row": [0, 0]}
    assert Lines("text").repeated(table_of(texts), top=1)["text"][:] == [MENU]
    assert Lines("text", max_repeats=2).repeated(table_of(texts))["text"][:] == [MENU]
    assert Lines("text", min_chars=5).repeated(table_of(texts))["text"][:] == [MENU, NOTE, "short"]
    pairs = Lines("text", min_chars=1, span=2, unit="sentence").repeated(
        table_of(["Ab cd. Ef  gh. E.", "Xy. AB cd.\nEf gh."])
    )
    assert pairs[:] == {"text": ["Ab cd. Ef  gh."], "count": [2], "row": [0]}
    assert Lines("text").repeated(table_of([]))[:] == {"text": [], "count": [], "row": []}
    with pytest.raises(ArgumentError, match="top=0"):
        Lines("text").repeated(table_of(texts), top=0)
    with pytest.raises(MissingColumnError, match="txt"):
        Lines("txt").repeated(table_of(texts))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), WRITTEN), max_size=8), UNITS, st.integers(1, 4))
def test_repeated_counts_as_one_would(texts, unit, top):
    step = Lines("text", 3, unit=unit)
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, int, str]] = {}
    for row, text in enumerate(texts):
        for start, stop in [] if text is None else SPLIT[unit](text):
            said = folded(text[start:stop])
            if len(said) >= 3:
                counts[said] += 1
                first.setdefault(said, (row, start, text[start:stop]))
    expected = sorted((-times, *first[said]) for said, times in counts.items() if times > 1)[:top]
    found = step.repeated(table_of(texts), top).to_list()
    assert found == [{"text": text, "count": -times, "row": row} for times, row, _, text in expected]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_the_column_keeps_its_type(kind):
    texts = [f"{NOTE}\na", None, f"{NOTE}\nb", "c", NOTE]
    made = Lines("text").apply(table_of(texts, kind))
    assert made.data.schema.field("text").type == kind
    assert made["text"][:] == [texts[0], "b", "c"]


def test_any_view_of_a_dataset_gives_the_same_rows(tmp_path):
    texts = [f"{MENU}\nrow {number}\n{NOTE if number % 3 else ''}" for number in range(40)]
    ds = Dataset.from_dict({"n": list(range(40)), "text": texts})
    step = Lines("text")
    chunked = Dataset(pa.concat_tables([ds.data.table.slice(at, 7) for at in range(0, 40, 7)]))
    assert step.apply(chunked)[:] == step.apply(ds)[:]
    ds.save_to_disk(tmp_path / "saved")
    on_disk = Dataset.load_from_disk(tmp_path / "saved")
    for picked in (range(40), range(0, 40, 2), range(5, 20), [7, 3, 3, 30]):
        rows = list(picked)
        expected = without_repeats([texts[row] for row in rows], step)
        kept = [(row, text) for row, text in zip(rows, expected, strict=True) if text is not None]
        for source in (ds, on_disk, ds.with_format("arrow")):
            # The second time the texts come from the cache.
            for _ in range(2):
                made = step.apply(source.select(rows)).with_format(None)
                assert list(zip(made["n"][:], made["text"][:], strict=True)) == kept
    assert step.apply(ds.with_format("numpy")).format["type"] == "numpy"
    both = step.apply(DatasetDict({"a": ds, "b": ds.select([1, 2])}))
    assert both["b"]["text"][:] == without_repeats(texts[1:3], step)
    with pytest.raises(TypeError, match="IterableDataset"):
        step.apply(ds.to_iterable_dataset())


@pytest.mark.parametrize("unit", ["line", "paragraph", "sentence"])
def test_results_do_not_depend_on_threads_batches_or_what_is_remembered(monkeypatch, unit):
    rng = np.random.default_rng(5)
    said = [f"sentence number {number} is here." for number in range(300)]
    texts = [rng.choice(["\n", " ", "\n\n"]).join(rng.choice(said, rng.integers(1, 9))) for _ in range(700)]
    step = Lines("text", max_repeats=2, unit=unit)
    expected, top = left_of(step, texts), step.repeated(table_of(texts), 20)[:]
    assert expected == without_repeats(texts, step)
    for rows in (37, 701):
        for remembered in (0, 5000, 2**28):
            monkeypatch.setattr(tilth.frame, "BATCH_ROWS", rows)
            monkeypatch.setattr(tilth.dedup.lines, "_REMEMBERED", remembered)
            for count in (1, 2, 3):
                tilth.set_threads(count)
                assert left_of(step, texts) == expected
                assert step.repeated(table_of(texts), 20)[:] == top


def test_a_pipeline_accounts_for_every_row():
    ds = Dataset.from_dict({"text": ["drop", f"{MENU}\none", f"{MENU}\ntwo", MENU, None], "n": [0, 1, 2, 3, 4]})
    curated = Pipeline(tilth.filters.WordCount("text", min=2), Lines("text")).run(ds)
    assert curated.dataset[:] == {"text": [f"{MENU}\none", "two"], "n": [1, 2]}
    gone = {row["n"]: (row["rejected_by"], row["reason"]) for row in curated.rejected}
    assert gone[3] == ("Lines", "nothing_left")
    assert '"kept_row":1' in {row["n"]: row["evidence"] for row in curated.rejected}[3].replace(" ", "")
    assert len(gone) == 3


def test_the_tally_counts_as_a_counter_does():
    rng = np.random.default_rng(1)
    tally, expected = Tally(), Counter()
    values = rng.integers(1, 2**64, 5_000, dtype=np.uint64)
    for _ in range(6):
        firsts = rng.choice(values, 4_000)
        firsts[::10] = 0
        tally.add(np.stack([firsts, firsts], axis=1))
        expected.update(firsts[firsts != 0].tolist())
    assert len(tally) == len(expected)
    for times in (0, 1, 5):
        keys, counts = tally.above(times)
        assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == {
            k: n for k, n in expected.items() if n > times
        }
        assert (np.diff(keys.astype(object)) > 0).all()


def test_nothing_nulls_and_one_row():
    for texts in ([], [None], [None, None], [""], ["one line"], [NOTE]):
        outcome = Lines("text", min_chars=1).run(table_of(texts))
        assert outcome.origin.tolist() == [row for row, text in enumerate(texts) if text is not None]
    assert Lines("text").run(Dataset(pa.table({"text": pa.nulls(2)}))).dropped.codes.tolist() == [1, 1]
    assert left_of(Lines("text", min_chars=1), [None, "ab\nab", None, "cd\nab"]) == [None, "ab", None, "cd"]


def test_a_null_with_bytes_behind_it_has_no_lines():
    data = b"a line that is here\na line that is here\n"
    offsets = pa.py_buffer(np.array([0, 20, 40], np.int32))
    array = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x02"), offsets, pa.py_buffer(data)])
    assert array.to_pylist() == [None, "a line that is here\n"]
    outcome = Lines("text").run(Dataset(pa.table({"text": array}), fingerprint="null"))
    assert (outcome.dataset, outcome.origin.tolist()) == (None, [1])


def test_rows_of_ten_megabytes():
    long_line = "word and " * (10 * 2**20 // 9)
    many_lines = "".join(f"this is line number {number}\n" for number in range(400_000))
    assert left_of(Lines("text"), [long_line, many_lines, long_line.upper(), many_lines + "end"]) == [
        long_line,
        many_lines,
        None,
        "end",
    ]
    no_end = "a sentence that goes on " * 400_000
    assert left_of(Lines("text", unit="sentence"), [no_end, f"One. {no_end}"]) == [no_end, f"One. {no_end}"]
    grown = "Ⱥ" * 1_000_000
    assert left_of(Lines("text"), [grown, grown.lower()]) == [grown, None]


def test_a_million_equal_lines():
    ds = Dataset(pa.table({"text": pa.array([NOTE]).take(pa.array(np.zeros(1_000_000, dtype=np.int64)))}))
    outcome = Lines("text").run(ds)
    assert outcome.origin.tolist() == [0]
    assert Lines("text").repeated(ds)[:] == {"text": [NOTE], "count": [1_000_000], "row": [0]}


def test_bad_arguments_are_refused_by_name():
    for wrong in [
        {"min_chars": 0},
        {"max_repeats": 0},
        {"unit": "word"},
        {"span": 0},
        {"span": 101},
        {"normalize": "yes"},
    ]:
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Lines("text", **wrong)
    with pytest.raises(MissingColumnError, match="txt"):
        Lines("txt").apply(table_of(["a"]))
    with pytest.raises(ColumnTypeError, match="'n'"):
        Lines("n").apply(Dataset.from_dict({"n": [1]}))


def test_the_step_survives_pickling_and_names_what_it_reads_and_writes():
    step = Lines("body", 10, 3, "sentence", 3, False)
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step
    assert copy.fingerprint == step.fingerprint != Lines("body", 10, 3, "sentence", 3).fingerprint
    assert (step.reads, step.writes) == (("body",), ("body",))


@pytest.mark.skipif(not (DATA / "corpus").exists(), reason="needs the corpus; set TILTH_DATA to its folder")
@pytest.mark.parametrize("unit", ["line", "paragraph", "sentence"])
def test_on_real_text_it_leaves_what_the_rule_leaves(unit):
    table = pq.read_table(DATA / "corpus/man.parquet", columns=["text"])
    table = table.take(pa.array(np.random.default_rng(2).choice(table.num_rows, 150, replace=False)))
    texts = [unicodedata.normalize("NFC", text[:20_000]) for text in table["text"].to_pylist()]
    step = Lines("text", unit=unit)
    assert left_of(step, texts) == without_repeats(texts, step)
