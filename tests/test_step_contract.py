"""What a step refuses, what it catches in a broken step, and the words it says it with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from tests.test_step import AtLeast, FirstOfEach, Quote, build
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, StepError
from tilth.step import DatasetStep, Dropped, FilterStep, MapStep, Outcome, Verdict


def test_a_missing_column_is_named_with_those_present_before_any_work(monkeypatch):
    ds = Dataset.from_dict({"text": ["a"], "id": [1]})
    for step in (Quote("texd"), AtLeast("texd"), FirstOfEach("texd")):
        for method in ("transform", "verdict", "run"):
            monkeypatch.setattr(type(step), method, None, raising=False)
        message = f"{step} reads column 'texd', which is not in the data; it has ['text', 'id']. Did you mean 'text'?"
        for data in (ds, DatasetDict({"train": ds}), ds.to_iterable_dataset()):
            if isinstance(step, DatasetStep) and isinstance(data, IterableDataset):
                continue
            with pytest.raises(MissingColumnError) as error:
                step.apply(data)
            assert str(error.value) == message
    with pytest.raises(ValueError, match="reads column 'texd'"):
        ds.map(Quote("texd"), batched=True)
    with pytest.raises(MissingColumnError, match="reads column 'texd'"):
        ds.with_format("arrow").filter(AtLeast("texd"), batched=True)
    with pytest.raises(MissingColumnError, match=r"it has \['text', 'id'\]\.$"):
        Quote("elsewhere").apply(ds)


def test_a_column_that_is_not_text_is_named_with_what_it_holds():
    ds = build(["a"])
    for column, found in (("id", "int16"), ("scores", r"list<item: float>"), ("label", "int64")):
        for step in (Quote(column), AtLeast(column), FirstOfEach(column)):
            with pytest.raises(
                ColumnTypeError, match=rf"^{step} reads column '{column}' as text, but it holds {found}"
            ):
                step.apply(ds)
    with pytest.raises(TypeError, match="reads column 'id' as text, but it holds int64"):
        ds.map(Quote("id"), batched=True)
    with pytest.raises(TypeError, match="reads column 'id' as text, but it holds int16"):
        ds.with_format("arrow").filter(AtLeast("id"), batched=True)
    with pytest.raises(TypeError, match="reads column 'id' as text, but it holds int16"):
        AtLeast("id").apply(ds.to_iterable_dataset())


@pytest.mark.parametrize("kind", [None, "numpy"])
def test_a_single_row_is_refused_with_what_to_do(kind):
    ds = build(["a", None]).with_format(kind)
    advice = r"was given one value of 'text' instead of a batch\. Pass batched=True: ds\.map\(step, batched=True\)"
    with pytest.raises(TypeError, match=advice):
        ds.map(Quote())
    with pytest.raises(TypeError, match=advice):
        ds.filter(AtLeast())
    with pytest.raises(TypeError, match=advice):
        next(iter(ds.to_iterable_dataset().map(Quote())))
    with pytest.raises(TypeError, match=advice):
        Quote()({"text": None})


def test_a_dataset_step_is_refused_where_not_all_rows_are_seen():
    ds = build(["a", "b"])
    with pytest.raises(TypeError, match=r"FirstOfEach needs all rows at once.*Use step\.apply\(ds\)"):
        ds.map(FirstOfEach(), batched=True)
    with pytest.raises(TypeError, match=r"FirstOfEach needs all rows at once.*Use step\.apply\(ds\)"):
        ds.with_format("arrow").filter(FirstOfEach(), batched=True)
    with pytest.raises(TypeError, match=r"cannot run on an IterableDataset\. Load the data as a Dataset"):
        FirstOfEach().apply(ds.to_iterable_dataset())


def test_what_is_no_dataset_is_refused_with_how_to_make_one():
    with pytest.raises(TypeError, match=r"not to list\. Make one with Dataset\.from_list"):
        Quote().apply([{"text": "a"}])
    with pytest.raises(TypeError, match="not to Table"):
        Quote().apply(pa.table({"text": ["a"]}))


@dataclass(frozen=True)
class Broken(MapStep):
    how: str
    column: str = "text"
    writes = ("out",)

    def transform(self, table):
        n = table.num_rows
        return {
            "short": {"out": pa.array([1] * (n - 1 if n else 0), pa.int64())},
            "undeclared": {"out": pa.nulls(n, pa.int64()), "more": pa.nulls(n, pa.int64())},
            "withheld": {},
            "untyped": {"out": pa.array([1] * n)},
        }[self.how]


@pytest.mark.parametrize(
    "how, message",
    [
        ("short", r"Broken\.transform gave 2 values of 'out' for 3 rows\."),
        ("undeclared", r"Broken\.transform gave columns \['more', 'out'\], but writes says \['out'\]\."),
        ("withheld", r"Broken\.transform gave columns \[\], but writes says \['out'\]\."),
    ],
)
def test_a_map_that_breaks_its_contract_is_caught(how, message):
    ds = build(["a", "b", "c"])
    for work in (
        lambda: Broken(how).apply(ds),
        lambda: ds.map(Broken(how), batched=True),
        lambda: ds.with_format("arrow").map(Broken(how), batched=True),
        lambda: list(Broken(how).apply(ds.to_iterable_dataset())),
    ):
        with pytest.raises(StepError, match=message):
            work()


def test_a_map_that_does_not_type_its_arrays_is_told_to():
    with pytest.raises(
        StepError, match=r"'out' as null for a table of no rows, and as int64.*pa\.array\(values, pa\.int64"
    ):
        Broken("untyped").apply(build(["a"]))


@dataclass(frozen=True)
class Misjudging(FilterStep):
    how: str
    column: str = "text"
    reasons = ("short",)

    def verdict(self, table):
        n = table.num_rows
        codes = np.ones(n - 1 if self.how == "short" else n, np.uint8)
        match self.how:
            case "short":
                return Verdict(codes, self.reasons)
            case "undeclared":
                return Verdict(codes, ("other",))
            case "code":
                return Verdict(codes + 1, self.reasons)
            case "evidence":
                return Verdict(codes, self.reasons, pa.nulls(n + 1))
            case _:
                return Verdict.first_of(short=np.ones(n, bool), other=np.ones(n + 1, bool))


@pytest.mark.parametrize(
    "how, message",
    [
        ("short", r"Misjudging\.verdict judged 2 rows of 3\."),
        ("undeclared", r"gave reasons \('other',\), but the step declares \('short',\)\."),
        ("code", r"a verdict has code 2 but only the reasons \('short',\)"),
        ("evidence", r"a verdict on 3 rows has evidence for 4\."),
        ("conditions", r"condition 'short' judges 3 rows, another 4\."),
    ],
)
def test_a_filter_that_breaks_its_contract_is_caught(how, message):
    ds = build(["a", "b", "c"])
    for work in (
        lambda: Misjudging(how).apply(ds),
        lambda: ds.filter(Misjudging(how), batched=True),
        lambda: ds.with_format("arrow").filter(Misjudging(how), batched=True),
    ):
        with pytest.raises(StepError, match=message):
            work()


@dataclass(frozen=True)
class Miscounting(DatasetStep):
    how: str
    reasons = ("gone",)

    def run(self, ds):
        one = np.ones(1, np.uint8)
        return {
            "lost": Outcome(np.array([0]), Dropped(np.array([1]), one)),
            "twice": Outcome(np.array([0, 1, 2]), Dropped(np.array([1]), one)),
            "unknown": Outcome(np.array([0, 1, 2, 3]), Dropped.none()),
            "added": Outcome(np.array([0, 1, 2, -1]), Dropped.none()),
            "length": Outcome(np.array([0, 1, 2]), Dropped.none(), ds.select([0, 1])),
            "code": Outcome(np.array([0, 1]), Dropped(np.array([2]), one * 2)),
            "codes": Outcome(np.array([0, 1]), Dropped(np.array([2]), np.ones(2, np.uint8))),
        }[self.how]


@pytest.mark.parametrize(
    "how, message",
    [
        ("lost", "says 0 times what became of input row 2; it must say it once"),
        ("twice", "says 2 times what became of input row 1; it must say it once"),
        ("unknown", "speaks of input row 3, but there are 3"),
        ("added", "added rows, but gave no dataset that holds them"),
        ("length", "gave 2 rows but says where 3 come from"),
        ("code", r"drops rows for codes outside its reasons \('gone',\)"),
        ("codes", "drops 1 rows but gives 2 reasons"),
    ],
)
def test_a_dataset_step_that_breaks_its_contract_is_caught(how, message):
    with pytest.raises(StepError, match=message):
        Miscounting(how).apply(build(["a", "b", "c"]))


def test_a_verdict_needs_a_condition():
    with pytest.raises(ArgumentError, match="at least one named condition"):
        Verdict.first_of()


def test_a_filter_that_measures_nothing_has_no_scores():
    with pytest.raises(ArgumentError, match="it must be a filter that measures something"):
        Misjudging("short").scores()
