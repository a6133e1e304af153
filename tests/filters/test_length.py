"""WordCount keeps the rows whose number of words lies within its bounds."""

from __future__ import annotations

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError
from tilth.filters import WordCount
from tilth.text.words import words

ROWS = ["one two three", "one", "", None, "中文字", "<script>alert(1)</script>", "a b c d e"]
WORDS = [3, 1, 0, None, 3, 4, 5]


@given(st.lists(st.none() | st.text(max_size=40), max_size=8), st.integers(0, 4), st.none() | st.integers(4, 9))
@settings(max_examples=200, deadline=None)
def test_a_row_goes_when_its_words_are_out_of_bounds(rows, least, most):
    step = WordCount("text", min=least, max=most)
    verdict = step.verdict(pa.table({"text": pa.array(rows, pa.string())}))
    expected = []
    for row in rows:
        count = None if row is None else len(words(row))
        if count is None:
            expected.append("null_text")
        elif count < least:
            expected.append("too_few_words")
        else:
            expected.append("too_many_words" if most is not None and count > most else None)
    assert [None if code == 0 else step.reasons[code - 1] for code in verdict.codes] == expected


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_words_are_counted_in_every_kind_of_text_column(kind):
    table = pa.table({"text": pa.array(ROWS, pa.string()).cast(kind)})
    assert WordCount("text").metrics(table)["words"].to_pylist() == WORDS


def test_evidence_is_the_number_of_words():
    verdict = WordCount("text", min=2, max=4).verdict(pa.table({"text": ROWS}))
    assert verdict.codes.tolist() == [0, 2, 2, 1, 0, 0, 3]
    assert verdict.evidence.to_pylist() == WORDS


def test_a_column_of_nulls_and_no_rows_are_judged():
    assert WordCount("text", min=0).verdict(pa.table({"text": pa.nulls(2)})).codes.tolist() == [1, 1]
    assert WordCount("text").verdict(pa.table({"text": pa.array([], pa.string())})).codes.tolist() == []
    assert len(WordCount("text").apply(Dataset.from_dict({"text": ["a"]}).select([]))) == 0


@pytest.mark.parametrize("large", [False, True])
def test_every_way_to_filter_keeps_the_same_rows(large):
    step = WordCount("text", min=2, max=4)
    table = pa.table({"text": pa.array(ROWS * 20, pa.large_string() if large else pa.string()), "row": range(140)})
    ds = Dataset(table).shuffle(seed=1).select(range(5, 135))
    expected = [row for row in ds["row"] if row % 7 in (0, 4, 5)]
    assert step.apply(ds)["row"][:] == expected
    assert ds.filter(step, batched=True)["row"][:] == expected
    assert ds.filter(step, batched=True, num_proc=2)["row"][:] == expected
    assert ds.with_format("arrow").filter(step, batched=True).with_format(None)["row"][:] == expected
    assert [row["row"] for row in step.apply(ds.to_iterable_dataset())] == expected
    assert step.apply(DatasetDict(train=ds))["train"]["row"][:] == expected


def test_scores_store_the_words_so_that_bounds_can_change():
    scored = WordCount("text").scores("n_").apply(Dataset.from_dict({"text": ROWS}))
    assert scored["n_words"][:] == WORDS


def test_a_row_of_ten_megabytes_is_counted():
    text = "word " * 2_000_000
    assert WordCount("text").metrics(pa.table({"text": [text, "a"]}))["words"].to_pylist() == [2_000_000, 1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min": -1}, "min=-1 is not allowed; it must be zero or more"),
        ({"min": 5, "max": 4}, "max=4 .* at least min=5, or None"),
    ],
)
def test_a_bad_bound_is_refused_by_name(fields, said):
    with pytest.raises(ArgumentError, match=said):
        WordCount("text", **fields)


def test_a_missing_or_wrong_column_is_refused_before_any_work():
    ds = Dataset.from_dict({"text": ["a"], "n": [1]})
    with pytest.raises(MissingColumnError, match="Did you mean 'text'"):
        WordCount("txt").apply(ds)
    with pytest.raises(ColumnTypeError, match="'n'"):
        WordCount("n").apply(ds)
