"""Reports, trials and plans as text in a terminal, at any width: what has no room goes, the most telling stays."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING, Protocol

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from tilth._shown import FIXED, THIN, number, percent, seconds, short_number, shortened, visible

if TYPE_CHECKING:
    from tilth.ledger import StepRecord
    from tilth.plan import Plan
    from tilth.report import Report
    from tilth.trial import Trial

_GAP = 2
_STEP_CELLS = 32
_STEP_CELLS_NARROW = 16
_BAR_CELLS = 12
_NOTE_CELLS = 33
_EIGHTHS = " ▏▎▍▌▋▊▉"
_ASCII = str.maketrans(
    {THIN: ",", FIXED: " ", "─": "-", "…": "~", "–": "-", "·": ".", "×": "x", "≠": "!=", "█": "#", "→": "->"}
    | dict.fromkeys(_EIGHTHS[1:4], "")
    | dict.fromkeys(_EIGHTHS[4:], "#")
)


class _Printable(Protocol):
    def __rich__(self) -> object: ...


def as_text(thing: _Printable) -> str:
    """What `thing` looks like in a terminal, without colours, as wide as that is, or 100 columns where there is none.

    Characters that the standard output cannot write are replaced, so that `print` works everywhere.
    """
    width = shutil.get_terminal_size((100, 24)).columns
    file = StringIO()
    console = Console(
        file=file, width=width, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    console.print(thing)
    text = "\n".join(line.rstrip() for line in file.getvalue().splitlines())
    return _in_encoding(text, getattr(sys.stdout, "encoding", None) or "utf-8")


def report_table(report: Report) -> Lines:
    """The funnel: a line for each step and the law of the ledger below."""
    steps = report.steps
    most = max((step.rows_in + step.added for step in steps), default=0)
    columns = [
        Column("step", [_clip(step.name, _STEP_CELLS) for step in steps], left=True, style="bold"),
        Column("kind", [_clip(step.kind, 12) for step in steps], left=True, style="dim", leaves=2),
        Column(
            "rows in", [number(step.rows_in) for step in steps], short=[short_number(step.rows_in) for step in steps]
        ),
        Column(
            "kept", [number(step.rows_out) for step in steps], short=[short_number(step.rows_out) for step in steps]
        ),
        Column("", [_kept_share(step.rows_out - step.added, step.rows_in) for step in steps], style="dim", leaves=1),
        _counts("changed", [step.changed for step in steps], leaves=3),
        _counts("dropped", [step.dropped_rows for step in steps]),
        _times(steps),
        Column("rows/s", [_rate(step.rows_in, step.seconds) for step in steps], style="dim", leaves=5),
    ]
    if any(step.added for step in steps):
        columns.insert(7, _counts("added", [step.added for step in steps], leaves=1))
    kept = [step.rows_out / most if most else 0.0 for step in steps]
    end = [
        [f"{number(report.rows_in)} rows in", f"+ {number(report.rows_added)} added"],
        [
            f"{'=' if report.reconciles else '≠'} {number(report.rows_out)} kept",
            f"+ {number(report.rows_dropped)} dropped",
        ],
    ]
    about = [f"{len(steps)} {'step' if len(steps) == 1 else 'steps'}", f"· {seconds(report.seconds)}"]
    if report.seconds > 0 and report.rows_in:
        about.append(f"· {_rate(report.rows_in, report.seconds)} rows/s")
    footer = [("bold", [*end[0], *end[1]]), ("dim", about)]
    if any(step.cached for step in steps):
        footer.append(("dim", ["* cached: found on disk,", "with the time that it took then"]))
    return Lines(columns, [step.dropped for step in steps], [""] * len(steps), kept, footer)


def trial_table(trial: Trial) -> Lines:
    """What a sample says: shares with their intervals, and the time that all rows would take."""
    records = [step.record for step in trial.steps]
    columns = [
        Column("step", [_clip(record.name, _STEP_CELLS) for record in records], left=True, style="bold"),
        Column("kind", [_clip(record.kind, 12) for record in records], left=True, style="dim", leaves=2),
        Column("tried", [number(record.rows_in) for record in records]),
        Column("kept", [percent(step.kept[0]) if step.kept else "?" for step in trial.steps]),
        Column("95% between", [_interval(step.kept) for step in trial.steps], style="dim", leaves=3),
        Column("changed", [percent(step.changed) if step.changed else "·" for step in trial.steps]),
        _counts("dropped", [record.dropped_rows for record in records]),
        Column("full run", [seconds(step.seconds) for step in trial.steps]),
    ]
    notes = ["" if step.kept else "depends on all rows: a sample cannot tell" for step in trial.steps]
    came = [
        f"{number(trial.rows)} of {number(trial.of)} rows tried,",
        f"{number(len(trial.sample))} came through;",
        f"all rows would take about {seconds(trial.seconds)}",
    ]
    return Lines(columns, [record.dropped for record in records], notes, None, [("bold", came)])


def plan_table(plan: Plan) -> Lines:
    """The steps in the order to do them, with what each costs there."""
    steps = [plan.steps[place] for place in plan.order]
    alive, here = 1.0, []
    for step in steps:
        here.append(alive * step.seconds_per_row * plan.rows)
        alive *= step.kept
    moved = [f"was {place + 1}" if place != at else "" for at, place in enumerate(plan.order)]
    columns = [
        Column("", [str(at) for at in range(1, len(steps) + 1)], style="dim"),
        Column("step", [_clip(step.name, _STEP_CELLS) for step in steps], left=True, style="bold"),
        Column("", moved, left=True, style="dim"),
        Column("per 1000 rows", [seconds(step.seconds_per_row * 1000) for step in steps]),
        Column("kept", [percent(step.kept) for step in steps]),
        Column("time here", [seconds(time) for time in here]),
    ]
    if plan.saving > 0 and any(moved):
        verdict = [
            f"about {seconds(plan.seconds_planned)} for {number(plan.rows)} rows",
            f"instead of {seconds(plan.seconds_written)}:",
            f"{percent(plan.saving)} saved,",
            "the same rows",
        ]
    else:
        verdict = [f"about {seconds(plan.seconds_planned)} for {number(plan.rows)} rows;", "no order is cheaper"]
    footer = [("bold", verdict)]
    for option in plan.options:
        said = (
            f"{_clip(option.move, 40)} before {_clip(option.before, 40)} would save {seconds(option.seconds)}, but it "
            f"is not done by itself: {visible(shortened(option.changes, 1000))}."
        )
        footer.append(("dim", said.split(" ")))
    return Lines(columns, [{}] * len(steps), [""] * len(steps), None, footer)


@dataclass
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        cells: a text for each row.
        left: starts at its left end, not at its right.
        style: of the cells.
        leaves: the column with the highest number goes first where there is no room; one with 0 stays.
        short: the cells where there is no room.
    """

    title: str
    cells: list[str]
    left: bool = False
    style: str = ""
    leaves: int = 0
    short: list[str] | None = None

    @property
    def width(self) -> int:
        """In columns of the terminal."""
        return max(map(cell_len, [self.title, *self.cells]))


@dataclass
class Lines:
    """A table for rich that fits itself to the width there is.

    Attributes:
        columns: the first that is not a number is the step's name.
        dropped: for each row how many rows were dropped for which reason.
        notes: for each row something else to say.
        bars: for each row a share to draw, where there is room.
        footer: lines below, each a style and pieces between which it can be broken.
    """

    columns: list[Column]
    dropped: Sequence[Mapping[str, int]]
    notes: Sequence[str]
    bars: Sequence[float] | None
    footer: Sequence[tuple[str, list[str]]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, as wide as the console at most."""
        for line in self._lines(options.max_width):
            line.plain = _in_encoding(line.plain, options.encoding)
            line.no_wrap, line.overflow = True, "crop"
            yield line

    def _lines(self, width: int) -> Iterator[Text]:
        columns, gap, left_over = _fitted(self.columns, width)
        has_notes = any(self.notes) or any(self.dropped)
        beside = has_notes and left_over >= _NOTE_CELLS + _GAP
        bar = 0
        if self.bars is not None and left_over - beside * (_NOTE_CELLS + _GAP) >= _BAR_CELLS + _GAP:
            bar = _BAR_CELLS
        room = left_over - _GAP - (bar + _GAP if bar else 0)
        head = _row([(column, column.title) for column in columns], gap, "dim")
        yield head
        drawn = width if beside else min(width, width - left_over + (bar + _GAP if bar else 0))
        yield Text("─" * drawn, style="dim")
        for row in range(len(self.dropped)):
            line = _row([(column, column.cells[row]) for column in columns], gap)
            if bar and self.bars is not None:
                line.append(" " * _GAP)
                line.append(_bar(self.bars[row], bar), style="green")
            if beside:
                line.append(" " * _GAP)
                line.append(_note(self.notes[row], self.dropped[row], room), style="dim")
                yield line
                continue
            yield line
            note = _note(self.notes[row], self.dropped[row], width - 2)
            if note:
                yield Text("  " + note, style="dim")
        yield Text("─" * drawn, style="dim")
        for style, pieces in self.footer:
            for text in _wrapped(pieces, width):
                yield Text(text, style=style)


def _fitted(columns: Sequence[Column], width: int) -> tuple[list[Column], int, int]:
    """The columns for which there is room, the gap between them, and what room is left beside them."""
    chosen, gap = list(columns), 2

    def over() -> int:
        return sum(column.width for column in chosen) + gap * (len(chosen) - 1) - width

    if over() > 0:
        chosen = [_clipped(column, max(_STEP_CELLS_NARROW, column.width - over())) for column in chosen]
    if over() > 0:
        # Short numbers have no spaces in them, so that they can stand one column apart.
        chosen = [replace(column, cells=column.short or column.cells) for column in chosen]
        gap = 1 if over() > 0 else 2
    while over() > 0 and any(column.leaves for column in chosen):
        chosen.remove(max(chosen, key=lambda column: column.leaves))
    gap = 2 if over() + len(chosen) - 1 <= 0 else gap
    if over() > 0:
        chosen = [_clipped(column, max(6, column.width - over())) for column in chosen]
    return chosen, gap, max(0, -over())


def _clipped(column: Column, width: int) -> Column:
    if column.title != "step":
        return column
    return replace(column, cells=[_clip(text, width) for text in column.cells])


def _clip(text: str, width: int) -> str:
    """At most `width` columns of a text, in which nothing hides."""
    text = visible(shortened(text, 4 * width))
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _row(row: list[tuple[Column, str]], gap: int, style: str | None = None) -> Text:
    line = Text()
    for place, (column, text) in enumerate(row):
        pad = " " * (column.width - cell_len(text))
        line.append(" " * gap * (place > 0) + ("" if column.left else pad))
        line.append(text, style=column.style if style is None else style)
        line.append(pad if column.left else "")
    return line


def _note(note: str, dropped: Mapping[str, int], room: int) -> str:
    """The reasons, most frequent first, as many as there is room for."""
    ranked = sorted(dropped.items(), key=lambda item: -item[1])
    pieces = [f"{_clip(reason, 40)} {number(count)}" for reason, count in ranked]
    lead = [note] if note else []
    for shown in range(len(pieces), 0, -1):
        more = f", {len(pieces) - shown} more" if shown < len(pieces) else ""
        said = "; ".join([*lead, ", ".join(pieces[:shown])]) + more
        if cell_len(said) <= room:
            return said
    return _clip((lead + pieces)[0], room) if lead + pieces else ""


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    # A row that is there is seen.
    eighths = max(eighths, 1) if share > 0 else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def _wrapped(pieces: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for piece in pieces:
        if line and cell_len(line) + 1 + cell_len(piece) > width:
            yield line
            line = ""
        line = f"{line} {piece}" if line else piece
    if line:
        yield line


def _counts(title: str, counts: Sequence[int], leaves: int = 0) -> Column:
    return Column(
        title,
        [number(count) if count else "·" for count in counts],
        leaves=leaves,
        short=[short_number(count) if count else "·" for count in counts],
    )


def _kept_share(kept: int, rows_in: int) -> str:
    return percent(kept / rows_in) if rows_in else "–"


def _interval(kept: tuple[float, float, float] | None) -> str:
    return f"{percent(kept[1])}–{percent(kept[2])}" if kept else ""


def _rate(rows: int, time: float) -> str:
    return short_number(rows / time, exact=1000) if rows and time > 0 else "–"


def _times(steps: Sequence[StepRecord]) -> Column:
    star = [("*" if step.cached else " ") if any(each.cached for each in steps) else "" for step in steps]
    return Column(
        "time",
        [seconds(step.seconds) + mark for step, mark in zip(steps, star, strict=True)],
        leaves=4,
        short=[seconds(step.seconds, short=True) + mark for step, mark in zip(steps, star, strict=True)],
    )


def _in_encoding(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text
