"""The benchmark as a picture: documents a second by tool, recall by similarity and kind of edit, seconds by rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilth.bench import THRESHOLD
from tilth.bench.corpora import SHIFTED
from tilth.bench.table import TOOLS
from tilth.errors import MissingExtraError

if TYPE_CHECKING:
    from tilth.bench.dedup import Results

# Told apart in grey and by the colour-blind, ours the darkest.
_COLOURS = dict(zip(TOOLS, ("#0b3c5d", "#d1495b", "#edae49", "#9a8c98", "#66a182"), strict=True))
_MARKS = dict(zip(TOOLS, "os^Dv", strict=True))


def draw(results: Results, path: Path) -> None:
    """Draw what was measured into a PNG file, a panel for each part.

    Raises:
        MissingExtraError: there is no matplotlib.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[tuple[Callable[[Results, Any], None], float]] = []
    if results.speed:
        panels.append((_draw_speed, 1.0))
    if any(one.corpus == "made" and one.threshold == THRESHOLD for one in results.quality):
        panels.append((_draw_recall, 1.25))
    if results.growth:
        panels.append((_draw_growth, 0.75))
    widths = [width for _, width in panels] or [1.0]
    figure = Figure(figsize=(1.5 + 6.2 * sum(widths), 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    for (panel, _), place in zip(panels, axes, strict=False):
        panel(results, place)
    if not panels:
        axes[0].text(0.5, 0.5, "nothing was measured", ha="center")
        axes[0].set_axis_off()
    figure.suptitle("Near-duplicate removal with MinHash", fontsize=15, fontweight="bold")
    figure.supxlabel(_caption(results), fontsize=8.5, color="#444444")
    figure.savefig(path)


def require_matplotlib() -> None:
    """Refuse to go on without it, before any work.

    Raises:
        MissingExtraError: there is no matplotlib.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("the picture of the benchmark", "matplotlib", "benchmarks") from None


def _draw_speed(results: Results, axes: Any) -> None:
    axes.set_title("Documents per second (log scale; more is better)", loc="left")
    y, ticks = 0.0, []
    most = max(one.rows_per_second for one in results.speed)
    least = min(one.rows_per_second for one in results.speed)
    for corpus in dict.fromkeys(one.corpus for one in results.speed):
        here = sorted((one for one in results.speed if one.corpus == corpus), key=lambda one: -one.rows_per_second)
        kilobytes = here[0].bytes / here[0].rows / 1e3
        said = f"corpus {corpus!r}, {kilobytes:.1f} kB a document"
        axes.text(0.01, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=10, style="italic")
        for one in here:
            y += 0.9
            axes.barh(y, one.rows_per_second, height=0.7, color=_COLOURS[one.tool])
            slower = here[0].rows_per_second / one.rows_per_second
            times = "" if one is here[0] else f"  ({here[0].tool} {slower:,.0f} x)"
            axes.text(one.rows_per_second * 1.08, y, f"{one.rows_per_second:,.0f}{times}", va="center", fontsize=10)
            ticks.append((y, one.tool))
        y += 1.3
    axes.set_yticks([place for place, _ in ticks], [tool for _, tool in ticks], fontsize=11)
    axes.set_ylim(y - 0.6, -0.5)
    axes.set_xscale("log")
    # A bar on a log scale needs a foot; this one is the decade below the least.
    axes.set_xlim(10 ** math.floor(math.log10(least) - 0.3), most * 12)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    _tidy(axes)


def _draw_recall(results: Results, axes: Any) -> None:
    axes.set_title("Recall of known pairs (1 is all of them)", loc="left")
    found = [one for one in results.quality if one.corpus == "made" and one.threshold == THRESHOLD]
    lows = [low for low, _, _ in found[0].bands]
    names = [f"{low:.2f} to {high:.2f}\n{count:,} pairs" for (low, count, _), high in _with_ends(found[0].bands)]
    edits = [edit for edit in SHIFTED if edit in found[0].edits]
    names += [
        edit.replace(" before", "\nbefore").replace(" after", "\nafter").replace(" rep", "\nrep") for edit in edits
    ]
    places = [*range(len(lows)), *(len(lows) + 0.5 + place for place in range(len(edits)))]
    for turn, one in enumerate(found):
        shift = (turn - (len(found) - 1) / 2) * 0.13
        colour = _COLOURS[one.tool]
        style = {"marker": _MARKS[one.tool], "color": colour, "markersize": 8, "clip_on": False, "zorder": 3}
        bands = [recall for _, _, recall in one.bands]
        precise = "" if one.precision is None else f" (precision {one.precision:.2f})"
        label = one.tool + precise
        axes.plot([place + shift for place in places[: len(lows)]], bands, label=label, linewidth=1.3, **style)
        recalls = [one.edits[edit][1] for edit in edits]
        axes.plot([place + shift for place in places[len(lows) :]], recalls, linestyle="none", **style)
    axes.axhline(0.99, color="#888888", linewidth=0.8, linestyle=":")
    if edits:
        axes.axvline(len(lows) - 0.25, color="#bbbbbb", linewidth=0.8)
        axes.text(len(lows) - 0.15, 1.045, "small edits, by kind", fontsize=9.5, style="italic")
    axes.text(-0.4, 1.045, "by exact Jaccard similarity", fontsize=9.5, style="italic")
    axes.set_xticks(places, names, fontsize=9)
    axes.set_ylim(0, 1.09)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 0.99], ["0", "0.2", "0.4", "0.6", "0.8", "0.99"])
    axes.grid(axis="y", color="#eeeeee", linewidth=0.7)
    axes.legend(loc="lower left", frameon=True, framealpha=0.9, fontsize=10)
    _tidy(axes)


def _draw_growth(results: Results, axes: Any) -> None:
    axes.set_title("Seconds by rows (both log scale)", loc="left")
    sources = list(dict.fromkeys(one.source for one in results.growth))
    for source, style, colour in zip(sources, ("o-", "s--"), (_COLOURS["tilth"], "#5fa8d3"), strict=False):
        runs = [one for one in results.growth if one.source == source]
        opened = "mapped Arrow file" if source == "arrow" else "Parquet, converted first"
        rows, seconds = [one.rows for one in runs], [one.whole_seconds for one in runs]
        axes.plot(rows, seconds, style, color=colour, markersize=7, label=opened)
        if source == sources[0]:
            for one in runs:
                said = f"{one.whole_seconds:,.1f} s\n{one.resident_mb:,.0f} MB"
                axes.annotate(said, (one.rows, one.whole_seconds), (8, -26), textcoords="offset points", fontsize=9.5)
            last = runs[-1]
            axes.plot(
                rows, [last.whole_seconds * n / last.rows for n in rows], ":", color="#999999", label="in proportion"
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("short rows, of about 12 words; MB is peak resident memory")
    axes.grid(color="#eeeeee", linewidth=0.7)
    axes.legend(loc="upper left", fontsize=10)
    _tidy(axes)


def _with_ends(bands: tuple[tuple[float, int, float], ...]) -> list[tuple[tuple[float, int, float], float]]:
    ends = [low for low, _, _ in bands[1:]] + [1.0]
    return list(zip(bands, ends, strict=True))


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _caption(results: Results) -> str:
    machine, speeds = results.machine, results.speed
    rows = {one.tool: one.rows for one in speeds}
    taken = ", ".join(f"{tool} {count:,}" for tool, count in rows.items())
    lines = [f"{machine['cpu']}, {machine['cores']} cores, two used; load before {machine['load']}."]
    if speeds:
        lines[0] += f" Rows taken of the last corpus: {taken}."
        lines.append(
            "From Parquet to the list of kept rows, tokenising included, 128 permutations in 16 bands, word 5-grams; "
            "what a tool takes to start is not counted."
        )
    if results.quality:
        lines.append("A pair is found when a member of it is dropped. Equal bands and n-grams for all tools.")
    return "\n".join(lines)
