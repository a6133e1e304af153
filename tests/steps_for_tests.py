"""Small steps that tests of the pipeline chain in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets

from tilth.step import DatasetStep, Dropped, FilterStep, MapStep, Outcome, Verdict


@dataclass(frozen=True)
class Upper(MapStep):
    column: str

    @property
    def writes(self):
        return (self.column,)

    def transform(self, table):
        return {self.column: pc.utf8_upper(table[self.column])}


@dataclass(frozen=True)
class Filled(MapStep):
    """Another value for nulls, and for nothing else: of any type."""

    column: str
    with_: Any

    @property
    def reads_text(self):
        return ()

    @property
    def writes(self):
        return (self.column,)

    def transform(self, table):
        values = table[self.column]
        filled = [self.with_ if value is None else value for value in values.to_pylist()]
        return {self.column: pa.array(filled, values.type)}


@dataclass(frozen=True)
class Length(MapStep):
    column: str
    into: str = "length"

    @property
    def writes(self):
        return (self.into,)

    def transform(self, table):
        return {self.into: pc.utf8_length(table[self.column])}


@dataclass(frozen=True)
class AtLeast(FilterStep):
    column: str
    characters: int

    reasons: ClassVar[tuple[str, ...]] = ("null_text", "short")

    def metrics(self, table):
        return {"characters": pc.utf8_length(table[self.column])}

    def verdict(self, table):
        found = self.metrics(table)["characters"]
        return Verdict.first_of(null_text=pc.is_null(found), short=pc.less(found, self.characters), evidence=found)


@dataclass(frozen=True)
class Without(FilterStep):
    column: str
    text: str

    reasons: ClassVar[tuple[str, ...]] = ("found",)

    def verdict(self, table):
        return Verdict.first_of(found=pc.match_substring(table[self.column], self.text))


@dataclass(frozen=True)
class FirstOfEach(DatasetStep):
    column: str

    reasons: ClassVar[tuple[str, ...]] = ("copy",)
    row_evidence: ClassVar[tuple[str, ...]] = ("kept_row",)

    def run(self, ds):
        first, rows, kept = {}, [], []
        for row, value in enumerate(ds[self.column][:]):
            if first.setdefault(value, row) != row:
                rows.append(row)
                kept.append(first[value])
        evidence = pa.StructArray.from_arrays([pa.array(kept, pa.int64())], names=["kept_row"])
        return Outcome.without(Dropped(np.array(rows, dtype=np.int64), np.ones(len(rows), np.uint8), evidence), len(ds))


@dataclass(frozen=True)
class Turned(DatasetStep):
    """Keeps every row but each `without`-th, the last one first."""

    without: int

    reasons: ClassVar[tuple[str, ...]] = ("counted_out",)

    def run(self, ds):
        rows = np.arange(len(ds))
        out = rows % self.without == self.without - 1
        return Outcome(rows[~out][::-1].copy(), Dropped(rows[out], np.ones(out.sum(), dtype=np.uint8)))


@dataclass(frozen=True)
class Echo(DatasetStep):
    """Adds a copy of every `every`-th row, with two parents each where there are two."""

    every: int

    def run(self, ds):
        made = np.arange(0, len(ds), self.every)
        parents = pa.array([sorted({int(row), max(0, int(row) - 1)}) for row in made], pa.list_(pa.int64()))
        both = concatenate_datasets([ds, ds.select(made)]) if len(ds) else ds
        origin = np.concatenate([np.arange(len(ds)), np.full(len(made), -1)])
        return Outcome(origin, Dropped.none(), Dataset(both.flatten_indices().data), parents, "echo")


@dataclass(frozen=True)
class Pairs(DatasetStep):
    """Joins neighbours into one added row: every row is dropped, as packing does."""

    column: str

    reasons: ClassVar[tuple[str, ...]] = ("joined",)

    def run(self, ds):
        texts = ds[self.column][:]
        joined = [" ".join(text or "" for text in texts[at : at + 2]) for at in range(0, len(texts), 2)]
        parents = [list(range(at, min(at + 2, len(texts)))) for at in range(0, len(texts), 2)]
        columns = {name: pa.nulls(len(joined), ds.features.arrow_schema.field(name).type) for name in ds.column_names}
        columns[self.column] = pa.array(joined, ds.features.arrow_schema.field(self.column).type)
        rows = np.arange(len(ds))
        return Outcome(
            np.full(len(joined), -1),
            Dropped(rows, np.ones(len(rows), np.uint8)),
            Dataset(pa.table(columns)),
            pa.array(parents, pa.list_(pa.int64())),
            "pairs",
        )
