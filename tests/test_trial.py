"""A trial runs all steps on a sample and says what the whole would give, and what a sample cannot tell."""

from __future__ import annotations

import datasets
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import tilth.trial
from tests.steps_for_tests import AtLeast, Echo, FirstOfEach, Upper
from tilth.errors import ArgumentError, MissingColumnError
from tilth.pipeline import Pipeline
from tilth.trial import wilson


def build(texts):
    return Dataset(pa.table({"text": pa.array(texts, pa.string())}))


def test_a_trial_gives_shares_with_intervals_times_and_examples():
    ds = build(["a" * (n % 10) for n in range(10_000)])
    trial = Pipeline(Upper("text"), ("long", AtLeast("text", 5)), FirstOfEach("text")).trial(ds, rows=300, seed=1)
    upper, long, first = trial.steps
    assert (trial.rows, trial.of) == (300, 10_000)
    assert upper.kept[0] == 1
    assert upper.changed == pytest.approx(0.9, abs=0.06)
    low, high = long.kept[1:]
    assert low < 0.5 < high
    assert high - low < 0.15
    assert first.kept is None
    assert trial.seconds == sum(step.seconds for step in trial.steps) > 0
    assert {example.reason for example in long.record.examples} == {"short"}
    assert all(example.after == example.before.upper() for example in upper.record.examples)
    assert len(trial.sample) == 5
    share = 1.0
    for step in trial.steps:
        assert step.seconds == pytest.approx(step.record.seconds / step.record.rows_in * share * 10_000)
        share *= step.record.rows_out / step.record.rows_in
    assert share < 0.02


def test_rows_that_a_step_adds_are_not_rows_that_it_keeps():
    class RowByRow(Echo):
        needs_all = False

    (step,) = Pipeline(RowByRow(2)).trial(build(["a", "b", "c", "d"])).steps
    assert step.record.added == 2
    assert step.kept[0] == 1


def test_two_rows_go_first_so_that_compiling_is_not_projected(monkeypatch):
    tried = []
    rehearse = tilth.trial.rehearse

    def watched(steps, names, ds):
        tried.append(len(ds))
        return rehearse(steps, names, ds)

    monkeypatch.setattr(tilth.trial, "rehearse", watched)
    Pipeline(Upper("text")).trial(build(["a"] * 50), rows=20)
    assert tried == [2, 20]


def test_a_sample_is_in_the_order_of_the_source():
    ds = build([str(n) for n in range(1000)])
    numbers = [int(text) for text in Pipeline(Upper("text")).trial(ds, rows=100).sample["text"]]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 100
    assert numbers[-1] > 500


def test_a_trial_prints_what_a_sample_cannot_tell():
    text = str(Pipeline(AtLeast("text", 5), FirstOfEach("text")).trial(build(["abcdefg"] * 50), rows=20))
    assert "AtLeast" in text
    assert "FirstOfEach" in text
    assert "cannot tell" in text


def test_a_trial_is_the_same_for_the_same_seed_and_leaves_the_source_alone():
    ds = build([str(n) for n in range(1000)])
    before = (ds._fingerprint, ds.to_list())
    pipeline = Pipeline(AtLeast("text", 3))
    one, two, other = (pipeline.trial(ds, rows=50, seed=seed).sample["text"][:] for seed in (0, 0, 1))
    assert one == two != other
    assert (ds._fingerprint, ds.to_list()) == before


def test_a_trial_leaves_no_file_and_no_bar(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Pipeline(Upper("text"), AtLeast("text", 1)).trial(build(["a", "b"]))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
    assert not datasets.utils.are_progress_bars_disabled()


def test_small_and_empty_sources_are_tried_whole():
    trial = Pipeline(AtLeast("text", 2)).trial(build(["a", "bb"]), rows=200)
    assert trial.rows == 2
    assert Pipeline(AtLeast("text", 2)).trial(build([])).rows == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ArgumentError, match="rows=0"):
        Pipeline(AtLeast("text", 2)).trial(build(["a"]), rows=0)
    with pytest.raises(MissingColumnError):
        Pipeline(AtLeast("nope", 2)).trial(build(["a"]))


@given(of=st.integers(1, 1000), share=st.floats(0, 1))
def test_the_interval_holds_the_share_and_stays_within_bounds(of, share):
    hits = round(of * share)
    middle, low, high = wilson(hits, of)
    assert 0 <= low <= middle <= high <= 1
    assert middle == hits / of
