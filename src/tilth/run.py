"""One run of a pipeline: each step on what the one before it left, from its checkpoint where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets
from datasets.utils import tqdm

from tilth.checkpoint import Checkpoint
from tilth.errors import StepError
from tilth.frame import (
    Frame,
    Rows,
    in_format_of,
    is_whole,
    like,
    materialised_with,
    no_rows,
    open_batches,
    write_batches,
)
from tilth.ledger import EXAMPLES, Example, Ledger, StepRecord, as_json
from tilth.report import Lengths, Report
from tilth.step import Column, DatasetStep, Dropped, FilterStep, MapStep, Step
from tilth.text.strings import is_text, one_array, strings_of

EXAMPLE_CHARACTERS = 2_000
LENGTH_SAMPLE = 2_500


class Run:
    """Do `steps` on `ds` as soon as it is made.

    Attributes:
        frame: what the steps left.
        ledger: the fate of every row.
        checkpoint: of the last step.
    """

    def __init__(self, ds: Dataset, root: Path, steps: Sequence[Step], names: Sequence[str]) -> None:
        self.source = ds
        self.steps = steps
        self.ledger = Ledger(len(ds))
        self.checkpoint = Checkpoint.of_source(ds, root)
        self.frame = Frame(self._without_index(ds.with_format(None)))
        self._numbers: Rows | None = None
        self._made: list[tuple[int, Dataset]] = []
        began = time.perf_counter()
        with _bar(total=len(steps), desc="pipeline", unit="step", position=0) as bar:
            for step, name in zip(steps, names, strict=True):
                bar.set_postfix_str(name)
                self._do(step, name)
                bar.update()
        self.ledger.check(self.rows)
        self.seconds = time.perf_counter() - began

    @property
    def rows(self) -> Rows:
        """The ledger's numbers of the rows that are alive."""
        return self._numbers_of(np.arange(len(self.frame)))

    def result(self, in_order: Sequence[Step]) -> Dataset:
        """The rows that are alive as one dataset, materialised if any was dropped.

        Args:
            in_order: the steps as they were written, in whose order added columns come.
        """
        order = list(dict.fromkeys([*self.source.column_names, *(name for step in in_order for name in step.writes)]))
        present = self.frame.dataset.column_names
        columns = [name for name in order if name in present] + [name for name in present if name not in order]
        checkpoint = self.checkpoint.after("result " + " ".join(columns))
        frame = Frame(self.frame.dataset.select_columns(columns), self.frame.rows)
        made = frame.dataset
        if frame.rows is not None:
            path = checkpoint.folder / "data.arrow"
            if not is_whole(path):
                schema = made.data.schema
                with _bar(total=len(frame), desc="writing", unit="row", position=0) as bar:
                    write_batches(
                        path, schema, _counted(frame.map_batches(lambda table, _: table, columns), bar.update)
                    )
            made = like(made, open_batches([path]), checkpoint.fingerprint)
        return in_format_of(self.source, like(made, made.data, checkpoint.fingerprint))

    def report(self, result: Dataset) -> Report:
        """What the run did."""
        texts = dict.fromkeys(column for step in self.steps for column in step.reads_text)
        return Report(
            rows_in=self.ledger.source_rows,
            rows_added=self.ledger.added,
            rows_out=len(result),
            steps=tuple(self.ledger.steps),
            lengths=tuple(_lengths(column, self.source, result) for column in texts if column in self.source.features),
            seconds=self.seconds,
            columns=tuple(result.column_names),
        )

    def added_rows(self, numbers: Rows, shape: Dataset) -> Dataset | None:
        """The added rows of these numbers as they were made, with the columns of `shape`; None for no rows."""
        pieces = []
        for first, made in self._made:
            here = numbers[(numbers >= first) & (numbers < first + len(made))] - first
            if len(here):
                table = made.select(here).with_format("arrow")[:]
                columns = {
                    name: table[name] if name in table.column_names else pa.nulls(len(here))
                    for name in shape.column_names
                }
                pieces.append(Dataset(pa.table(columns).cast(shape.features.arrow_schema), info=shape.info.copy()))
        return concatenate_datasets(pieces) if pieces else None

    def _do(self, step: Step, name: str) -> None:
        schema = self.frame.dataset.features.arrow_schema
        step.check(schema)
        kind = "map" if isinstance(step, MapStep) else "filter" if isinstance(step, FilterStep) else "dataset"
        record = StepRecord(name, type(step).__name__, kind, rows_in=len(self.frame), writes=tuple(step.writes))
        record.reads = tuple(step.columns_read(schema.names))
        self.checkpoint = self.checkpoint.after(step)
        # The record stands in the ledger before its rows do: a drop is known by the step's number.
        self.ledger.steps.append(record)
        with _bar(total=len(self.frame), desc=name, unit="row", position=1, leave=False) as bar:
            if isinstance(step, MapStep):
                self._map(step, record, bar.update)
            elif isinstance(step, FilterStep):
                self._filter(step, record, bar.update)
            elif isinstance(step, DatasetStep):
                self._dataset(step, record)
            else:
                raise StepError(f"{step} is a Step but not a MapStep, a FilterStep or a DatasetStep.")
        record.rows_out = len(self.frame)

    def _map(self, step: MapStep, record: StepRecord, advance: Callable[[int], None]) -> None:
        dataset, frame = self.frame.dataset, self.frame
        reads = step.columns_read(dataset.column_names)
        replaced = [name for name in step.writes if name in dataset.column_names]
        columns = list(dict.fromkeys([*reads, *replaced]))
        schema = step.schema(pa.schema([dataset.data.schema.field(name) for name in reads]))
        schema = pa.schema([schema.field(name) for name in step.writes])

        def work(table: pa.Table, first: int) -> tuple[pa.Table, dict[str, Any]]:
            made = step.table_for(table.select(reads), schema)
            changed, some = _changes({name: (table[name], made[name]) for name in replaced}, first)
            spread = frame.spread(made, first, first + table.num_rows)
            return spread, {"changed": changed, "some": some}

        table, notes, record.cached = self.checkpoint.parts(frame, columns, schema, work, advance)
        record.seconds = sum(note["seconds"] for note in notes)
        record.changed = sum(note["changed"] for note in notes)
        self.frame = frame.lay_over(table, self.checkpoint.fingerprint)
        some = [(row, name) for note in notes for name, rows in note["some"].items() for row in rows]
        record.examples = self._changed_examples(frame, some)

    def _filter(self, step: FilterStep, record: StepRecord, advance: Callable[[int], None]) -> None:
        columns = step.columns_read(self.frame.dataset.column_names)
        nothing = no_rows(pa.schema([self.frame.dataset.data.schema.field(name) for name in columns]))
        schema = _judged(step, nothing).schema
        table, notes, record.cached = self.checkpoint.parts(
            self.frame, columns, schema, lambda table, _: (_judged(step, table), {}), advance
        )
        record.seconds = sum(note["seconds"] for note in notes)
        codes = table.table.column("code").to_numpy()
        rows = np.flatnonzero(codes)
        evidence = table.table.column("evidence").take(pa.array(rows)) if "evidence" in schema.names else None
        self._drop(step, record, Dropped(rows, codes[rows], evidence))
        self.frame = self.frame.select(np.flatnonzero(codes == 0))

    def _dataset(self, step: DatasetStep, record: StepRecord) -> None:
        stored = self.checkpoint.recall()
        record.cached = stored is not None
        if stored is None:
            began = time.perf_counter()
            outcome = step.outcome_for(self.frame.selected())
            stored = outcome, time.perf_counter() - began
            self.checkpoint.keep(*stored)
            if outcome.dataset is not None:
                # From disk, so that what the step had in memory can go.
                stored = self.checkpoint.recall() or stored
        outcome, record.seconds = stored
        self._drop(step, record, outcome.dropped)
        if outcome.dataset is None:
            if (np.diff(outcome.origin) > 0).all():
                self.frame = self.frame.select(outcome.origin)
                return
            # The rows of a frame ascend, so another order is written out, as that of a shuffled source is.
            numbers = self._numbers_of(outcome.origin)
            self.frame = Frame(self._without_index(self.frame.selected().select(outcome.origin)))
            self._numbers = numbers
            return
        made = np.flatnonzero(outcome.origin < 0)
        record.added = len(made)
        numbers = self._numbers_of(np.maximum(outcome.origin, 0)) if len(self.frame) else outcome.origin.copy()
        if record.added:
            parents = (
                outcome.parents if outcome.parents is not None else pa.array([[]] * len(made), pa.list_(pa.int64()))
            )
            flat = self._numbers_of(parents.flatten().to_numpy(zero_copy_only=False).astype(np.int64))
            offsets = np.concatenate(
                [[0], np.cumsum(parents.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))]
            )
            fresh = self.ledger.add(
                len(self.ledger.steps) - 1, pa.ListArray.from_arrays(offsets.astype(np.int32), flat)
            )
            numbers[made] = fresh
            self._made.append((int(fresh[0]), outcome.dataset.select(made)))
        self._numbers = numbers
        self.frame = Frame(outcome.dataset)

    def _drop(self, step: FilterStep | DatasetStep, record: StepRecord, dropped: Dropped) -> None:
        """Enter dropped rows of the frame, counted within it, in the ledger and in the step's record."""
        numbers = self._numbers_of(dropped.rows)
        evidence = dropped.evidence
        if isinstance(step, DatasetStep) and evidence is not None:
            evidence = self._in_source_rows(evidence, step.row_evidence)
        ascending = np.argsort(numbers, kind="stable")
        in_order = None if evidence is None else evidence.take(pa.array(ascending))
        self.ledger.drop(
            len(self.ledger.steps) - 1, numbers[ascending], dropped.codes[ascending], step.reasons, in_order
        )
        counts = np.bincount(dropped.codes, minlength=len(step.reasons) + 1)
        record.dropped = {reason: int(counts[code]) for code, reason in enumerate(step.reasons, 1) if counts[code]}
        record.examples = self._dropped_examples(step, dropped, evidence)

    def _changed_examples(self, before: Frame, some: list[tuple[int, str]]) -> list[Example]:
        """Of these rows and columns a few, as they were in `before` and as they are now."""
        examples: list[Example] = []
        for place in np.argsort(_shuffled([row for row, _ in some]), kind="stable"):
            row, column = np.array(some[place][:1]), some[place][1]
            was, now = (_shown(frame.take(column, row)[0]) for frame in (before, self.frame))
            if was != now:
                examples.append(Example(int(self._numbers_of(row)[0]), column, was, now))
            if len(examples) == EXAMPLES:
                break
        return examples

    def _dropped_examples(
        self, step: FilterStep | DatasetStep, dropped: Dropped, evidence: Column | None
    ) -> list[Example]:
        shown = np.argsort(_shuffled(self._numbers_of(dropped.rows)), kind="stable")[:EXAMPLES]
        columns = step.reads_text or step.columns_read(self.frame.dataset.column_names)
        if len(shown) == 0 or not columns:
            return []
        rows = dropped.rows[shown]
        ascending = np.argsort(rows)
        taken = self.frame.take(columns[0], rows[ascending])
        values = taken.take(pa.array(np.argsort(ascending)))
        numbers = self._numbers_of(rows).tolist()
        reasons = [step.reasons[code - 1] for code in dropped.codes[shown].tolist()]
        proofs: list[str | None] = [None] * len(shown)
        if evidence is not None:
            proofs = as_json(one_array(evidence.take(pa.array(shown)))).to_pylist()
        return [
            Example(number, columns[0], _shown(value), None, reason, None if proof is None else _short(proof))
            for number, value, reason, proof in zip(numbers, values, reasons, proofs, strict=True)
        ]

    def _in_source_rows(self, evidence: Column, names: tuple[str, ...]) -> Column:
        array = one_array(evidence)
        if not names or not pa.types.is_struct(array.type):
            return array
        fields = {name: pc.struct_field(array, name) for name in array.type.names}
        for name in names:
            rows = fields[name]
            known = pc.fill_null(rows, 0).to_numpy(zero_copy_only=False).astype(np.int64)
            fields[name] = pa.array(self._numbers_of(known), mask=pc.is_null(rows).to_numpy(zero_copy_only=False))
        return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))

    def _numbers_of(self, rows: Rows) -> Rows:
        """The ledger's numbers of rows of the frame, counted within it."""
        rows = rows if self.frame.rows is None else self.frame.rows[rows]
        return rows if self._numbers is None else self._numbers[rows]

    def _without_index(self, ds: Dataset) -> Dataset:
        if ds._indices is None:
            return ds
        checkpoint = self.checkpoint.after("source")
        return materialised_with(ds, None, checkpoint.folder / "data.arrow", checkpoint.fingerprint)


def _judged(step: FilterStep, table: pa.Table) -> pa.Table:
    verdict = step.verdict_for(table)
    columns = {"code": pa.array(verdict.codes)}
    if verdict.evidence is not None:
        columns["evidence"] = pc.if_else(pa.array(~verdict.kept), verdict.evidence, None)
    return pa.table(columns)


def _changes(pairs: dict[str, tuple[Column, Column]], first: int) -> tuple[int, dict[str, list[int]]]:
    """How many rows differ in any of the columns, and for each column some that do, counted from `first`."""
    differs: npt.NDArray[np.bool_] | None = None
    some: dict[str, list[int]] = {}
    for name, (before, after) in pairs.items():
        here = _differs(before, after)
        if here is None:
            continue
        differs = here if differs is None else differs | here
        rows = np.flatnonzero(here) + first
        some[name] = rows[np.argsort(_shuffled(rows), kind="stable")[:EXAMPLES]].tolist()
    return (0 if differs is None else int(differs.sum())), some


def _differs(before: Column, after: Column) -> npt.NDArray[np.bool_] | None:
    if before is after:
        return None
    before, after = one_array(before), one_array(after)
    if before.type != after.type:
        before = before.cast(after.type)
    if before.equals(after):
        return None
    if pa.types.is_nested(after.type):
        return np.array([x != y for x, y in zip(before.to_pylist(), after.to_pylist(), strict=True)], dtype=np.bool_)
    unequal = pc.fill_null(pc.not_equal(before, after), False).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(after.type):
        # Not a number is the same as not a number here.
        both = pc.fill_null(pc.and_(pc.is_nan(before), pc.is_nan(after)), False)
        unequal = unequal & ~both.to_numpy(zero_copy_only=False)
    one_null = pc.xor(pc.is_null(before), pc.is_null(after)).to_numpy(zero_copy_only=False)
    return np.asarray(unequal | one_null, dtype=np.bool_)


def _lengths(column: str, source: Dataset, result: Dataset) -> Lengths:
    before = _characters(column, source)
    after = _characters(column, result) if column in result.column_names else np.zeros(0, dtype=np.int64)
    longest = max(1, int(max(before.max(initial=0), after.max(initial=0))))
    edges = np.unique(np.concatenate([[0, 1], np.round(np.geomspace(1, longest + 1, 33)).astype(np.int64)]))
    shares = [
        tuple((np.histogram(values, edges)[0] / max(1, len(values))).round(6).tolist()) for values in (before, after)
    ]
    return Lengths(column, tuple(edges.tolist()), shares[0], shares[1] if column in result.column_names else ())


def _characters(column: str, ds: Dataset) -> npt.NDArray[np.int64]:
    step = max(1, -(-len(ds) // LENGTH_SAMPLE))
    if not len(ds):
        return np.zeros(0, dtype=np.int64)
    values = Frame.of(ds).take(column, np.arange(0, len(ds), step))
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return np.zeros(0, dtype=np.int64)
    lengths = pc.utf8_length(values.drop_null()).to_numpy()
    return np.asarray(lengths, dtype=np.int64)


def _shuffled(rows: Any) -> Any:
    """Numbers in no order, the same for the same rows: which examples are shown does not depend on batches."""
    mixed = (np.atleast_1d(np.asarray(rows, dtype=np.uint64)) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def _shown(value: pa.Scalar) -> str:
    """A value as text; bytes that are not UTF-8 become U+FFFD."""
    if is_text(value.type):
        return _short(strings_of(pa.array([value], value.type)).text(0) or "")
    return "" if not value.is_valid else _short(repr(value.as_py()))


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"


def _counted(tables: Iterator[pa.Table], advance: Callable[[int], None]) -> Iterator[pa.Table]:
    for table in tables:
        advance(table.num_rows)
        yield table


_bar = partial(tqdm, dynamic_ncols=True)
