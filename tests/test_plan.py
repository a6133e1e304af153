"""The planned order gives the same rows as the written one, and costs least among the orders that do."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilth.plan
from tests.steps_for_tests import AtLeast, FirstOfEach, Length, Pairs, Upper, Without
from tilth.pipeline import Pipeline
from tilth.plan import Measured, Plan, _options, _timed, cheapest_order, cost, make_plan, may_swap
from tilth.step import EVERY_COLUMN

STEPS = st.one_of(
    st.just(Upper("text")),
    st.sampled_from(["text", "other"]).map(Upper),
    st.sampled_from(["a", "b"]).map(lambda into: Length("text", into)),
    st.builds(AtLeast, st.sampled_from(["text", "other"]), st.integers(0, 3)),
    st.builds(Without, st.sampled_from(["text", "other"]), st.sampled_from("abA")),
    st.just(FirstOfEach("text")),
)
TEXTS = st.one_of(st.none(), st.text("abAB", max_size=4))


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def build(pairs):
    text, other = ([pair[at] for pair in pairs] for at in (0, 1))
    return Dataset(pa.table({"text": pa.array(text, pa.string()), "other": pa.array(other, pa.string())}))


def measured_as(costs):
    return tuple(Measured(str(at), seconds, kept) for at, (seconds, kept) in enumerate(costs))


@given(
    pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=15),
    steps=st.lists(STEPS, min_size=1, max_size=6),
    costs=st.lists(st.tuples(st.floats(1e-9, 1e-3), st.floats(0, 1)), min_size=6, max_size=6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_planned_order_gives_the_same_rows(tmp_path_factory, pairs, steps, costs):
    order = cheapest_order(steps, measured_as(costs[: len(steps)]))
    assert sorted(order) == list(range(len(steps)))
    plan = Plan(order, (), 1.0, 1.0, len(pairs))
    ds, root = build(pairs), tmp_path_factory.mktemp("run")
    written = Pipeline(*steps).run(ds, cache_dir=root / "written")
    planned = Pipeline(*steps).run(ds, cache_dir=root / "planned", order=plan)
    assert planned.dataset.column_names == written.dataset.column_names
    assert planned.dataset.to_list() == written.dataset.to_list()
    assert planned.rows.tolist() == written.rows.tolist()
    assert set(planned.ledger.rejected_rows()) == set(written.ledger.rejected_rows())


@given(
    steps=st.lists(STEPS, min_size=1, max_size=5),
    costs=st.lists(st.tuples(st.floats(1e-9, 1e-3), st.floats(0.01, 1)), min_size=5, max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_no_allowed_order_is_cheaper(steps, costs):
    measured = measured_as(costs[: len(steps)])

    def allowed(order):
        return all(
            order.index(one) < order.index(other) or may_swap(steps[one], steps[other])
            for one in range(len(steps))
            for other in range(one + 1, len(steps))
        )

    best = min(cost(measured, order) for order in permutations(range(len(steps))) if allowed(order))
    assert cost(measured, cheapest_order(steps, measured)) == pytest.approx(best)


def test_steps_swap_only_when_neither_touches_what_the_other_writes():
    assert may_swap(AtLeast("text", 1), Without("text", "a"))
    assert may_swap(Upper("text"), Upper("other"))
    assert may_swap(Upper("other"), AtLeast("text", 1))
    assert not may_swap(Upper("text"), AtLeast("text", 1))
    assert not may_swap(AtLeast("text", 1), Upper("text"))
    assert not may_swap(Upper("text"), Length("text"))
    assert not may_swap(Length("text", "n"), Length("other", "n"))
    assert not may_swap(FirstOfEach("text"), AtLeast("text", 1))


def test_a_cheap_and_choosy_filter_comes_first():
    steps = [Upper("other"), Without("text", "a"), AtLeast("text", 2)]
    measured = measured_as([(1.0, 1.0), (0.5, 0.9), (0.01, 0.1)])
    assert cheapest_order(steps, measured) == [2, 1, 0]


def test_equal_orders_stay_as_written():
    steps = [AtLeast("text", 1), Without("text", "a"), Without("text", "b")]
    assert cheapest_order(steps, measured_as([(0.5, 0.5)] * 3)) == [0, 1, 2]


def test_many_steps_side_by_side_are_ordered_too():
    steps = [AtLeast("text", n) for n in range(20)]
    measured = measured_as([(1.0, 1 - n / 40) for n in range(20)])
    assert cheapest_order(steps, measured) == list(range(19, -1, -1))


def test_a_swap_that_could_change_rows_is_an_option_and_never_done(tmp_path):
    ds = build([(str(n), "x") for n in range(1000)])
    plan = Pipeline(FirstOfEach("text"), ("long", AtLeast("text", 3))).plan(ds)
    assert plan.order == [0, 1]
    assert [(option.move, option.before) for option in plan.options] == [("long", "FirstOfEach")]
    assert plan.options[0].seconds > 0
    assert "FirstOfEach" in str(plan)
    assert "would no longer see" in " ".join(str(plan).split())


def test_what_crossing_would_cost_more_or_cannot_be_done_is_no_option():
    keep_all, drop_most = (1e-3, 1.0), (1e-6, 0.1)
    steps = [FirstOfEach("text"), FirstOfEach("other"), AtLeast("text", 3)]

    def moves(*costs):
        return [(option.move, option.before) for option in _options(steps, measured_as(costs), 1000)]

    assert moves((1e-3, 0.5), (1e-3, 0.5), drop_most) == [("2", "1")]
    assert moves((1e-3, 0.5), (1e-3, 0.5), keep_all) == []


def test_a_step_that_looks_at_everything_swaps_with_no_writer():
    class Wide(AtLeast):
        reads = EVERY_COLUMN

    assert may_swap(Wide("text", 1), AtLeast("text", 2))
    assert not may_swap(Upper("other"), Wide("text", 1))
    assert not may_swap(Wide("text", 1), Length("text"))


def test_each_step_is_measured_on_what_would_reach_it(monkeypatch):
    ds = build([(text, "x") for text in ["a", "a", "bb", "ca", "bb", "dd"]])

    def kept(*steps):
        pipeline = Pipeline(*steps)
        return [round(step.kept, 3) for step in make_plan(pipeline.steps, pipeline.names, ds).steps]

    # Duplicates among those that a filter before drops are none; what a map writes is read by what follows.
    assert kept(FirstOfEach("text")) == [0.667]
    assert kept(AtLeast("text", 2), FirstOfEach("text")) == [0.667, 0.75]
    assert kept(Upper("text"), Without("text", "A")) == [1, 0.5]
    assert kept(Pairs("text"), AtLeast("text", 4)) == [0.5, 0.667]


def test_row_wise_steps_share_their_time_among_threads(monkeypatch):
    from tilth.text.threads import set_threads

    monkeypatch.setattr(tilth.plan, "_timed", lambda work: (6.0, work()))
    set_threads(3)
    pipeline = Pipeline(Upper("text"), AtLeast("text", 1), FirstOfEach("text"))
    plan = make_plan(pipeline.steps, pipeline.names, build([("a", "x"), ("b", "x")]))
    assert [step.seconds_per_row for step in plan.steps] == [1, 1, 3]


def test_the_first_call_does_not_count(monkeypatch):
    clock = []
    monkeypatch.setattr(tilth.plan, "time", SimpleNamespace(perf_counter=lambda: sum(clock)))

    def work():
        clock.append(1 if clock else 100)
        return len(clock)

    assert _timed(work) == (1, 2)


def test_a_kept_plan_serves_the_same_steps_alone(tmp_path):
    ds = build([("a" * (n % 9), "b") for n in range(30)])
    Pipeline(Upper("other"), AtLeast("text", 6)).run(ds, cache_dir=tmp_path, order="planned")
    other = Pipeline(Upper("other"), AtLeast("text", 6), Length("text")).run(ds, cache_dir=tmp_path, order="planned")
    assert other.dataset.column_names == ["text", "other", "length"]


def test_a_planned_run_keeps_its_order_when_it_runs_again(tmp_path, monkeypatch):
    ds = build([("a" * (n % 9), "b") for n in range(3000)])
    pipeline = Pipeline(Upper("other"), Length("text"), AtLeast("text", 6))
    pipeline.run(ds, cache_dir=tmp_path, order="planned")

    def measured_again(*arguments):
        raise AssertionError("a plan was made twice")

    monkeypatch.setattr(tilth.plan, "_measure", measured_again)
    again = pipeline.run(ds, cache_dir=tmp_path, order="planned")
    assert all(record.cached for record in again.report.steps)
    assert again.dataset.column_names == ["text", "other", "length"]


def test_a_plan_says_what_it_saves():
    ds = build([("a" * (n % 9), "b") for n in range(3000)])
    pipeline = Pipeline(Upper("other"), AtLeast("text", 8))
    plan = make_plan(pipeline.steps, pipeline.names, ds)
    assert plan.seconds_planned <= plan.seconds_written
    assert 0 <= plan.saving < 1
    assert plan.steps[1].kept == pytest.approx(1 / 9, abs=0.05)
