"""The funnel of a run: a table in a terminal, HTML in a notebook, and one self-contained page with pictures."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tilth.errors import ArgumentError
from tilth.ledger import Example, StepRecord
from tilth.report.funnel import Funnel, Lengths
from tilth.report.table import Lines, as_text, report_table

T = TypeVar("T")


@dataclass(frozen=True)
class Report(Funnel):
    """What a run did, step by step. It prints as a table, shows itself in a notebook and saves as a page.

    Attributes:
        rows_in: rows of the source.
        rows_added: rows that steps added.
        rows_out: rows of the result.
        steps: a record for each step.
        lengths: the length distributions of the text columns that steps read.
        seconds: how long the run took.
        columns: the columns of the result.

    Examples:
        >>> from tilth.ledger import StepRecord
        >>> step = StepRecord("short", "WordCount", "filter", rows_in=10, rows_out=8, dropped={"too_few_words": 2})
        >>> report = Report(rows_in=10, rows_added=0, rows_out=8, steps=(step,))
        >>> report.rows_dropped, report.reconciles
        (2, True)
        >>> Report.from_dict(report.to_dict()) == report
        True
    """

    version: ClassVar[int] = 1
    """Of what `to_dict` gives; raised whenever an older reader would misread it."""

    def html(self, title: str = "What became of every row") -> str:
        """This report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

        Args:
            title: the heading.
        """
        from tilth.report.page import page

        return page(self, title)

    def save(self, path: str | Path, title: str = "What became of every row") -> None:
        """Write `html` to a file, which appears whole or not at all.

        Args:
            path: the file; its folder is made if need be, and a file of that name is replaced.
            title: the heading.

        Raises:
            OSError: the file cannot be written.
        """
        # Where a link points to is replaced, not the link.
        path = Path(path).resolve()
        text = self.html(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".tilth-{secrets.token_hex(6)}.html")
        try:
            with draft.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def to_dict(self) -> dict[str, Any]:
        """This report in terms of JSON; `from_dict` gives it back exactly."""
        return {"version": self.version, **_as_json(asdict(self))}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Report:
        """The report that `to_dict` made this of.

        Raises:
            ArgumentError: it is of another version, or a field is missing or unknown.
        """
        if not isinstance(said, Mapping) or said.get("version") != cls.version:
            found = said.get("version") if isinstance(said, Mapping) else said
            raise ArgumentError(
                f"Report.from_dict: version={found!r} is not allowed; it must be {cls.version}. Give it what "
                f"Report.to_dict made; a report of a later version needs a later tilth."
            )
        report = _made(cls, {name: value for name, value in said.items() if name != "version"}, "the report")
        steps = tuple(_made(StepRecord, step, f"step {place}") for place, step in enumerate(report.steps, 1))
        for step in steps:
            step.dropped = dict(step.dropped)
            step.examples = [_made(Example, example, f"an example of {step.name}") for example in step.examples]
        lengths = tuple(_made(Lengths, each, "a length distribution") for each in report.lengths)
        return replace(report, steps=steps, lengths=lengths)

    def __rich__(self) -> Lines:
        return report_table(self)

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        from tilth.report.page import fragment

        return fragment(self)


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, list | tuple) else value


def _made(kind: type[T], said: Any, what: str) -> T:
    """An object of a dataclass from its fields in terms of JSON."""
    known = {each.name: str(each.type) for each in fields(kind)}  # type: ignore[arg-type]
    wrong = set(known) ^ set(said) if isinstance(said, Mapping) else known.keys()
    if wrong:
        found = sorted(map(str, said)) if isinstance(said, Mapping) else said
        raise ArgumentError(
            f"Report.from_dict: {what} must have the fields {sorted(known)}, not {found!r}; "
            f"see {sorted(map(str, wrong))}."
        )
    return kind(
        **{name: tuple(said[name]) if type_.startswith("tuple") else said[name] for name, type_ in known.items()}
    )
