"""Work is done side by side and comes back in order, and no result depends on how many threads there are."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth
from tilth.filters import GopherQuality, WordCount
from tilth.text.threads import ordered_map, set_threads, threads


@pytest.fixture(autouse=True)
def _default_threads():
    yield
    set_threads(None)


@given(st.lists(st.integers(), max_size=40), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_results_come_in_the_order_of_the_items(items, count):
    assert list(ordered_map(lambda item: item * 2, items, count)) == [item * 2 for item in items]


def test_items_are_worked_on_side_by_side():
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(ordered_map(lambda _: meeting.wait(), range(6), 3))) == 6


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_results_wait_in_memory(count):
    taken: list[int] = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), count)
    for read in range(20):
        next(results)
        assert len(taken) <= read + 1 + count


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_of_the_work_reaches_the_caller(count):
    def work(item: int) -> int:
        if item == 5:
            raise KeyError(item)
        return item

    results = ordered_map(work, range(100), count)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError):
        next(results)


def test_no_thread_outlives_a_reader_that_stops_early():
    results = ordered_map(lambda item: item, range(1000), 4)
    next(results)
    results.close()
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("tilth") for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_the_number_of_threads_can_be_set_and_given_back(monkeypatch):
    monkeypatch.delenv("TILTH_THREADS", raising=False)
    usual = threads()
    set_threads(7)
    assert threads() == 7
    set_threads(None)
    assert threads() == usual >= 1
    monkeypatch.setenv("TILTH_THREADS", "3")
    assert threads() == 3
    for nonsense in ("0", "-2", "many", ""):
        monkeypatch.setenv("TILTH_THREADS", nonsense)
        assert threads() == usual
    assert tilth.set_threads is set_threads


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_thread_is_refused(count):
    with pytest.raises(ValueError, match=f"one or more, not {count}"):
        set_threads(count)


def test_what_a_filter_keeps_does_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr("tilth.frame.BATCH_ROWS", 37)
    rows = [("the story of the day and to be " * (row % 5) + "... 中 é " * (row % 7)) or None for row in range(1000)]
    ds = Dataset(pa.table({"text": rows, "row": range(1000)}))
    kept = {}
    for count in (1, 2, 5):
        set_threads(count)
        gopher = GopherQuality("text", min_doc_words=10, min_avg_word_length=2, min_alphabetic_word_ratio=0.5)
        kept[count] = [step.apply(ds)["row"][:] for step in (WordCount("text", min=20), gopher)]
    assert 0 < len(kept[1][0]) < 1000 and 0 < len(kept[1][1]) < 1000
    assert kept[1] == kept[2] == kept[5]
