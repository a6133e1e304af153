"""The cheapest order of steps that gives the same rows.

Two steps may swap when neither touches what the other writes; two filters always may. Every order that keeps the
pairs that may not swap is then reachable by swaps of neighbours, so it gives the same rows. Among those orders the
cheapest is found exactly, by dynamic programming over sets of steps, with costs and selectivities measured on a sample
and taken as independent. A step that needs all rows is never crossed; what crossing it would save is listed as an
option.

Moving a filter can change which of two filters is named for a row that both would drop, never whether it is dropped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.report.shown import number, percent, seconds, shortened, visible
from tilth.report.table import STEP_CELLS, Column, Lines, as_text, clip
from tilth.step import EVERY_COLUMN, DatasetStep, FilterStep, MapStep, Step, with_columns
from tilth.text.threads import threads
from tilth.trial import sample_of

T = TypeVar("T")

_EXACT = 14
"""Up to this many steps side by side the best order is found exactly; beyond, step by step."""


@dataclass(frozen=True)
class Measured:
    """What the sample says of a step.

    Attributes:
        name: its name.
        seconds_per_row: what it costs.
        kept: the share of rows that it keeps.
    """

    name: str
    seconds_per_row: float
    kept: float


@dataclass(frozen=True)
class Option:
    """A swap that would save time but could change rows; it is never done by itself.

    Attributes:
        move: the step that would come earlier.
        before: the step that it would come before.
        seconds: what that would save.
        changes: what it could change.
    """

    move: str
    before: str
    seconds: float
    changes: str


@dataclass(frozen=True)
class Plan:
    """An order of steps, and why.

    Attributes:
        order: the places of the steps as written, in the order in which to do them.
        steps: what was measured, as written.
        seconds_written: the projected time in the written order.
        seconds_planned: the projected time in this one.
        rows: rows of the source.
        options: swaps that could change rows.
    """

    order: list[int]
    steps: tuple[Measured, ...]
    seconds_written: float
    seconds_planned: float
    rows: int
    options: tuple[Option, ...] = ()

    @property
    def saving(self) -> float:
        """The share of the time that the planned order saves."""
        return 1 - self.seconds_planned / self.seconds_written if self.seconds_written else 0.0

    def __str__(self) -> str:
        return as_text(self)

    def __rich__(self) -> Lines:
        return _table(self)


def make_plan(
    steps: Sequence[Step],
    names: Sequence[str],
    ds: Dataset,
    rows: int = 1000,
    seed: int = 0,
    cache: Path | None = None,
) -> Plan:
    """Measure `steps` on a sample of `ds` and order them; see `Pipeline.plan`.

    Args:
        steps: as written.
        names: of the steps.
        ds: the source.
        rows: how many rows to measure on.
        seed: of the sample.
        cache: a folder where a plan is kept and found again: times vary, and a run that is resumed must keep its order.
    """
    kept = cache / f"plan-{_key(steps, ds)}.json" if cache is not None else None
    if kept is not None and kept.exists():
        return _from_json(kept.read_text())
    measured = _measure(steps, names, sample_of(ds, rows, seed))
    order = cheapest_order(steps, measured)
    plan = Plan(
        order,
        measured,
        cost(measured, range(len(steps))) * len(ds),
        cost(measured, order) * len(ds),
        len(ds),
        tuple(_options(steps, measured, len(ds))),
    )
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(plan)))
        draft.replace(kept)
    return plan


def may_swap(one: Step, other: Step) -> bool:
    """Whether two steps next to each other give the same rows in either order."""
    if isinstance(one, DatasetStep) or isinstance(other, DatasetStep):
        return False
    if isinstance(one, FilterStep) and isinstance(other, FilterStep):
        return True
    if set(one.writes) & set(other.writes):
        return False
    return not _touches(one, other) and not _touches(other, one)


def cost(measured: Sequence[Measured], order: Sequence[int]) -> float:
    """The expected seconds for each source row when the steps are done in this order."""
    total, alive = 0.0, 1.0
    for place in order:
        total += alive * measured[place].seconds_per_row
        alive *= measured[place].kept
    return total


def cheapest_order(steps: Sequence[Step], measured: Sequence[Measured]) -> list[int]:
    """The cheapest order in which pairs that may not swap stay as they are; of equals, the nearest to the written."""
    order: list[int] = []
    block: list[int] = []
    for place, step in enumerate(steps):
        if isinstance(step, DatasetStep):
            order += _cheapest_block(steps, measured, block)
            order.append(place)
            block = []
        else:
            block.append(place)
    return order + _cheapest_block(steps, measured, block)


def _measure(steps: Sequence[Step], names: Sequence[str], sample: Dataset) -> tuple[Measured, ...]:
    """What each step costs a row, and what share it keeps of the rows that reach it or that a filter beside it drops.

    A map or a filter is measured on the whole sample, dropped rows and all: on what may come to it in another order,
    and on enough rows to tell what one costs.
    """
    measured = []
    table = sample.with_format("arrow")[:].combine_chunks()
    alive = np.ones(table.num_rows, dtype=np.bool_)
    for step, name in zip(steps, names, strict=True):
        rows = table.num_rows
        if isinstance(step, MapStep):
            seconds, columns = _timed(lambda: step.columns_for(table))  # noqa: B023
            table, kept = with_columns(table, columns), 1.0
        elif isinstance(step, FilterStep):
            seconds, verdict = _timed(lambda: step.verdict_for(table))  # noqa: B023
            alive &= verdict.kept
            kept = float(verdict.kept.mean()) if rows else 1.0
        elif isinstance(step, DatasetStep):
            ds = Dataset(table.filter(pa.array(alive)))
            rows = len(ds)
            seconds, outcome = _timed(lambda: step.run(ds))  # noqa: B023
            kept = len(outcome.origin) / rows if rows else 1.0
            if outcome.dataset is None:
                alive[np.delete(np.flatnonzero(alive), outcome.origin)] = False
            else:
                table = outcome.dataset.with_format("arrow")[:].combine_chunks()
                alive = np.ones(table.num_rows, dtype=np.bool_)
        # Row-wise steps work on all threads, a step that needs all rows has its own.
        side_by_side = 1 if isinstance(step, DatasetStep) else threads()
        measured.append(Measured(name, seconds / rows / side_by_side if rows else 0.0, kept))
    return tuple(measured)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the second of two calls, since the first compiles and loads; and what it gave."""
    work()
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _cheapest_block(steps: Sequence[Step], measured: Sequence[Measured], block: list[int]) -> list[int]:
    count = len(block)
    needs = [
        sum(1 << before for before in range(at) if not may_swap(steps[block[before]], steps[block[at]]))
        for at in range(count)
    ]
    if count > _EXACT:
        return _greedy_block(measured, block, needs)
    alive = [1.0] * (1 << count)
    best: list[tuple[float, tuple[int, ...]]] = [(float("inf"), ())] * (1 << count)
    best[0] = (0.0, ())
    for done in range(1 << count):
        so_far, order = best[done]
        if so_far == float("inf"):
            continue
        for at in range(count):
            if done >> at & 1 or needs[at] & ~done:
                continue
            step = measured[block[at]]
            after = done | 1 << at
            alive[after] = alive[done] * step.kept
            candidate = (so_far + alive[done] * step.seconds_per_row, (*order, at))
            # The written order wins unless the other is cheaper by more than rounding.
            if candidate[0] < best[after][0] * (1 - 1e-9) or (
                candidate[0] <= best[after][0] * (1 + 1e-9) and candidate[1] < best[after][1]
            ):
                best[after] = candidate
    return [block[at] for at in best[-1][1]]


def _greedy_block(measured: Sequence[Measured], block: list[int], needs: list[int]) -> list[int]:
    """Next is always the allowed step that drops most rows for its cost."""
    done = 0
    order: list[int] = []
    while len(order) < len(block):
        allowed = [at for at in range(len(block)) if not done >> at & 1 and not needs[at] & ~done]
        rate = {at: (1 - measured[block[at]].kept) / max(measured[block[at]].seconds_per_row, 1e-12) for at in allowed}
        chosen = max(allowed, key=lambda at: (rate[at], -at))
        done |= 1 << chosen
        order.append(block[chosen])
    return order


def _options(steps: Sequence[Step], measured: Sequence[Measured], rows: int) -> list[Option]:
    options = []
    for place, step in enumerate(steps):
        if not isinstance(step, DatasetStep):
            continue
        for later in range(place + 1, len(steps)):
            mover = steps[later]
            if isinstance(mover, DatasetStep):
                break
            between = steps[place + 1 : later]
            free = not _touches(step, mover) and all(may_swap(other, mover) for other in between)
            if not isinstance(mover, FilterStep) or not free:
                continue
            order = [*range(place), later, *(at for at in range(place, len(steps)) if at != later)]
            saving = (cost(measured, range(len(steps))) - cost(measured, order)) * rows
            if saving > 0:
                options.append(
                    Option(
                        measured[later].name,
                        measured[place].name,
                        saving,
                        f"{measured[place].name} would no longer see rows that {measured[later].name} drops, so other "
                        f"rows of a group may stay",
                    )
                )
    return options


def _touches(writer: Step, reader: Step) -> bool:
    if reader.reads == EVERY_COLUMN:
        return bool(writer.writes)
    return bool(set(writer.writes) & set(reader.reads))


def _key(steps: Sequence[Step], ds: Dataset) -> str:
    words = "\n".join([ds._fingerprint, *(step.fingerprint for step in steps)])
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _from_json(text: str) -> Plan:
    plan = json.loads(text)
    plan["steps"] = tuple(Measured(**step) for step in plan["steps"])
    plan["options"] = tuple(Option(**option) for option in plan["options"])
    return Plan(**plan)


def _table(plan: Plan) -> Lines:
    """The steps in the order to do them, with what each costs there."""
    steps = [plan.steps[place] for place in plan.order]
    alive, here = 1.0, []
    for step in steps:
        here.append(alive * step.seconds_per_row * plan.rows)
        alive *= step.kept
    moved = [f"was {place + 1}" if place != at else "" for at, place in enumerate(plan.order)]
    columns = [
        Column("", [str(at) for at in range(1, len(steps) + 1)], style="dim"),
        Column("step", [clip(step.name, STEP_CELLS) for step in steps], left=True, style="bold"),
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
            f"{clip(option.move, 40)} before {clip(option.before, 40)} would save {seconds(option.seconds)}, but it "
            f"is not done by itself: {visible(shortened(option.changes, 1000))}."
        )
        footer.append(("dim", said.split(" ")))
    return Lines(columns, [{}] * len(steps), [""] * len(steps), None, footer)
