"""What happened to every row, from the source to the result.

The ledger lies beside the data: three bytes a source row, and a little more for a row that was dropped. Rows are known
by number: those of the source first, then the added ones in the order of their making. Its one law is
`rows in + added = kept + dropped`; `Ledger.check` holds a run to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.errors import AccountingError
from tilth.frame import Rows
from tilth.step import Codes, Column
from tilth.text.strings import is_text, one_array, strings_of

EXAMPLES = 8
"""How many changed and how many dropped rows a step's record shows."""


@dataclass(frozen=True)
class Example:
    """One row that a step changed or dropped.

    Attributes:
        row: its number in the source.
        column: the column that is shown.
        before: the value before the step, as text.
        after: the value after it; `None` for a dropped row.
        reason: why the row was dropped; `None` for a changed one.
        evidence: the filter's evidence as JSON.
    """

    row: int
    column: str
    before: str
    after: str | None = None
    reason: str | None = None
    evidence: str | None = None


@dataclass
class StepRecord:
    """What one step of a run did.

    Attributes:
        name: its name in the pipeline.
        step: its class.
        kind: `map`, `filter` or `dataset`.
        rows_in: rows it was given.
        rows_out: rows it gave on.
        changed: rows in which a column that was there before has another value.
        dropped: for each reason how many rows it dropped.
        added: rows it added.
        seconds: how long it took, whenever that was.
        cached: whether its work was found on disk instead of done again.
        reads: the columns it looks at.
        writes: the columns it adds or replaces.
        examples: some rows that it changed or dropped.
    """

    name: str
    step: str
    kind: str
    rows_in: int = 0
    rows_out: int = 0
    changed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    added: int = 0
    seconds: float = 0.0
    cached: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    examples: list[Example] = field(default_factory=list)

    @property
    def dropped_rows(self) -> int:
        """Rows dropped for any reason."""
        return sum(self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """This record in terms of JSON."""
        return asdict(self)


class Ledger:
    """The fate of every row of a run.

    Attributes:
        steps: a record for each step, in the order in which they ran.
        dropped_by: for each row the number of the step that dropped it, or -1, shape `(rows,)`.
        reason: for each row the code of the reason, 0 for a row that stayed, shape `(rows,)`.
        depth: for each added row how many generations lie between it and the source, shape `(added,)`.
        parents: for each added row the rows that it was made from.
        generators: for each added row the number of the step that made it, shape `(added,)`.
    """

    def __init__(self, source_rows: int) -> None:
        self.source_rows = source_rows
        self.steps: list[StepRecord] = []
        self.dropped_by: npt.NDArray[np.int16] = np.full(source_rows, -1, dtype=np.int16)
        self.reason: Codes = np.zeros(source_rows, dtype=np.uint8)
        self.depth: npt.NDArray[np.uint16] = np.zeros(0, dtype=np.uint16)
        self.generators: npt.NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self.parents: list[pa.Array] = []
        self._evidence: dict[int, pa.Array] = {}
        self._reasons: dict[int, tuple[str, ...]] = {}

    @property
    def added(self) -> int:
        """Rows that steps added, dropped again or not."""
        return len(self.dropped_by) - self.source_rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this ledger holds."""
        evidence = sum(values.nbytes for values in self._evidence.values())
        parents = sum(array.nbytes for array in self.parents)
        fates = self.dropped_by.nbytes + self.reason.nbytes + self.depth.nbytes + self.generators.nbytes
        return int(fates + evidence + parents)

    def drop(
        self, step: int, rows: Rows, codes: Codes, reasons: tuple[str, ...], evidence: Column | None = None
    ) -> None:
        """Record that step number `step` dropped `rows`, ascending, for the reasons in `codes`, counted from one.

        Raises:
            AccountingError: one of them is unknown or was dropped before, or the step dropped rows before.
        """
        if len(rows) == 0:
            return
        if rows[0] < 0 or rows[-1] >= len(self.dropped_by) or (np.diff(rows) <= 0).any():
            raise AccountingError(
                f"step {step} must drop each row once, in ascending order, from 0 to {len(self.dropped_by) - 1}; "
                f"it drops {rows[:5].tolist()}{'...' if len(rows) > 5 else ''}."
            )
        if step in self._reasons:
            raise AccountingError(f"step {step} has dropped rows before; a step accounts for all of them at once.")
        if (self.dropped_by[rows] != -1).any():
            raise AccountingError(f"step {step} drops rows that an earlier step had dropped.")
        self.dropped_by[rows] = step
        self.reason[rows] = codes
        self._reasons[step] = reasons
        if evidence is not None:
            self._evidence[step] = one_array(evidence)

    def add(self, step: int, parents: pa.Array) -> Rows:
        """Record that step number `step` made a row from each list of parent rows; gives the new rows' numbers.

        Raises:
            AccountingError: a parent is not a row that was there before.
        """
        count = len(parents)
        first = len(self.dropped_by)
        flat = parents.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        if len(flat) and not 0 <= flat.min() <= flat.max() < first:
            raise AccountingError(f"step {step} made a row from row {int(flat.max())}, but there are {first} rows.")
        owner = np.repeat(np.arange(count), parents.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        depth = np.ones(count, dtype=np.uint16)
        np.maximum.at(depth, owner, (self.depth_of(flat) + 1).astype(np.uint16))
        self.dropped_by = np.concatenate([self.dropped_by, np.full(count, -1, dtype=np.int16)])
        self.reason = np.concatenate([self.reason, np.zeros(count, dtype=np.uint8)])
        self.depth = np.concatenate([self.depth, depth])
        self.generators = np.concatenate([self.generators, np.full(count, step, dtype=np.int16)])
        self.parents.append(parents)
        return np.arange(first, first + count)

    def depth_of(self, rows: Rows) -> npt.NDArray[np.uint16]:
        """How many generations lie between each row and the source: 0 for a source row."""
        depth = np.zeros(len(rows), dtype=np.uint16)
        made = rows >= self.source_rows
        depth[made] = self.depth[rows[made] - self.source_rows]
        return depth

    def rejected_rows(self) -> Rows:
        """The rows that were dropped, ascending."""
        return np.flatnonzero(self.dropped_by >= 0)

    def rejections(self) -> pa.Table:
        """For each dropped row, in the order of `rejected_rows`: `rejected_by`, `reason` and `evidence` as JSON."""
        rows = self.rejected_rows()
        steps, codes = self.dropped_by[rows], self.reason[rows]
        by, why = np.empty(len(rows), dtype=object), np.empty(len(rows), dtype=object)
        evidence = np.full(len(rows), None, dtype=object)
        for step, reasons in self._reasons.items():
            here = np.flatnonzero(steps == step)
            by[here] = self.steps[step].name
            why[here] = np.array(reasons, dtype=object)[codes[here] - 1]
            if step in self._evidence:
                evidence[here] = as_json(self._evidence[step]).to_numpy(zero_copy_only=False)
        return pa.table(
            {
                "rejected_by": pa.array(by, pa.string()),
                "reason": pa.array(why, pa.string()),
                "evidence": pa.array(evidence, pa.string(), from_pandas=True),
            }
        )

    def check(self, kept: Rows) -> None:
        """Hold the ledger against the rows that the run gave: every row is kept or dropped, and none is both.

        Raises:
            AccountingError: it does not reconcile.
        """
        alive = np.flatnonzero(self.dropped_by < 0)
        if not np.array_equal(np.sort(kept), alive):
            raise AccountingError(
                f"{self.source_rows} rows in + {self.added} added should be {len(kept)} kept + "
                f"{len(self.rejected_rows())} dropped, each row once; {len(np.setxor1d(kept, alive))} rows are not."
            )
        for record in self.steps:
            if record.rows_in + record.added != record.rows_out + record.dropped_rows:
                raise AccountingError(
                    f"{record.name}: {record.rows_in} rows in + {record.added} added is not "
                    f"{record.rows_out} kept + {record.dropped_rows} dropped."
                )


def as_json(values: pa.Array) -> pa.Array:
    """Each value as JSON text, null where it is null; numbers and structs of numbers without a Python object a row."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return values.cast(pa.string())
    if pa.types.is_struct(kind) and kind.num_fields and values.null_count == 0:
        pieces: list[Any] = []
        for place, name in enumerate(values.type.names):
            label = ("{" if place == 0 else ", ") + json.dumps(name, ensure_ascii=False) + ": "
            pieces += [label, pc.fill_null(as_json(pc.struct_field(values, [place])), "null")]
        return pc.binary_join_element_wise(*pieces, "}", "")
    if is_text(kind):
        view = strings_of(values)
        values = pa.array([view.text(row) for row in range(len(view))], pa.string())
    texts = [
        None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values.to_pylist()
    ]
    return pa.array(texts, pa.string())
