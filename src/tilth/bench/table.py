"""The benchmark as one table: a figure a line, a tool a column, and what is required of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tilth.bench.corpora import SHIFTED

if TYPE_CHECKING:
    from tilth.bench.dedup import Results

TOOLS = ("tilth", "text-dedup", "rensa", "rensa rho", "datatrove")
TIMES_FASTER = {"text-dedup": 100, "rensa": 20, "datatrove": 200}
"""How many times the documents a second of the other tool are required of ours."""
LEAST_RECALL = 0.99
MOST_TIMES_READING = 1.0
MOST_GROWTH = 11.0
"""For ten times the rows, times the seconds."""
ENOUGH_ROWS = 100_000
"""With fewer, what does not grow weighs too much for a figure of growth."""
MANY_ROWS = 20_000_000
MOST_MB = 2_000


@dataclass(frozen=True)
class Check:
    """A figure that is required, and what was measured."""

    figure: str
    value: float
    wanted: str
    met: bool


@dataclass(frozen=True)
class Line:
    """A line of the table: what each tool did, and what is required of ours."""

    figure: str
    cells: Mapping[str, str]
    checks: tuple[Check, ...] = ()


def checks(results: Results) -> list[Check]:
    """What is required, of what was measured."""
    return [check for _, lines in _sections(results) for line in lines for check in line.checks]


def table(results: Results) -> Table:
    """All that was measured."""
    sections = list(_sections(results))
    measured = {tool for _, lines in sections for line in lines for tool in line.cells}
    tools = [tool for tool in TOOLS if tool in measured]
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("near-duplicate removal", no_wrap=True)
    for tool in tools:
        made.add_column(tool, justify="right", style="bold" if tool == "tilth" else None, no_wrap=True)
    made.add_column("required", no_wrap=True)
    made.add_column("met", no_wrap=True)
    for title, lines in sections:
        made.add_row(Text(title, style="italic cyan"))
        for line in lines:
            required = ", ".join(check.wanted for check in line.checks)
            met = all(check.met for check in line.checks)
            said = Text("yes", style="green") if met else Text("no", style="bold red")
            cells = [line.cells.get(tool, "") for tool in tools]
            made.add_row(f"  {line.figure}", *cells, required, said if line.checks else "")
        made.add_row()
    return made


def _sections(results: Results) -> Iterator[tuple[str, list[Line]]]:
    at = sorted({found.threshold for found in results.quality}, reverse=True)
    for threshold in at:
        yield f"recall at {threshold}", list(_recall(results, threshold))
    for threshold in at:
        yield f"precision at {threshold}", list(_precision(results, threshold))
    for corpus in dict.fromkeys(one.corpus for one in results.speed):
        yield f"speed on {corpus!r}", list(_speed(results, corpus))
    for source in dict.fromkeys(one.source for one in results.growth):
        opened = "to convert + " if source == "parquet" else ""
        yield f"growth from {source}: {opened}to run, peak memory", list(_growth(results, source))


def _recall(results: Results, threshold: float) -> Iterator[Line]:
    at = [one for one in results.quality if one.threshold == threshold]
    for corpus in dict.fromkeys(one.corpus for one in at):
        found = {one.tool: one for one in at if one.corpus == corpus}
        ours = found["tilth"]
        check = _least(f"recall on {corpus} at {threshold}", ours.recall, LEAST_RECALL)
        yield Line(f"{corpus}, {ours.pairs:,} pairs", {name: _share(one.recall) for name, one in found.items()}, check)
        for edit in SHIFTED:
            if edit in ours.edits:
                pairs, recall = ours.edits[edit]
                cells = {tool: _share(one.edits[edit][1]) for tool, one in found.items()}
                yield Line(f"  {edit}, {pairs}", cells, _least(f"recall, {edit}, at {threshold}", recall, LEAST_RECALL))


def _precision(results: Results, threshold: float) -> Iterator[Line]:
    at = [one for one in results.quality if one.threshold == threshold]
    for corpus in dict.fromkeys(one.corpus for one in at):
        found = {one.tool: one for one in at if one.corpus == corpus}
        cells = {tool: _share(one.precision) for tool, one in found.items() if one.precision is not None}
        if "tilth" in cells:
            value = float(found["tilth"].precision or 0)
            figure = f"precision on {corpus} at {threshold}"
            yield Line(f"{corpus}, {found['tilth'].dropped:,} dropped", cells, _least(figure, value, 1.0))


def _speed(results: Results, corpus: str) -> Iterator[Line]:
    speeds = {one.tool: one for one in results.speed if one.corpus == corpus}
    yield Line("documents taken", {tool: f"{one.rows:,}" for tool, one in speeds.items()})
    yield Line("documents/s", {tool: f"{one.rows_per_second:,.0f}" for tool, one in speeds.items()})
    others = {tool: one for tool, one in speeds.items() if tool in TIMES_FASTER}
    if others:
        yield Line("s to start, not counted", {tool: f"{one.start_up:.1f}" for tool, one in others.items()})
        faster = {tool: speeds["tilth"].rows_per_second / one.rows_per_second for tool, one in others.items()}
        required = [
            Check(f"times {tool} on {corpus}", value, f">= {TIMES_FASTER[tool]}", value >= TIMES_FASTER[tool])
            for tool, value in faster.items()
        ]
        yield Line("tilth is faster, times", {tool: f"{value:,.0f}" for tool, value in faster.items()}, tuple(required))
    for beside in (one for one in results.reading if one.corpus == corpus):
        for what, ratio in (("the step", beside.step_ratio), ("from Parquet", beside.whole_ratio)):
            figure = f"{what} / pyarrow's read"
            check = Check(f"{figure}, {corpus}", ratio, f"<= {MOST_TIMES_READING}", ratio <= MOST_TIMES_READING)
            yield Line(figure, {"tilth": f"{ratio:.2f}"}, (check,))


def _growth(results: Results, source: str) -> Iterator[Line]:
    runs = [one for one in results.growth if one.source == source]
    for one in runs:
        figure = f"peak MB of {one.rows:,} rows from {source}"
        check = Check(figure, one.resident_mb, f"<= {MOST_MB:,} MB", one.resident_mb <= MOST_MB)
        opened = f"{one.open_seconds:.1f} + " if source == "parquet" else ""
        cell = f"{opened}{one.seconds:.1f} s, {one.resident_mb:,.0f} MB"
        yield Line(f"{one.rows:,} rows", {"tilth": cell}, (check,) if one.rows >= MANY_ROWS else ())
        yield Line(
            "  processor time, anonymous memory", {"tilth": f"{one.cpu_seconds:.1f} s, {one.anonymous_mb:,.0f} MB"}
        )
    for before, after in pairwise(runs):
        if before.rows >= ENOUGH_ROWS and after.rows == 10 * before.rows:
            times = after.seconds / before.seconds
            figure = f"{before.rows:,} to {after.rows:,} rows"
            check = Check(f"{figure} from {source}", times, f"<= {MOST_GROWTH:.0f}", times <= MOST_GROWTH)
            yield Line(f"{figure}, times", {"tilth": f"{times:.1f}"}, (check,))
            yield Line("  processor time", {"tilth": f"{after.cpu_seconds / before.cpu_seconds:.1f}"})


def _least(figure: str, value: float, least: float) -> tuple[Check]:
    # Nothing to find is nothing missed.
    return (Check(figure, value, f">= {least:.2f}", math.isnan(value) or value >= least),)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
