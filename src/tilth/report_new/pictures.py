"""Pictures of a report as inline SVG. Their colours are CSS variables of what they stand in, so they fit its theme."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING

from rich.cells import cell_len

from tilth._shown import escaped, number, percent, short_number, shortened, visible

if TYPE_CHECKING:
    from tilth.ledger import StepRecord
    from tilth.report import Lengths

_DIGIT = 7.4
"""Pixels that a digit of 13 px takes, at most."""
_LETTER = 8.0
_SPACE = 14
_LEAST = 110
_NARROW = 520
_BAR = 22
_HEIGHT = 116
_TICKS = 18


def funnel(steps: Sequence[StepRecord], width: int) -> str:
    """The funnel: a bar for each step, as wide as its rows; what it dropped falls away at the right.

    Args:
        steps: in the order of the run.
        width: in pixels; the labels stand beside the bars, or above them where there is little room.
    """
    most = max((step.rows_in + step.added for step in steps), default=0)
    narrow = width < _NARROW
    kept = [number(step.rows_out) for step in steps]
    kept_width = max((len(text) for text in kept), default=0) * _DIGIT
    for shares in (True, False):
        lost = [_lost(step, shares) for step in steps]
        lost_width = max((len(text) for text in lost), default=0) * _DIGIT
        beside = width - kept_width - lost_width - 2 * _SPACE
        if beside > _LEAST:
            break
    longest = max(6, min(24, int(beside / _LETTER)))
    names = 0.0 if narrow else _SPACE + _LETTER * max((cell_len(_name(step, 24)) for step in steps), default=0)
    room = width if narrow else beside - names
    line, gap = (20, 12) if narrow else (0, 8)
    pitch = line + _BAR + gap
    drawn = []
    for at, step in enumerate(steps):
        top = at * pitch + line
        label = top - 6 if narrow else top + _BAR - 6
        drawn.append(_shape(step, names, top, 0 if narrow or at + 1 == len(steps) else gap, room / most if most else 0))
        drawn.append(_text(0, label, "name", "start", _name(step, longest), visible(step.name[:200])))
        drawn.append(_text(width - lost_width - _SPACE, label, "kept", "end", kept[at]))
        drawn.append(_text(width, label, "lost", "end", lost[at]))
    height = max(1, len(steps) * pitch - gap + 2)
    said = f"{number(steps[0].rows_in)} rows in, {kept[-1]} after the last step" if steps else "no steps"
    return _svg("funnel", width, height, f"The funnel: {said}", drawn)


def histogram(lengths: Lengths, width: int = 340) -> str:
    """How long the texts of a column are before (outline) and after (filled), on one logarithmic axis.

    Areas stand for shares of rows: a bin that is twice as wide is half as high for the same share.
    """
    edges = lengths.edges
    empty = 22.0 if edges and edges[0] == 0 else 0.0
    top = max(log10(max(2, edges[-1])) if edges else 1.0, 0.1)

    def x(edge: int) -> float:
        return empty + (width - empty) * log10(max(edge, 1)) / top

    bins = [(0.0, empty - 6) if hi <= 1 else (x(lo), x(hi)) for lo, hi in pairwise(edges)]
    tops = [
        [share / max(1.0, right - left) for share, (left, right) in zip(shares, bins, strict=False)]
        for shares in (lengths.before, lengths.after)
    ]
    highest = max([0.0, *tops[0], *tops[1]])
    drawn = [f'<line class="axis" x1="0" x2="{width}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>']
    for kind, heights in (("after", tops[1]), ("before", tops[0])):
        if highest > 0 and any(heights):
            drawn.append(f'<path class="{kind}" d="{_outline(bins, [h / highest for h in heights])}"/>')
    if empty:
        drawn.append(_text(0, _HEIGHT + _TICKS - 4, "tick", "start", "0"))
    for power in range(0, int(top) + 1):
        at = x(10**power)
        anchor = "end" if at > width - 12 else "middle"
        drawn.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{_HEIGHT}" y2="{_HEIGHT + 4}"/>')
        drawn.append(_text(at, _HEIGHT + _TICKS - 4, "tick", anchor, short_number(10**power, exact=10_000)))
    said = f"Lengths of {visible(shortened(lengths.column, 80))}"
    return _svg("lengths", width, _HEIGHT + _TICKS, said, drawn)


def median(edges: Sequence[int], shares: Sequence[float]) -> float | None:
    """The length that half of the texts do not reach, read off the bins; None where there is no text."""
    total, so_far = sum(shares), 0.0
    for (lo, hi), share in zip(pairwise(edges), shares, strict=False):
        if share > 0 and so_far + share >= total / 2:
            # The last of the lengths in a bin is one below its upper bound.
            return lo + (hi - 1 - lo) * (total / 2 - so_far) / share
        so_far += share
    return None


def _shape(step: StepRecord, left: float, top: float, below: float, scale: float) -> str:
    given, out = step.rows_in * scale, step.rows_out * scale
    stayed = (step.rows_out - step.added) * scale
    shapes = []
    if stayed > 0:
        shapes.append(f'<rect class="bar" x="{left:.1f}" y="{top}" width="{max(stayed, 1):.1f}" height="{_BAR}"/>')
    if step.dropped_rows:
        right = max(given, stayed + 2)
        corners = f"{left + stayed:.1f},{top} {left + right:.1f},{top} {left + stayed:.1f},{top + _BAR}"
        shapes.append(f'<polygon class="fall" points="{corners}"/>')
    if step.added:
        box = f'x="{left + stayed + 0.5:.1f}" y="{top + 0.5}" width="{max(out - stayed - 1, 1):.1f}"'
        shapes.append(f'<rect class="fresh" {box} height="{_BAR - 1}"/>')
    if below and step.rows_out:
        band = f'x="{left:.1f}" y="{top + _BAR}" width="{max(out, 1):.1f}" height="{below}"'
        shapes.insert(0, f'<rect class="band" {band}/>')
    return "".join(shapes)


def _outline(bins: Sequence[tuple[float, float]], heights: Sequence[float]) -> str:
    """A path along the tops of the bins, down to the axis where two do not touch."""
    path, end = "", None
    for (left, right), height in zip(bins, heights, strict=False):
        y = _HEIGHT - height * (_HEIGHT - 6)
        if end is None or left - end > 1:
            path += ("" if end is None else f"V{_HEIGHT}") + f"M{left:.1f} {_HEIGHT}"
        path += f"V{y:.1f}H{right:.1f}"
        end = right
    return f"{path}V{_HEIGHT}"


def _lost(step: StepRecord, shares: bool) -> str:
    pieces = [f"−{number(step.dropped_rows)}"] if step.dropped_rows else []
    if shares and step.dropped_rows and step.rows_in:
        pieces.append(f"({percent(step.dropped_rows / step.rows_in)})")
    if step.added:
        pieces.insert(0, f"+{number(step.added)}")
    return " ".join(pieces)


def _name(step: StepRecord, most: int) -> str:
    text = visible(step.name[:200])
    if cell_len(text) <= most:
        return text
    while cell_len(text) > most - 1:
        text = text[:-1]
    return text + "…"


def _text(x: float, y: float, kind: str, anchor: str, text: str, whole: str = "") -> str:
    title = f"<title>{escaped(shortened(whole, 200))}</title>" if whole not in ("", text) else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{title}{escaped(text)}</text>'


def _svg(kind: str, width: int, height: float, said: str, drawn: Sequence[str]) -> str:
    frame = f'viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}"'
    label = escaped(said)
    return f'<svg class="{kind}" role="img" aria-label="{label}" {frame}>{"".join(drawn)}</svg>'
