"""What a run did, in numbers."""

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
class Funnel:
    """The numbers of a run; `Report` shows them."""

    rows_in: int
    rows_added: int
    rows_out: int
    steps: tuple[StepRecord, ...]
    lengths: tuple[Lengths, ...] = ()
    seconds: float = 0.0
    columns: tuple[str, ...] = field(default=())

    @property
    def rows_dropped(self) -> int:
        """Rows that steps dropped."""
        return sum(step.dropped_rows for step in self.steps)

    @property
    def reconciles(self) -> bool:
        """Whether `rows in + added = kept + dropped`, as it does after every run."""
        return self.rows_in + self.rows_added == self.rows_out + self.rows_dropped
