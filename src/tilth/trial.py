"""All steps on a random sample: what they would keep and change, and how long the whole would take.

A share that is seen on a sample is given with its 95% interval (Wilson's score interval: E. B. Wilson, 1927). What
depends on other rows, such as duplicates, a sample cannot tell, and the trial says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from tilth.frame import like
from tilth.ledger import StepRecord
from tilth.report.shown import number, percent, seconds
from tilth.report.table import STEP_CELLS, Column, Lines, as_text, clip, counts, interval
from tilth.run import Run
from tilth.step import DatasetStep, Step

_Z95 = 1.959964


@dataclass(frozen=True)
class TrialStep:
    """What a step did to the sample.

    Attributes:
        record: the counts and examples on the sample.
        kept: the share of its rows that it kept, with the bounds of a 95% interval; None where a sample cannot tell.
        changed: the share of rows that it changed.
        seconds: the projected time for all rows.
    """

    record: StepRecord
    kept: tuple[float, float, float] | None
    changed: float
    seconds: float


@dataclass(frozen=True)
class Trial:
    """What a sample says of a pipeline.

    Attributes:
        rows: rows tried.
        of: rows of the source.
        steps: what each step did.
        sample: the result on the sample.
    """

    rows: int
    of: int
    steps: tuple[TrialStep, ...]
    sample: Dataset

    @property
    def seconds(self) -> float:
        """The projected time for all rows."""
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        return as_text(self)

    def __rich__(self) -> Lines:
        return _table(self)


def make_trial(steps: Sequence[Step], names: Sequence[str], ds: Dataset, rows: int, seed: int) -> Trial:
    """Run `steps` on `rows` random rows of `ds`; see `Pipeline.trial`."""
    sample = sample_of(ds, rows, seed)
    # Kernels are compiled and tokenizers loaded on first use, which a projection must not count.
    rehearse(steps, names, sample.select(range(min(2, len(sample)))))
    work, result = rehearse(steps, names, sample)
    tried = []
    share = 1.0
    for step, record in zip(steps, work.ledger.steps, strict=True):
        knowable = not (isinstance(step, DatasetStep) and step.needs_all)
        per_row = record.seconds / record.rows_in if record.rows_in else 0.0
        tried.append(
            TrialStep(
                record,
                wilson(record.rows_out - record.added, record.rows_in) if knowable else None,
                record.changed / record.rows_in if record.rows_in else 0.0,
                per_row * share * len(ds),
            )
        )
        share *= record.rows_out / record.rows_in if record.rows_in else 0.0
    return Trial(len(sample), len(ds), tuple(tried), result)


def sample_of(ds: Dataset, rows: int, seed: int) -> Dataset:
    """`rows` random rows in their order, or all if there are no more."""
    chosen = np.random.default_rng(seed).permutation(len(ds))[:rows] if len(ds) > rows else np.arange(len(ds))
    return ds.select(np.sort(chosen))


def rehearse(steps: Sequence[Step], names: Sequence[str], ds: Dataset) -> tuple[Run, Dataset]:
    """A run that leaves nothing behind: no file, no progress bar."""
    root = mkdtemp(prefix="tilth-trial-")
    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        work = Run(ds, Path(root), steps, names)
        result = work.result(steps).with_format(None)
        return work, like(result, _in_memory(result.data.table), result._fingerprint)
    finally:
        if not quiet:
            enable_progress_bars()
        shutil.rmtree(root, ignore_errors=True)


def _in_memory(table: pa.Table) -> InMemoryTable:
    """A copy that needs no file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return InMemoryTable.from_buffer(sink.getvalue())


def wilson(hits: int, of: int) -> tuple[float, float, float]:
    """A share and its 95% score interval.

    Examples:
        >>> [round(x, 3) for x in wilson(90, 100)]
        [0.9, 0.826, 0.945]
    """
    if of == 0:
        return 0.0, 0.0, 1.0
    share, z2 = hits / of, _Z95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 * sqrt(share * (1 - share) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    # Rounding must not put the share itself outside.
    return share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def _table(trial: Trial) -> Lines:
    """What a sample says: shares with their intervals, and the time that all rows would take."""
    records = [step.record for step in trial.steps]
    columns = [
        Column("step", [clip(record.name, STEP_CELLS) for record in records], left=True, style="bold"),
        Column("kind", [clip(record.kind, 12) for record in records], left=True, style="dim", leaves=2),
        Column("tried", [number(record.rows_in) for record in records]),
        Column("kept", [percent(step.kept[0]) if step.kept else "?" for step in trial.steps]),
        Column("95% between", [interval(step.kept) for step in trial.steps], style="dim", leaves=3),
        Column("changed", [percent(step.changed) if step.changed else "·" for step in trial.steps]),
        counts("dropped", [record.dropped_rows for record in records]),
        Column("full run", [seconds(step.seconds) for step in trial.steps]),
    ]
    notes = ["" if step.kept else "depends on all rows: a sample cannot tell" for step in trial.steps]
    came = [
        f"{number(trial.rows)} of {number(trial.of)} rows tried,",
        f"{number(len(trial.sample))} came through;",
        f"all rows would take about {seconds(trial.seconds)}",
    ]
    return Lines(columns, [record.dropped for record in records], notes, None, [("bold", came)])
