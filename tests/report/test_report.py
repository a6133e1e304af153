"""The report: exact in JSON, whole in a terminal of any width, and a page that no text can break."""

from __future__ import annotations

import json
import re
import stat
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tilth.errors import ArgumentError
from tilth.ledger import Example, StepRecord
from tilth.plan import Measured, Option, Plan
from tilth.report import Lengths, Report
from tilth.report.page import fragment, page
from tilth.report.pictures import funnel, histogram, median
from tilth.report.shown import FIXED, MARKS, THIN, number
from tilth.report.table import as_text
from tilth.trial import Trial, TrialStep

EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
EVIL = "<script>alert(1)</script></style>]]><img src=x onerror=alert(1)>\"'&\u202evil\u2066\x00\ud800\x1b[31m\u0085"
VOID = {"meta", "br", "img", "path", "rect", "line", "polygon", "link", "input"}


class Tags(HTMLParser):
    """Every tag and all the text of a page; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def has(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


def nine_steps(times: int = 1) -> Report:
    """A run on 26,000 rows as it could have been, or on a multiple of them."""
    rows, steps = 26_000 * times, []

    def add(name, cls, kind, changed=0, dropped=None, added=0, took=0.3, cached=False, examples=()):
        nonlocal rows
        dropped = {reason: count * times for reason, count in (dropped or {}).items()}
        after = rows - sum(dropped.values()) + added * times
        columns = {"reads": ("instruction",), "writes": ("instruction",) if kind == "map" else ()}
        counts = {"changed": changed * times, "dropped": dropped, "added": added * times}
        times_ = {"seconds": took, "cached": cached}
        steps.append(StepRecord(name, cls, kind, rows, after, **counts, **times_, **columns, examples=list(examples)))
        rows = after

    cleaned = Example(17, "instruction", "Explain  the\u00a0difference .", "Explain the difference.")
    short = Example(1301, "instruction", "Why?", None, "too_few_words", "1")
    twin = Example(
        12, "instruction", "Write a story.", None, "near_duplicate", '{"kept": 3, "similarity": 0.9400000214576721}'
    )
    add("Normalize", "Normalize", "map", changed=3120, took=0.41, cached=True, examples=[cleaned])
    add("StripHtml", "StripHtml", "map", changed=1874, took=1.92, cached=True)
    add("MaskPersonal", "MaskPersonal", "map", changed=212, took=0.88)
    add("not too short", "WordCount", "filter", dropped={"too_few_words": 1203, "null_text": 2}, examples=[short])
    add("GopherQuality", "GopherQuality", "filter", dropped={"symbols": 96, "bullet_lines": 44, "ellipsis_lines": 12})
    add("Language", "Language", "filter", dropped={"other_language": 402}, took=2.1)
    add("MinHash", "MinHash", "dataset", dropped={"near_duplicate": 4210}, took=0.73, examples=[twin])
    add("Paraphrase", "Paraphrase", "dataset", added=500, took=192.4)
    add("Decontaminate", "Decontaminate", "dataset", dropped={"contaminated": 37}, took=1.2)
    shares = (0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0)
    lengths = (Lengths("instruction", EDGES, shares, shares), Lengths("input", EDGES, shares, ()))
    return Report(26_000 * times, 500 * times, rows, tuple(steps), lengths, 201.4, ("instruction", "output"))


def hostile(text: str) -> Report:
    """A report that holds `text` wherever a report can hold text."""
    examples = [Example(1, text, text, text + " more " + text), Example(2, text, text, None, text, text)]
    examples.append(Example(3, text, text, None, text, json.dumps({text: text, "deep": [text]})))
    step = StepRecord(text, text, text, 10, 7, 1, {text: 2, text + "2": 1}, 0, 1.0, True, (text,), (text,), examples)
    lengths = Lengths(text, (0, 1, 5, 9), (0.1, 0.5, 0.4), (0.2, 0.2, 0.6))
    return Report(10, 0, 7, (step,), (lengths,), 1.0, (text,))


def printed(thing, width: int) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, color_system=None, force_jupyter=False).print(thing)
    return file.getvalue().splitlines()


def plain(text: str) -> str:
    return text.replace(THIN, " ").replace(FIXED, " ")


# In terms of JSON


def test_a_report_survives_json_exactly():
    for report in (nine_steps(), hostile(EVIL), Report(0, 0, 0, ())):
        said = json.loads(json.dumps(report.to_dict()))
        assert said == report.to_dict()
        assert Report.from_dict(said) == report
        assert Report.from_dict(said).html() == report.html()


def test_a_report_shares_nothing_with_what_it_was_read_from():
    said = nine_steps().to_dict()
    report = Report.from_dict(said)
    said["steps"][3]["dropped"].clear()
    said["steps"][3]["examples"].clear()
    assert report == nine_steps()


texts = st.text(st.characters(), max_size=20)
counts = st.integers(0, 10**10)
examples = st.builds(Example, counts, texts, texts, st.none() | texts, st.none() | texts, st.none() | texts)
records = st.builds(
    StepRecord,
    texts,
    texts,
    texts,
    counts,
    counts,
    counts,
    st.dictionaries(texts, counts, max_size=3),
    counts,
    st.floats(0, 1e9),
    st.booleans(),
    st.lists(texts, max_size=2).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    st.lists(examples, max_size=2),
)
lengths = st.builds(
    lambda column, before, after: Lengths(column, tuple(range(len(before) + 1)), tuple(before), tuple(after)),
    texts,
    st.lists(st.floats(0, 1), max_size=4),
    st.lists(st.floats(0, 1), max_size=4),
)
reports = st.builds(
    Report,
    counts,
    counts,
    counts,
    st.lists(records, max_size=3).map(tuple),
    st.lists(lengths, max_size=2).map(tuple),
    st.floats(0, 1e9),
    st.lists(texts, max_size=3).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(reports)
def test_any_report_survives_json_and_can_be_shown(report):
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    page = Tags(report.html())
    assert page.has("script") == []
    page.text.encode()
    Tags(report._repr_html_())
    assert max(map(cell_len, str(report).splitlines())) <= 100


@pytest.mark.parametrize("said", [{}, {"version": 2}, None, [], {"version": 1}, {"version": 1, "rows": 3}])
def test_what_is_not_a_report_is_refused_by_name(said):
    with pytest.raises(ArgumentError, match="from_dict"):
        Report.from_dict(said)


def test_an_unknown_field_of_a_step_is_refused():
    said = nine_steps().to_dict()
    said["steps"][2]["mood"] = "good"
    with pytest.raises(ArgumentError, match=r"step 3.*mood"):
        Report.from_dict(said)


# In a terminal


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("report", [nine_steps(), nine_steps(400_000), hostile(EVIL), Report(0, 0, 0, ())])
def test_no_line_is_wider_than_the_terminal(report, width):
    lines = printed(report, width)
    assert max(map(cell_len, lines)) <= width
    assert sum("─" in line for line in lines) == 2


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_shows_every_step_with_its_counts_and_reasons(width):
    text = plain("\n".join(printed(nine_steps(), width)))
    for word in ("rows in", "kept", "changed", "dropped", "added", "time", "rows/s", "410 ms*", "* cached"):
        assert word in text
    for step in nine_steps().steps:
        line = next(line for line in text.splitlines() if line.startswith(step.name))
        assert step.kind in line
        assert str(step.rows_out) in line.replace(" ", "")
    assert "too_few_words 1 203" in text
    assert "near_duplicate 4 210" in text
    assert "26 000 rows in + 500 added = 20 494 kept + 6 006 dropped" in text


def test_a_narrow_terminal_cuts_names_before_counts():
    lines = plain("\n".join(printed(nine_steps(), 32))).splitlines()
    assert any(line.startswith("MinH") and "20031" in line and "4210" in line for line in lines)


def test_totals_that_do_not_reconcile_are_not_called_equal():
    report = nine_steps()
    assert report.reconciles
    assert "=" in str(report)
    wrong = replace(report, rows_out=report.rows_out + 1)
    assert not wrong.reconciles
    assert "≠" in str(wrong) and "≠" in wrong.html()


def test_print_works_without_a_terminal_and_without_unicode(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    report = nine_steps()
    assert "\x1b" not in str(report)
    assert str(report) == "\n".join(line.rstrip() for line in printed(report, 80))
    assert as_text(report) == str(report)
    named = replace(report, steps=(replace(report.steps[0], name="größer ≥ 3"), *report.steps[1:]))

    class Ascii(StringIO):
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    assert str(named).isascii()
    assert "26,000 rows in + 500 added = 20,494 kept + 6,006 dropped" in str(named)
    file = Ascii()
    Console(file=file, width=80, force_jupyter=False).print(named)
    assert file.getvalue().isascii()


def test_colours_are_for_terminals_only():
    file = StringIO()
    Console(file=file, width=100, force_terminal=True, color_system="standard", force_jupyter=False).print(nine_steps())
    assert "\x1b[" in file.getvalue()
    # The name of a step cannot send commands to the terminal.
    assert "\x1b" not in "\n".join(printed(hostile("\x1b]0;title\x07"), 100))


def test_a_trial_shows_intervals_and_what_a_sample_cannot_tell():
    steps = nine_steps().steps
    tried = (
        TrialStep(replace(steps[3], rows_in=200, rows_out=188), (0.94, 0.898, 0.965), 0.0, 0.4),
        TrialStep(replace(steps[6], rows_in=188, rows_out=150), None, 0.0, 0.73),
    )
    trial = Trial(200, 26_000, tried, Dataset.from_dict({"text": ["x"] * 150}))
    for width in (40, 80, 100, 140):
        assert max(map(cell_len, printed(trial, width))) <= width
    text = plain(str(trial))
    assert "94.0%  89.8%–96.5%" in text
    assert "depends on all rows: a sample cannot tell" in text
    assert "200 of 26 000 rows tried, 150 came through; all rows would take about 1.1 s" in text


def test_a_plan_shows_the_order_what_it_saves_and_what_it_leaves_to_the_user():
    measured = (Measured("slow\x1b[31m", 0.01, 0.9), Measured("quick", 0.001, 0.5))
    plan = Plan([1, 0], measured, 1090.0, 600.0, 100_000, (Option("quick", "MinHash", 75.0, "other rows may stay"),))
    for width in (40, 80, 100, 140):
        assert max(map(cell_len, printed(plan, width))) <= width
    text = plain(str(plan))
    assert re.search(r"1  quick +was 2 .*\n2  slow\\x1b\[31m", text)
    assert "about 10 min for 100 000 rows instead of 18 min 10 s: 45.0% saved" in text
    assert "quick before MinHash would save 1 min 15 s" in text
    assert "no order is cheaper" in plain(str(replace(plan, order=[0, 1], seconds_planned=1090.0)))


# As a page


def test_a_page_holds_everything_and_needs_nothing():
    report = nine_steps()
    page = Tags(report.html(title="The demo"))
    text = plain(page.text)
    for word in ("The demo", "26 000", "20 494", "6 006", "near_duplicate", "Why?", "similarity 0.94", "cached"):
        assert word in text
    for step in report.steps:
        assert step.name in text
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for _, attributes in page.tags:
        assert not {"src", "href", "xlink:href", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", report.html())


def test_a_page_starts_with_its_encoding_and_a_policy_without_scripts():
    text = nine_steps().html()
    assert text.index('charset="utf-8"') < 100
    assert "default-src 'none'" in text
    assert "script-src" not in text


@pytest.mark.parametrize("make", [lambda r: r.html(title=EVIL), lambda r: r._repr_html_()], ids=["page", "notebook"])
def test_no_text_can_break_out_of_where_it_is_shown(make):
    shown = make(hostile(EVIL))
    calm = make(hostile("calm"))
    tags = Tags(shown)
    # The same elements as for harmless text, beside the marks of a diff and of escapes.
    soft = {"i", "ins", "del", "small", "title"}
    assert [tag for tag, _ in tags.tags if tag not in soft] == [tag for tag, _ in Tags(calm).tags if tag not in soft]
    assert tags.has("script") == tags.has("img") == []
    assert shown.count("</style>") == 1
    assert not set("\u202e\u2066\x00\x1b\u0085") & set(shown)
    shown.encode("utf-8")
    assert "\\u202e" in tags.text and "\\ud800" in tags.text and "\\x00" in tags.text


@pytest.mark.parametrize(
    "text",
    ["</title><b>", "'\" onload=x ", "&amp;lt;", "\u2028\u2029\ufeff\u200b", "<!--", "]]>", "\r\n\t", "javascript:"],
)
def test_markup_in_texts_is_shown_as_text(text):
    page = Tags(hostile(text).html(title=text))
    assert page.has("b") == Tags(hostile("calm").html()).has("b")
    assert not [attributes for _, attributes in page.tags if "onload" in attributes]


def test_what_a_reader_copies_from_a_dropped_row_is_its_text():
    text = "if a < b && c > d:\n\tprint(\"&amp;\", 'x')"
    example = Example(1, "code", text, None, "symbols")
    step = StepRecord("s", "S", "filter", 2, 1, 0, {"symbols": 1}, examples=[example])
    assert text in Tags(Report(2, 0, 1, (step,)).html()).text


def test_a_row_of_ten_megabytes_is_shortened():
    big = "word " * 2_000_000
    page = hostile(big).html(title=big)
    assert len(page) < 60_000
    assert "characters …" in page
    assert len(hostile(big)._repr_html_()) < 60_000
    assert len(str(hostile(big))) < 2_000


def test_a_thousand_marks_on_a_letter_are_counted_not_drawn():
    shown = hostile("a" + "\u0301" * 3000).html()
    assert "\u0301" * (MARKS + 1) not in shown
    assert "\\u0301×" in shown


def test_a_page_is_drawn_without_steps_without_rows_and_for_ten_billion():
    no_text = Lengths("text", (0, 1, 2), (0.0, 0.0), (0.0, 0.0))
    nothing = Report(0, 0, 0, (StepRecord("a", "A", "filter"), StepRecord("b", "B", "map")), (no_text,))
    for report in (Report(0, 0, 0, ()), nothing, nine_steps(400_000)):
        text = report.html() + report._repr_html_()
        assert not re.search(r"\b(nan|inf|None)\b", Tags(text).text)
        assert not re.search(r'="-?(nan|inf)', text)
    assert "no text" in nothing.html()
    assert "10 400 000 000" in plain(nine_steps(400_000).html())


def test_saving_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "report.html"
    nine_steps().save(path)
    assert path.read_text(encoding="utf-8") == nine_steps().html()
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    other = tmp_path / "plain"
    other.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        hostile(EVIL).save(str(path))
    assert path.read_text(encoding="utf-8") == nine_steps().html()
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_saving_through_a_link_writes_what_it_points_to(tmp_path):
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    nine_steps().save(tmp_path / "link.html", title="The demo")
    assert (tmp_path / "link.html").is_symlink()
    assert "The demo" in (tmp_path / "real.html").read_text(encoding="utf-8")


# Pictures


def test_bars_are_as_wide_as_rows():
    steps = [StepRecord("a", "A", "filter", 1000, 500, 0, {"x": 500}), StepRecord("b", "B", "filter", 500, 250)]
    steps[1].dropped = {"x": 250}
    bars = [
        float(attributes["width"])
        for attributes in Tags(funnel(steps, 800)).has("rect")
        if attributes["class"] == "bar"
    ]
    assert bars[0] == pytest.approx(2 * bars[1], rel=0.01)
    falls = Tags(funnel(steps, 800)).has("polygon")
    assert len(falls) == 2


@pytest.mark.parametrize("width", [350, 720, 880])
@pytest.mark.parametrize("report", [nine_steps(), nine_steps(400_000), hostile(EVIL), hostile("長い名前" * 50)])
def test_the_funnel_stays_within_its_frame(report, width):
    steps = report.steps * (15 // len(report.steps))
    drawing = Tags(funnel(steps, width))
    height = float(drawing.has("svg")[0]["height"])
    for rect in drawing.has("rect"):
        assert 0 <= float(rect["x"]) <= float(rect["x"]) + float(rect["width"]) <= width + 0.1
        assert 0 <= float(rect["y"]) < height
    names = [text for text in drawing.has("text") if text["class"] == "name"]
    assert len(names) == len(steps)
    assert number(steps[-1].rows_out) in drawing.text


def test_a_histogram_gives_equal_areas_to_equal_shares():
    drawing = Tags(histogram(Lengths("text", (1, 10, 1000), (0.5, 0.5), (0.5, 0.5)), 300))
    before = next(attributes["d"] for attributes in drawing.has("path") if attributes["class"] == "before")
    tops = [float(y) for y in re.findall(r"V([\d.]+)H", before)]
    rights = [float(x) for x in re.findall(r"H([\d.]+)", before)]
    base = float(re.match(r"M[\d.]+ ([\d.]+)", before)[1])
    areas = [(base - tops[0]) * rights[0], (base - tops[1]) * (rights[1] - rights[0])]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


def test_a_median_is_read_off_the_bins():
    assert median((0, 1, 2, 3), (0.5, 0.0, 0.5)) == 0
    assert median((0, 1, 2, 4), (0.2, 0.2, 0.6)) == pytest.approx(2 + 1 / 6)
    assert median((0, 1), (0.0,)) is None
    assert median((), ()) is None


def test_pages_and_pieces_are_what_the_report_gives():
    report = nine_steps()
    assert page(report, "x") == report.html(title="x")
    assert fragment(report) == report._repr_html_()
