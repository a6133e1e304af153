"""A policy ranks the rows, best first; ties fall to the earlier row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.dedup import Exact
from tilth.dedup.keep import check_keep, keep_column, priority
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError

STEP = Exact("text")


def ranked(keep, ds, columns=("text",)):
    return priority(STEP, keep, ds, columns).tolist()


def test_rank_by_order():
    ds = Dataset.from_dict({"text": ["a", "b", "c"]})
    assert ranked("first", ds) == [0, 1, 2]
    assert ranked("none", ds) == [0, 1, 2]
    assert ranked("last", ds) == [2, 1, 0]


def test_rank_by_characters_not_bytes_over_all_columns_of_text():
    ds = Dataset.from_dict({"text": ["ééé", "abcd", None, "x"], "other": ["", None, None, "yz"], "n": [1, 2, 3, 4]})
    assert ranked("longest", ds) == [1, 0, 3, 2]
    assert ranked("shortest", ds) == [2, 3, 0, 1]
    assert ranked("longest", ds, ("text", "other", "n")) == [1, 0, 3, 2]
    assert ranked("shortest", ds, ("n",)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "best_first", "worst_first"),
    [
        (pa.array([2, None, 9, 2, -1]), [2, 0, 3, 4, 1], [4, 0, 3, 2, 1]),
        (pa.array([0.5, float("nan"), None, float("inf"), 0.5]), [3, 0, 4, 1, 2], [0, 4, 3, 1, 2]),
        (pa.array(["b", "a", None, "b"]), [0, 3, 1, 2], [1, 0, 3, 2]),
        (pa.array(["b", "a", None, "b"]).dictionary_encode(), [0, 3, 1, 2], [1, 0, 3, 2]),
        (pa.array([False, True, None, True]), [1, 3, 0, 2], [0, 1, 3, 2]),
        (pa.nulls(3), [0, 1, 2], [0, 1, 2]),
    ],
    ids=["integers", "floats", "text", "dictionary", "booleans", "nulls"],
)
def test_rank_by_a_column_puts_rows_without_a_value_last(values, best_first, worst_first):
    ds = Dataset(pa.table({"value": values}))
    assert ranked("max:value", ds) == best_first
    assert ranked("min:value", ds) == worst_first


def test_rank_by_listed_values():
    ds = Dataset.from_dict({"source": ["web", "gold", None, "book", "gold"], "n": [3, 1, None, 2, 1]})
    assert ranked({"source": ["gold", "book"]}, ds) == [1, 4, 3, 0, 2]
    assert ranked({"source": ("gold", None)}, ds) == [1, 4, 2, 0, 3]
    assert ranked({"n": [2, 1]}, ds) == [3, 1, 4, 0, 2]


def test_rank_by_class_labels_is_by_their_numbers():
    ds = Dataset.from_dict({"label": ["b", "a"]}).cast_column("label", ClassLabel(names=["a", "b"]))
    assert ranked({"label": [0]}, ds) == [1, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=12), st.randoms())
def test_every_policy_gives_each_row_once_whatever_the_view(values, random):
    ds = Dataset(
        pa.table({"text": pa.array([str(value) for value in values], pa.string()), "n": pa.array(values, pa.int64())})
    )
    rows = random.sample(range(len(ds)), len(ds))
    for keep in ("first", "last", "longest", "shortest", "none", "max:n", "min:n", {"n": [1, -1]}):
        for view in (ds, ds.select(rows)):
            assert sorted(ranked(keep, view)) == list(range(len(values)))
    view = ds.select(rows)
    numbers = view["n"][:]
    assert ranked("max:n", view) == sorted(
        range(len(rows)), key=lambda row: (numbers[row] is None, -(numbers[row] or 0), row)
    )


def test_an_empty_dataset_has_no_rows_to_rank():
    ds = Dataset(pa.table({"text": pa.array([], pa.string()), "n": pa.array([], pa.int64())}))
    for keep in ("first", "last", "longest", "none", "max:n", {"n": [1]}):
        assert ranked(keep, ds) == []


@pytest.mark.parametrize(
    "keep",
    ["", "best", "max:", "max", None, 3, ["first"], {}, {"a": []}, {"a": "gold"}, {"a": [1], "b": [2]}, {1: [1]}],
)
def test_a_policy_that_there_is_not_is_refused(keep):
    with pytest.raises(ArgumentError, match="keep"):
        check_keep(STEP, keep)


def test_a_column_that_cannot_be_ranked_is_refused_by_name():
    ds = Dataset.from_dict({"text": ["a"], "tags": [["x"]], "n": [1]})
    with pytest.raises(MissingColumnError, match="score"):
        ranked("max:score", ds)
    with pytest.raises(ColumnTypeError, match="tags"):
        ranked("max:tags", ds)
    with pytest.raises(ColumnTypeError, match="'n'"):
        ranked({"n": ["gold"]}, ds)


def test_the_column_that_a_policy_looks_at():
    assert [keep_column(keep) for keep in ("first", "max:a", "min:b:c", {"d": [1]})] == [None, "a", "b:c", "d"]
