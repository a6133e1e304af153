"""The funnel of a run: as a table in a terminal, as HTML in a notebook, and as one self-contained page with pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

from tilth.ledger import StepRecord


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a column are, in characters, before and after the run, on a sample of the rows.

    Attributes:
        column: the column.
        edges: the bounds of the bins, `bins + 1` of them.
        before: share of the source's rows in each bin.
        after: share of the result's rows in each bin; empty where the result has no such column.
    """

    column: str
    edges: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """What a run did, step by step.

    Attributes:
        rows_in: rows of the source.
        rows_added: rows that steps added.
        rows_out: rows of the result.
        steps: a record for each step.
        lengths: the length distributions of the text columns that steps read.
        seconds: how long the run took.
        columns: the columns of the result.
    """

    rows_in: int
    rows_added: int
    rows_out: int
    steps: tuple[StepRecord, ...]
    lengths: tuple[Lengths, ...] = ()
    seconds: float = 0.0
    columns: tuple[str, ...] = field(default=())
