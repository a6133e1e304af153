"""A report as HTML: a compact piece for notebooks, and one page that needs no script and nothing from elsewhere.

Every text that comes from data, a recipe or a user goes through `tilth.report.shown`; nothing else builds markup of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from tilth.report.pictures import funnel, histogram, median
from tilth.report.shown import (
    diff_html,
    escaped,
    excerpt_html,
    number,
    percent,
    seconds,
    short_number,
    shortened,
    visible_html,
)

if TYPE_CHECKING:
    from tilth.ledger import Example, StepRecord
    from tilth.report.funnel import Funnel, Lengths

_WIDE, _NARROW, _NOTEBOOK = 880, 350, 720
_NAME, _TEXT, _EVIDENCE = 120, 480, 300
_REASONS, _REASONS_NOTEBOOK = 8, 3
_OPEN = 3
"""How many examples of a step lie open; the others are a click away."""
_EXAMPLES = 16
_COLUMNS = 12


def page(report: Funnel, title: str) -> str:
    """The page of a report; see `Report.html`."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="tilth">
<title>{escaped(shortened(title, 200))}</title>
<style>
{_css()}</style>
</head>
<body>
<div class="tilth-report tilth-page">
<header>
<h1>{_user(title, 200)}</h1>
{_law(report)}
<p class="about">{_about(report)}</p>
</header>
<main>
{"".join(_sections(report))}</main>
</div>
</body>
</html>
"""


def fragment(report: Funnel) -> str:
    """What a notebook shows of a report."""
    return (
        f'<div class="tilth-report tilth-piece">\n<style>\n{_css()}</style>\n{_law(report)}\n'
        f'<p class="about">{_about(report)}</p>\n{funnel(report.steps, _NOTEBOOK)}\n'
        f"{_table(report, _REASONS_NOTEBOOK)}\n</div>"
    )


@cache
def _css() -> str:
    return (files("tilth.report") / "page.css").read_text(encoding="utf-8")


def _sections(report: Funnel) -> Iterator[str]:
    if report.steps:
        yield (
            f'<section><h2>The funnel</h2><div class="wide">{funnel(report.steps, _WIDE)}</div>'
            f'<div class="narrow">{funnel(report.steps, _NARROW)}</div></section>\n'
        )
        yield f"<section><h2>Step by step</h2>{_table(report)}</section>\n"
    if report.lengths:
        yield f"<section><h2>How long the texts are</h2>{_LEGEND}"
        yield f'<div class="lengths">{"".join(map(_lengths, report.lengths))}</div></section>\n'
    shown = [step for step in report.steps if step.examples]
    if shown:
        yield "<section><h2>What the steps did, for example</h2>"
        yield from map(_examples, shown)
        yield "</section>\n"


_LEGEND = """
<p class="legend"><span><svg width="22" height="12" aria-hidden="true"><path class="before" d="M1 11V4H21V11"/></svg>
before</span><span><svg width="22" height="12" aria-hidden="true"><path class="after" d="M1 11V4H21V11"/></svg>
after</span><span>characters, on a logarithmic axis; areas are shares of rows</span></p>
"""


def _law(report: Funnel) -> str:
    """The law of the ledger, with the numbers of this run."""
    terms = [
        ("", report.rows_in, "rows in"),
        ("+", report.rows_added, "added"),
        ("=" if report.reconciles else "≠", report.rows_out, "kept"),
        ("+", report.rows_dropped, "dropped"),
    ]
    return (
        '<p class="law">'
        + " ".join(
            f'<span class="term {words.replace(" ", "-")}">{f"<i>{sign}</i> " if sign else ""}<b>{number(count)}</b> '
            f"<small>{words}</small></span>"
            for sign, count, words in terms
        )
        + "</p>"
    )


def _about(report: Funnel) -> str:
    steps, cached = len(report.steps), sum(step.cached for step in report.steps)
    said = [f"{number(steps)} step{'' if steps == 1 else 's'} in {seconds(report.seconds)}"]
    if cached:
        said.append(f"{'all' if cached == steps else number(cached)} cached")
    if report.columns:
        more = len(report.columns) - _COLUMNS
        names = ", ".join(_user(column, 60) for column in report.columns[:_COLUMNS])
        said.append(f"columns {names}" + (f" and {number(more)} more" if more > 0 else ""))
    return " · ".join(said)


def _table(report: Funnel, reasons: int = _REASONS) -> str:
    adds = any(step.added for step in report.steps)
    heads = ["rows in", "kept", "changed", "dropped", *(["added"] if adds else []), "time", "rows/s"]
    rows = "".join(_row(step, adds, reasons) for step in report.steps)
    names = "".join(f'<th scope="col" class="{head.split("/")[0].split()[0]}">{head}</th>' for head in heads)
    return f'<table class="steps"><thead><tr><th scope="col">step</th>{names}</tr></thead><tbody>{rows}</tbody></table>'


def _row(step: StepRecord, adds: bool, reasons: int) -> str:
    kind = [_user(step.kind, 40)]
    if step.step != step.name:
        kind.insert(0, _user(step.step, _NAME))
    share = f" <small>{percent((step.rows_out - step.added) / step.rows_in)}</small>" if step.rows_in else ""
    rate = short_number(step.rows_in / step.seconds, exact=1000) if step.seconds > 0 and step.rows_in else "–"
    took = seconds(step.seconds) + (" <small>cached</small>" if step.cached else "")
    cells = [
        ("rows in", number(step.rows_in)),
        ("kept", number(step.rows_out) + share),
        ("changed", number(step.changed) if step.changed else _NONE),
        ("dropped", (number(step.dropped_rows) + _reasons(step.dropped, reasons)) if step.dropped_rows else _NONE),
        *([("added", number(step.added) if step.added else _NONE)] if adds else []),
        ("time", took),
        ("rows/s", rate),
    ]
    name = f'<th scope="row">{_user(step.name, _NAME)} <small>{" · ".join(kind)}</small></th>'
    return f"<tr>{name}" + "".join(_cell(head, cell) for head, cell in cells) + "</tr>\n"


_NONE = '<span class="none">·</span>'


def _cell(head: str, cell: str) -> str:
    kind = "dropped" if head == "dropped" and cell != _NONE else "none" if cell == _NONE else ""
    return f'<td data-head="{head}"{f" class={kind}" if kind else ""}>{cell}</td>'


def _reasons(dropped: Mapping[str, int], most_shown: int) -> str:
    """A bar for each reason, as long as its rows are many beside those of the most frequent one."""
    ranked = sorted(dropped.items(), key=lambda reason: -reason[1])
    if len(ranked) == 1:
        return f"<ul><li class=only>{_user(ranked[0][0], 80)}</li></ul>"
    most = max(1, ranked[0][1])
    lines = [
        f"<li>{_user(reason, 80)} <span>{number(count)}</span>"
        f'<em style="width:{max(0.0, min(100.0, 100 * count / most)):.1f}%"></em></li>'
        for reason, count in ranked[:most_shown]
    ]
    if len(ranked) > most_shown:
        rest = sum(count for _, count in ranked[most_shown:])
        lines.append(f"<li>{number(len(ranked) - most_shown)} more <span>{number(rest)}</span></li>")
    return f"<ul>{''.join(lines)}</ul>"


def _lengths(lengths: Lengths) -> str:
    before, after = median(lengths.edges, lengths.before), median(lengths.edges, lengths.after)
    said = "no text" if before is None else f"median {number(round(before))}"
    if not lengths.after:
        said += "; not in the result"
    elif after is not None:
        said += f" before, {number(round(after))} after"
    caption = f"<figcaption>{_user(lengths.column, _NAME)} <small>{said}</small></figcaption>"
    return f"<figure>{histogram(lengths)}{caption}</figure>"


def _examples(step: StepRecord) -> str:
    did = [
        f"{number(count)} {what}"
        for count, what in ((step.changed, "changed"), (step.dropped_rows, "dropped"))
        if count
    ]
    shown = [_example(example) for example in step.examples[:_EXAMPLES]]
    more = ""
    if len(shown) > _OPEN:
        more = f"<details><summary>{len(shown) - _OPEN} more</summary>{''.join(shown[_OPEN:])}</details>"
    head = f"<h3>{_user(step.name, _NAME)} <small>{', '.join(did)}</small></h3>"
    return f'<section class="examples">{head}{"".join(shown[:_OPEN])}{more}</section>\n'


def _example(example: Example) -> str:
    where = f"row {number(example.row)} · {_user(example.column, _NAME)}"
    if example.after is not None:
        return (
            f'<article><p class="where">{where}</p>'
            f'<div class="text" dir="auto">{diff_html(example.before, example.after)}</div></article>'
        )
    why = f' <b class="reason">{_user(example.reason, 80)}</b>' if example.reason is not None else ""
    proof = f' <span class="evidence">{_evidence(example.evidence)}</span>' if example.evidence is not None else ""
    text = excerpt_html(example.before, _TEXT) if example.before else "<small>empty</small>"
    body = f'<div class="text" dir="auto">{text}</div>'
    return f'<article class="gone"><p class="where">{where}{why}{proof}</p>{body}</article>'


def _evidence(evidence: str) -> str:
    """Evidence as names and values where it is a JSON object, as it stands where it is anything else."""
    if len(evidence) > 10_000:
        return _user(evidence, _EVIDENCE)
    try:
        # A similarity in single precision has ten digits that mean nothing.
        said = json.loads(evidence, parse_float=lambda digits: float(f"{float(digits):.6g}"))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not said:
        return _user(evidence, _EVIDENCE)
    pairs = [
        f"{_user(name, 40)} {_user(value if isinstance(value, str) else json.dumps(value), 120)}"
        for name, value in list(said.items())[:8]
    ]
    return " · ".join(pairs) + (f" · {len(said) - 8} more" if len(said) > 8 else "")


def _user(text: str, most: int) -> str:
    """A text that is not ours, within a line of ours: escaped, bounded, and by itself in its direction."""
    return f"<bdi>{visible_html(shortened(text, most))}</bdi>"
