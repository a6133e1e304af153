"""GopherQuality counts what a plain reading of the rules counts, and drops a row for the first rule it breaks."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Value
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.filters import GopherQuality
from tilth.text.unicode import CONTROL, EXTEND, LETTER, ROLE, SPACE, SPACELESS, SYMBOL, WORD, tables

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
PROSE = "It was the best of times and it was the worst of times, as people say to those that have lived with both. "
ODD = list(
    "aA1_.…-•#'é ß\t\n\r\v\f\x1c\x1d\x1e\x1f\x00\x7f\x85\xa0中の\u0301\u200b\u200d\u2028\u2029\u3000\ufeff\ufffd😀İK"
)

texts = st.one_of(
    st.text(st.sampled_from(ODD), max_size=150),
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            [
                "the ",
                "The",
                "of\n",
                "with",
                "x" * 64,
                "1234",
                "...",
                "- ",
                "•\t",
                "….",
                "\r\n",
                " " * 63,
                "привет ",
                "中文",
            ]
        ),
        max_size=60,
    ).map("".join),
)


def tokens(text: str) -> list[tuple[str, bool]]:
    """Each token and whether it is a word, read character by character."""
    found: list[list[str]] = []
    state = SPACE
    for character in text:
        role = int(tables().classes[ord(character)] & ROLE)
        if role == EXTEND:
            if state in (WORD, SPACELESS, SYMBOL):
                found[-1].append(character)
            continue
        if role in (WORD, SYMBOL) and role == state:
            found[-1].append(character)
        elif role in (WORD, SPACELESS, SYMBOL):
            found.append([character])
        state = SPACE if role == CONTROL else role
    return [("".join(token), _role(token[0]) != SYMBOL) for token in found]


def _role(character: str) -> int:
    return int(tables().classes[ord(character)] & ROLE)


def metrics(text: str, stop_words: tuple[str, ...] = STOP_WORDS) -> dict[str, float]:
    """The metrics as the rules say them, with Python's own strings."""
    classes, lower = tables().classes, tables().lower
    every = tokens(text)
    words = [token for token, is_word in every if is_word]
    folded = {"".join(chr(lower[ord(character)]) for character in word) for word in words}
    lettered = [word for word in words if any(classes[ord(character)] & LETTER for character in word)]
    lines = text.splitlines()
    bullets = [line for line in lines if line.lstrip().startswith(("-", "•"))]
    trailing = [line for line in lines if line.rstrip().endswith(("...", "…"))]

    def share(part: int, whole: int) -> float:
        return part / whole if whole else 0.0

    return {
        "words": len(words),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "hash_ratio": share(text.count("#"), len(every)),
        "ellipsis_ratio": share(text.count("...") + text.count("…"), len(every)),
        "bullet_line_ratio": share(len(bullets), len(lines)),
        "ellipsis_line_ratio": share(len(trailing), len(lines)),
        "alphabetic_word_ratio": share(len(lettered), len(every)),
        "stop_words": len(folded & {word.lower() for word in stop_words}),
    }


def measured(column: list[str | None] | pa.Array, **fields: object) -> list[dict[str, float]]:
    values = GopherQuality("text", **fields).metrics(pa.table({"text": column}))
    return pa.table(values).to_pylist()


def reason(text: str | None, **fields: object) -> str | None:
    step = GopherQuality("text", **fields)
    (code,) = step.verdict(pa.table({"text": pa.array([text], pa.string())})).codes
    return None if code == 0 else step.reasons[code - 1]


@given(st.lists(texts, max_size=4))
@example(["x" * 63 + "-" * 63 + "." * 65, "a" * 64, "a" * 63 + "é", "." * 63 + " ...", "- " * 40])
@example([" " * 62 + "12", "..é.", ".." + " " * 62 + ".", "." * 62 + "中..", "of" * 32, "... " * 16, "…" * 30])
@example(["the\u0301 the", "-\u0301-", " \u0301a", "a\r\n\r\n-\r", "a...\u2028\u3000-", "\x1f- x\x1f...\x1f"])
@settings(max_examples=400, deadline=None)
def test_kernel_counts_what_the_plain_reference_counts(rows):
    assert measured(pa.array(rows, pa.string())) == [metrics(row) for row in rows]


@given(texts, st.integers(0, 70))
@settings(max_examples=150, deadline=None)
def test_counts_do_not_depend_on_where_a_text_lies_in_the_buffer(text, shift):
    column = pa.array(["." * shift, text, "the..." * shift], pa.large_string())
    assert measured(column)[1] == metrics(text)
    assert measured(column.slice(1, 1)) == [metrics(text)]


@given(texts, texts)
@settings(max_examples=150, deadline=None)
def test_two_texts_a_blank_line_apart_add_up(one, two):
    ours = GopherQuality("text")
    parts = ours.metrics(pa.table({"text": [one, two, one + "\n\n" + two]}))
    first, second, both = parts["words"].to_pylist()
    assert both == first + second


@given(st.lists(st.binary(max_size=90), max_size=4))
@example([b"\xe0\x81\x81 \xf0\x80\x81\x81 \xed\xa0\x80\xff", b"ab\xe2\x80", b"\xc3", b"x" * 63 + b"\xe2"])
@settings(max_examples=300, deadline=None)
def test_bytes_that_are_not_utf8_count_as_replacement_characters(rows):
    column = pa.Array.from_buffers(
        pa.string(),
        len(rows),
        [None, pa.py_buffer(np.cumsum([0, *map(len, rows)]).astype(np.int32)), pa.py_buffer(b"".join(rows) or b"\0")],
    )
    assert measured(column) == [metrics(row.decode("utf-8", "replace")) for row in rows]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_text_column_is_read(kind):
    rows = [PROSE * 3, None, "short", "", "中文"]
    values = measured(pa.array(rows, pa.string()).cast(kind))
    assert values == [dict.fromkeys(metrics("")) if row is None else metrics(row) for row in rows]


def test_a_column_of_nulls_and_no_rows_are_judged():
    step = GopherQuality("text")
    assert step.verdict(pa.table({"text": pa.array([None, None])})).codes.tolist() == [1, 1]
    assert step.verdict(pa.table({"text": pa.array([], pa.string())})).codes.tolist() == []


ONE_BREACH = [
    ("too_few_words", "the best of the", {}),
    ("too_many_words", PROSE * 5, {"max_doc_words": 60}),
    ("short_words", "a to I be " * 20, {}),
    ("long_words", "the " + "of incomprehensibilities " * 40, {}),
    ("too_many_hashes", (PROSE + "# # # # ") * 4, {"min_alphabetic_word_ratio": None}),
    ("too_many_ellipses", (PROSE + "... … ......") * 4, {"min_alphabetic_word_ratio": None}),
    ("too_many_bullets", f"- {PROSE}\n  • {PROSE}\n\t- {PROSE}", {}),
    ("too_many_ellipsis_lines", f"{PROSE}... \n{PROSE}…\n{PROSE}\n", {}),
    ("too_few_alphabetic_words", (PROSE + "12 34 56 78 90 ") * 3, {}),
    ("too_few_stop_words", "Wörter ohne jedes der kleinen Wörter davon stehen hier immer noch da " * 6, {}),
    (None, PROSE * 3, {}),
]


@pytest.mark.parametrize(("expected", "text", "fields"), ONE_BREACH, ids=[str(case[0]) for case in ONE_BREACH])
def test_each_rule_has_its_own_reason_and_can_be_switched_off(expected, text, fields):
    assert reason(text, **fields) == expected
    off = {
        "too_few_words": "min_doc_words",
        "too_many_words": "max_doc_words",
        "short_words": "min_avg_word_length",
        "long_words": "max_avg_word_length",
        "too_many_hashes": "max_symbol_word_ratio",
        "too_many_ellipses": "max_symbol_word_ratio",
        "too_many_bullets": "max_bullet_lines_ratio",
        "too_many_ellipsis_lines": "max_ellipsis_lines_ratio",
        "too_few_alphabetic_words": "min_alphabetic_word_ratio",
        "too_few_stop_words": "min_stop_words",
    }
    if expected is not None:
        assert reason(text, **{**fields, off[expected]: None}) != expected


def test_a_bound_itself_stays():
    text = "the of abcd " * 20
    same = {"min_doc_words": 60, "max_doc_words": 60, "min_avg_word_length": 3, "max_avg_word_length": 3}
    assert reason(text, **same, min_stop_words=2) is None
    assert reason(text, min_doc_words=61) == "too_few_words"
    assert reason(text, max_doc_words=59) == "too_many_words"
    assert reason(text, min_stop_words=3) == "too_few_stop_words"
    assert reason("- a\n" * 9 + "a\n", **_ALL_OFF, max_bullet_lines_ratio=0.9) is None


_ALL_OFF = {
    "min_doc_words": None,
    "max_doc_words": None,
    "min_avg_word_length": None,
    "max_avg_word_length": None,
    "max_symbol_word_ratio": None,
    "max_ellipsis_lines_ratio": None,
    "min_alphabetic_word_ratio": None,
    "min_stop_words": None,
}


def test_without_rules_only_nulls_go():
    off = {**_ALL_OFF, "max_bullet_lines_ratio": None}
    assert [reason(text, **off) for text in ("", "# # #", "- …", None)] == [None, None, None, "null_text"]


def test_evidence_is_the_value_that_decided_and_its_limit():
    step = GopherQuality("text")
    verdict = step.verdict(pa.table({"text": ["one two three", None, PROSE * 3, "# the of " * 60]}))
    assert verdict.evidence.to_pylist() == [
        {"value": 3.0, "limit": 50.0},
        {"value": None, "limit": None},
        {"value": None, "limit": None},
        {"value": 2.5, "limit": 3.0},
    ]


@given(
    st.lists(st.text("abcdeéж", min_size=1, max_size=20), min_size=1, max_size=40, unique=True),
    st.lists(st.text("abcdeéж", min_size=1, max_size=20), max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_stop_words_of_any_number_and_length_are_met_once_each(stop_words, words):
    text = " ".join(words + stop_words[::2] + stop_words[::4]).upper()
    wanted = tuple(word for word in stop_words if word.upper().lower() == word)
    (found,) = measured([text], stop_words=wanted, min_stop_words=None)
    assert found["stop_words"] == len(set(text.lower().split()) & set(wanted))


def test_stop_words_may_be_characters_of_a_script_without_spaces():
    assert measured(["我的书在这里"], stop_words=("的", "在", "了"), min_stop_words=2)[0]["stop_words"] == 2


def test_a_row_of_ten_megabytes_is_right():
    block = PROSE + "x" * 100 + "\n- 中文…\n# ...\r\n"
    text = block * (10_000_000 // len(block))
    (found,) = measured([text])
    once, twice = metrics(block), metrics(block * 2)
    assert found["words"] == once["words"] * (10_000_000 // len(block))
    assert found["stop_words"] == once["stop_words"]
    for name in ("mean_word_length", "hash_ratio", "ellipsis_ratio", "bullet_line_ratio", "ellipsis_line_ratio"):
        assert found[name] == pytest.approx(twice[name])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_doc_words": -1}, "min_doc_words=-1"),
        ({"min_doc_words": 5, "max_doc_words": 4}, "max_doc_words=4 .* at least min_doc_words=5"),
        ({"min_avg_word_length": 5, "max_avg_word_length": 4}, "max_avg_word_length=4"),
        ({"max_bullet_lines_ratio": 1.5}, "max_bullet_lines_ratio=1.5 .* from 0 to 1"),
        ({"max_symbol_word_ratio": float("nan")}, "max_symbol_word_ratio=nan"),
        ({"min_stop_words": 9}, "min_stop_words=9 .* at most the 8"),
        ({"stop_words": ("the", "The"), "min_stop_words": 2}, "at most the 1"),
        ({"stop_words": "the"}, "stop_words='the' .* not one string"),
        ({"stop_words": ("it's", "the")}, '"it\'s" .* single words'),
        ({"stop_words": ("", "the", "of")}, "stop_words=''"),
        ({"stop_words": ("x" * 64, "the", "of")}, "63 characters"),
    ],
)
def test_a_bad_argument_is_refused_by_name(fields, said):
    with pytest.raises(ArgumentError, match=said):
        GopherQuality("text", **fields)


def test_a_missing_or_wrong_column_is_refused_before_any_work():
    ds = Dataset.from_dict({"texts": ["a"], "n": [1]})
    with pytest.raises(MissingColumnError, match="Did you mean 'texts'"):
        GopherQuality("text").apply(ds)
    with pytest.raises(ColumnTypeError, match="'n'"):
        GopherQuality("n").apply(ds)


def test_stop_words_given_as_a_list_make_the_same_step():
    one, other = GopherQuality("text", stop_words=["the", "of"]), GopherQuality("text", stop_words=("the", "of"))
    assert one == other and hash(one) == hash(other) and one.fingerprint == other.fingerprint
    assert pickle.loads(pickle.dumps(one)) == one


def test_case_folding_needs_no_ascii():
    assert measured(["ÜBER die K K"], stop_words=("über", "k", "Die"), min_stop_words=1)[0]["stop_words"] == 3


def _rows(seed: int) -> list[str | None]:
    random = np.random.default_rng(seed)
    pieces = ["the ", "be ", "story ", "of ", "1 ", "# ", "- ", "\n", "...\n", "中", "über ", ", "]
    weights = np.array([5, 3, 9, 5, 1, 0.3, 0.5, 1, 0.3, 0.1, 2, 1])
    rows: list[str | None] = []
    for _ in range(300):
        drawn = random.choice(pieces, size=random.integers(0, 150), p=weights / weights.sum())
        rows.append("".join(drawn))
    rows[::17] = [None] * len(rows[::17])
    return rows


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_way_to_filter_keeps_the_same_rows(large, shuffled):
    step = GopherQuality("text", min_alphabetic_word_ratio=0.6)
    ds = Dataset.from_dict({"text": _rows(1), "row": list(range(300))})
    if large:
        ds = ds.cast_column("text", Value("large_string"))
    if shuffled:
        ds = ds.shuffle(seed=3).select(range(10, 290))
    expected = [
        row
        for row, text in zip(ds["row"], ds["text"], strict=True)
        if step.verdict(pa.table({"text": pa.array([text], pa.string())})).kept[0]
    ]
    assert 20 < len(expected) < len(ds) - 20
    assert step.apply(ds)["row"][:] == expected
    assert ds.filter(step, batched=True)["row"][:] == expected
    assert ds.filter(step, batched=True, batch_size=7)["row"][:] == expected
    assert ds.filter(step, batched=True, num_proc=2)["row"][:] == expected
    assert ds.with_format("arrow").filter(step, batched=True).with_format(None)["row"][:] == expected
    assert [row["row"] for row in step.apply(ds.to_iterable_dataset())] == expected


def test_scores_are_the_metrics_as_columns():
    ds = Dataset.from_dict({"text": [PROSE, None, ""]})
    scored = GopherQuality("text").scores("gopher_").apply(ds)
    assert scored.column_names == ["text", *("gopher_" + name for name in metrics(""))]
    assert scored[0]["gopher_words"] == metrics(PROSE)["words"]
    assert scored[1]["gopher_mean_word_length"] is None
    assert scored[2]["gopher_alphabetic_word_ratio"] == 0


def test_the_room_is_light_to_import():
    code = "import sys, tilth.filters; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
