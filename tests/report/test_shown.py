"""Numbers, times, foreign text and changes, as they are shown: short, bounded, and with nothing hidden."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.report.shown import (
    FIXED,
    THIN,
    diff_html,
    excerpt_html,
    number,
    percent,
    seconds,
    short_number,
    visible,
    visible_html,
)


def read(shown: str) -> str:
    """The text that a reader of some HTML sees."""
    return unescape(re.sub("<[^>]*>", "", shown))


# Numbers


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 000"),
        (10**10, "10 000 000 000"),
        (-1234, "-1 234"),
        (2.04, "2.0"),
        (1234.5, "1 234"),
    ],
)
def test_numbers_have_thin_spaces(value, said):
    assert number(value).replace(THIN, " ") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 s"),
        (0.0002, "<1 ms"),
        (0.34, "340 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (75, "1 min 15 s"),
        (3599.6, "1 h"),
        (11_520, "3 h 12 min"),
        (86_399, "1 d"),
        (10**6, "11 d 14 h"),
        (float("nan"), "–"),
    ],
)
def test_times_round_into_the_next_unit(value, said):
    assert seconds(value).replace(FIXED, " ") == said


@settings(deadline=None)
@given(st.floats(0, 1e7))
def test_a_short_time_or_number_is_short(value):
    assert len(seconds(value, short=True)) <= 8
    assert len(short_number(value)) <= 5
    assert len(short_number(value * 1e6)) <= 5


def test_only_all_is_all_and_only_nothing_is_nothing():
    assert [percent(share) for share in (0, 1e-9, 0.25, 1 - 1e-9, 1)] == ["0%", "<0.1%", "25.0%", ">99.9%", "100%"]


# Foreign text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=60), st.booleans())
def test_visible_text_hides_nothing(text, lines):
    shown = visible(text, lines=lines)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", shown)
    if not lines:
        assert "\n" not in shown and "\t" not in shown
    assert read(visible_html(text, lines=lines)) == shown


@pytest.mark.parametrize(
    "text", ["plain", "café", "日本語", "नमस्ते", "שָׁלוֹם", "ไม่เป็นไร", "می‌خواهم", "👩‍👩‍👧🏽", "e\u0301", "a\u00a0b", "🇩🇪"]
)
def test_ordinary_text_of_any_script_is_left_as_it_is(text):
    assert visible(text) == text


def test_long_texts_keep_both_ends():
    text = "start " + "x y " * 5_000 + "end"
    shown = excerpt_html(text, 100)
    assert shown.startswith("start ") and shown.endswith("end")
    left_out = int(re.search(r"… ([\d\u202f]+) characters …", shown)[1].replace(THIN, ""))
    assert len(re.sub("<small>.*</small>", "", shown)) + left_out == len(text)


# What changed


def undone(shown: str, keep: str, drop: str) -> str:
    """One side of a diff."""
    shown = re.sub(f"<{drop}>.*?</{drop}>", "", shown, flags=re.DOTALL)
    shown = shown.replace(f"<{keep}>", "").replace(f"</{keep}>", "")
    return read(shown).replace("␣", " ").replace("↵\n", "\n").replace("⇥\t", "\t")


@settings(max_examples=300, deadline=None)
@given(st.text("ab .,\n\t<&>中文", max_size=80), st.text("ab .,\n\t<&>中文", max_size=80))
def test_a_diff_holds_both_texts(before, after):
    shown = diff_html(before, after)
    if "<small>" not in shown:
        assert undone(shown, "del", "ins") == before
        assert undone(shown, "ins", "del") == after
    assert ("<del>" in shown or "<ins>" in shown) == (before != after)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("the cat sat", "the dog sat", "the <del>cat</del><ins>dog</ins> sat"),
        ("hello world", "hello worlds", "hello <del>world</del><ins>worlds</ins>"),
        ("a b", "a b", "a b"),
        ("你好世界", "你好世间", "你好世<del>界</del><ins>间</ins>"),
        ("a  b", "a b", "a<del>␣␣</del><ins>␣</ins>b"),
        ("a\u00a0b", "a b", "a<del><i>\\xa0</i></del><ins>␣</ins>b"),
        ("caf\u00e9", "cafe\u0301", "<del>caf<i>\\xe9</i></del><ins>cafe<i>\\u0301</i></ins>"),
        ("a\r\nb", "a\nb", "a<del><i>\\r</i></del>\nb"),
        ("", "x", "<ins>x</ins>"),
        ("<b>", "", "<del>&lt;b&gt;</del>"),
    ],
)
def test_a_diff_marks_the_words_that_changed(before, after, shown):
    assert diff_html(before, after) == shown


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a" * 10**7, "a" * 10**7 + "b"),
        ("中" * 10**6, "文" * 10**6),
        ("a b " * 10**5, "b a " * 10**5 + "c"),
        ("x" + " y" * 10**6, "z" + " y" * 10**6),
        ("\u0301" * 10**5, "\u0302" * 10**5),
        ("", "\u202e" * 10**6),
        ("q " * 1000 + "a b " * 900, "a b " * 900 + "q " * 1000),
    ],
    ids=["one word", "other characters", "repetitive", "one word before much", "marks", "nothing before", "swapped"],
)
def test_a_diff_of_long_texts_is_short_and_quick(before, after):
    shown = diff_html(before, after)
    assert len(shown) < 40_000
    assert "<ins>" in shown


def test_a_change_in_a_long_text_is_shown_with_the_words_around_it():
    words = [f"word{at}" for at in range(20_000)]
    before = " ".join(words)
    words[10_000] = "other"
    shown = diff_html(before, " ".join(words))
    assert "word9999 <del>word10000</del><ins>other</ins> word10001" in shown
    assert len(shown) < 500
