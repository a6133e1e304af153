"""A pipeline does its steps, accounts for every row, repeats no work and leaves its source alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.steps_for_tests import AtLeast, Echo, Filled, FirstOfEach, Length, Pairs, Turned, Upper, Without
from tilth.errors import AccountingError, ArgumentError, ColumnTypeError, MissingColumnError, StepError
from tilth.frame import is_whole
from tilth.ledger import Ledger
from tilth.pipeline import Pipeline
from tilth.plan import Plan
from tilth.step import Dropped, Outcome

TEXTS = st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["a", "b", "ab", "aab", "<script>", "\x00", "😀"]))
STEPS = st.one_of(
    st.just(Upper("text")),
    st.just(Length("text")),
    st.integers(0, 4).map(lambda n: AtLeast("text", n)),
    st.sampled_from("abA").map(lambda c: Without("text", c)),
    st.just(FirstOfEach("text")),
    st.integers(1, 3).map(Echo),
    st.just(Pairs("text")),
    st.integers(2, 4).map(Turned),
)
LAW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def build(texts, **columns):
    return Dataset(pa.table({"text": pa.array(texts, pa.string()), "id": list(range(len(texts))), **columns}))


def plain(steps, rows):
    """What the steps mean, on lists of (text, id, ...) dicts."""
    for step in steps:
        match step:
            case Upper():
                rows = [{**row, "text": None if row["text"] is None else upper(row["text"])} for row in rows]
            case Length():
                rows = [{**row, "length": None if row["text"] is None else len(row["text"])} for row in rows]
            case AtLeast():
                rows = [row for row in rows if row["text"] is not None and len(row["text"]) >= step.characters]
            case Without():
                rows = [row for row in rows if row["text"] is None or step.text not in row["text"]]
            case FirstOfEach():
                rows = list({row["text"]: row for row in reversed(rows)}.values())
                rows = sorted(rows, key=lambda row: row["at"])
            case Echo():
                rows = rows + [dict(row) for row in rows[:: step.every]]
            case Turned():
                rows = [row for at, row in enumerate(rows) if (at + 1) % step.without][::-1]
            case Pairs():
                texts = [row["text"] or "" for row in rows]
                blank = dict.fromkeys(rows[0], None) if rows else {}
                rows = [{**blank, "text": " ".join(texts[at : at + 2])} for at in range(0, len(texts), 2)]
        rows = [{**row, "at": at} for at, row in enumerate(rows)]
    return [{name: value for name, value in row.items() if name != "at"} for row in rows]


def upper(text):
    return pa.compute.utf8_upper(pa.scalar(text)).as_py()


@given(texts=st.lists(TEXTS, max_size=30), steps=st.lists(STEPS, min_size=1, max_size=5), shuffled=st.booleans())
@LAW
def test_every_row_is_kept_or_dropped_whatever_the_pipeline(tmp_path_factory, texts, steps, shuffled):
    ds = build(texts)
    if shuffled and len(ds):
        ds = ds.shuffle(seed=3)
    source = ds.to_list()
    curated = Pipeline(*steps).run(ds, cache_dir=tmp_path_factory.mktemp("run"))
    ledger = curated.ledger

    rows = [{**row, "at": at} for at, row in enumerate(source)]
    assert curated.dataset.to_list() == plain(steps, rows)
    assert ledger.source_rows + ledger.added == len(curated.dataset) + len(curated.rejected)
    for record in curated.report.steps:
        assert record.rows_in + record.added == record.rows_out + record.dropped_rows
    assert sorted([*curated.rows, *ledger.rejected_rows()]) == list(range(ledger.source_rows + ledger.added))
    assert ds.to_list() == source

    originals = [row for row in ledger.rejected_rows() if row < ledger.source_rows]
    rejected = curated.rejected.to_list()
    for row, original in zip(rejected, originals, strict=False):
        assert {name: row[name] for name in ("text", "id")} == source[original]
    assert all(row["rejected_by"] and row["reason"] for row in rejected)


@given(texts=st.lists(TEXTS, max_size=30), steps=st.lists(STEPS, min_size=1, max_size=4))
@LAW
def test_a_second_run_does_no_work_and_gives_the_same(tmp_path_factory, texts, steps):
    cache = tmp_path_factory.mktemp("run")
    first = Pipeline(*steps).run(build(texts), cache_dir=cache)
    second = Pipeline(*steps).run(build(texts), cache_dir=cache)
    assert all(record.cached for record in second.report.steps)
    assert first.dataset.to_list() == second.dataset.to_list()
    assert first.rejected.to_list() == second.rejected.to_list()
    assert first.dataset._fingerprint == second.dataset._fingerprint


def test_a_second_run_writes_nothing(tmp_path, monkeypatch):
    pipeline = Pipeline(Upper("text"), Turned(3), Echo(2), AtLeast("text", 2))
    first = pipeline.run(build(["a", "bb", "cc", "dd"]), cache_dir=tmp_path)
    assert len(first.rejected) == 3

    def written(*_):
        raise AssertionError("something is written again")

    for module in ("run", "frame", "checkpoint"):
        monkeypatch.setattr(f"tilth.{module}.write_batches", written)
    second = pipeline.run(build(["a", "bb", "cc", "dd"]), cache_dir=tmp_path)
    assert second.dataset.to_list() == first.dataset.to_list()
    assert second.rejected.to_list() == first.rejected.to_list()


def test_a_run_that_does_not_reconcile_gives_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(Ledger, "drop", lambda *_: None)
    with pytest.raises(AccountingError, match="1 rows are not"):
        Pipeline(AtLeast("text", 2)).run(build(["a", "bb"]), cache_dir=tmp_path)


def test_a_change_in_step_k_runs_again_from_k(tmp_path):
    ds = build(["a", "bb", "ccc", "bb"])
    Pipeline(Upper("text"), AtLeast("text", 2), FirstOfEach("text")).run(ds, cache_dir=tmp_path)
    again = Pipeline(Upper("text"), AtLeast("text", 3), FirstOfEach("text")).run(ds, cache_dir=tmp_path)
    assert [record.cached for record in again.report.steps] == [True, False, False]
    assert again.dataset["text"][:] == ["CCC"]


def test_a_drop_is_known_by_step_reason_and_evidence_in_source_rows(tmp_path):
    ds = build([None, "x", "same", "x long", "same"])
    curated = Pipeline(("too short", AtLeast("text", 2)), FirstOfEach("text")).run(ds, cache_dir=tmp_path)
    assert curated.rejected.to_list() == [
        {"text": None, "id": 0, "rejected_by": "too short", "reason": "null_text", "evidence": None},
        {"text": "x", "id": 1, "rejected_by": "too short", "reason": "short", "evidence": "1"},
        {"text": "same", "id": 4, "rejected_by": "FirstOfEach", "reason": "copy", "evidence": '{"kept_row": 2}'},
    ]
    assert curated.rows.tolist() == [2, 3]


def test_a_step_may_put_the_rows_in_another_order(tmp_path):
    ds = build(["a", "b", "c", "d", "e"])
    curated = Pipeline(Turned(3), Upper("text"), Without("text", "D")).run(ds, cache_dir=tmp_path)
    assert curated.dataset.to_list() == [{"text": "E", "id": 4}, {"text": "B", "id": 1}, {"text": "A", "id": 0}]
    assert curated.rows.tolist() == [4, 1, 0]
    assert [(row["text"], row["reason"]) for row in curated.rejected] == [("c", "counted_out"), ("d", "found")]
    assert Turned(3).apply(ds)["text"][:] == ["e", "d", "b", "a"]


def test_examples_and_evidence_belong_to_the_row_that_they_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tilth.frame.BATCH_ROWS", 12)
    ds = build([f"{n} " + "x" * n for n in range(40)])
    texts = ds["text"][:]
    steps = (AtLeast("text", 5), Turned(7), Upper("text"), AtLeast("text", 12), Without("text", "X" * 30))
    curated = Pipeline(*steps).run(ds, cache_dir=tmp_path)
    first, _, upper, second, last = curated.report.steps
    for record, source in ((first, str), (second, str.upper), (last, str.upper)):
        assert record.examples
        assert all(example.before == source(texts[example.row]) for example in record.examples)
    for record in (first, second):
        assert all(example.evidence == str(len(texts[example.row])) for example in record.examples)
    assert len(upper.examples) == 8
    assert all(texts[example.row].upper() == example.after for example in upper.examples)
    short = [row for row in curated.rejected if row["reason"] == "short"]
    assert len(short) > 8
    assert all(row["evidence"] == str(len(row["text"])) for row in short)


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.list_(pa.string()), pa.float64()], ids=str)
def test_a_value_in_place_of_a_null_is_a_change(tmp_path, kind):
    values, fresh = {
        pa.string(): (["a", None, "", None], ""),
        pa.int64(): ([1, None, 0, None], 0),
        pa.float64(): ([float("nan"), None, 0.5, None], 0.0),
    }.get(kind, ([["a"], None, [], None], [None, "b"]))
    ds = Dataset(pa.table({"value": pa.array(values, kind)}))
    (record,) = Pipeline(Filled("value", fresh)).run(ds, cache_dir=tmp_path).report.steps
    assert record.changed == 2


def test_a_report_says_what_the_run_was(tmp_path):
    ds = build(["a" * n for n in range(1, 60)])
    report = Pipeline(AtLeast("text", 30), Length("text"), Echo(2)).run(ds, cache_dir=tmp_path).report
    assert (report.rows_in, report.rows_added, report.rows_out) == (59, 15, 45)
    assert report.columns == ("text", "id", "length")
    assert [(step.name, step.reads, step.writes) for step in report.steps] == [
        ("AtLeast", ("text",), ()),
        ("Length", ("text",), ("length",)),
        ("Echo", (), ()),
    ]
    assert all(step.seconds > 0 for step in report.steps)
    assert report.seconds > report.steps[2].seconds
    (lengths,) = report.lengths
    assert lengths.column == "text"
    short = np.array(lengths.edges[1:]) <= 29
    assert sum(lengths.before) == pytest.approx(1, abs=1e-4)
    assert np.array(lengths.before)[short].sum() > 0.4
    assert sum(lengths.after) == pytest.approx(1, abs=1e-4)
    assert np.array(lengths.after)[short].sum() == 0


def test_added_columns_stand_in_the_order_of_the_steps_as_they_were_written(tmp_path):
    plan = Plan([2, 1, 0], (), 1.0, 1.0, 2)
    pipeline = Pipeline(("first", Length("text", "a")), ("then", Length("text", "b")), AtLeast("text", 2))
    curated = pipeline.run(build(["aa", "b"]), cache_dir=tmp_path, order=plan)
    assert curated.dataset.column_names == ["text", "id", "a", "b"]
    assert [step.name for step in curated.report.steps] == ["AtLeast", "then", "first"]


def test_added_rows_know_their_parents_generator_and_depth(tmp_path):
    curated = Pipeline(Echo(1), ("again", Echo(2))).run(build(["a", "b"]), cache_dir=tmp_path)
    ledger = curated.ledger
    assert curated.dataset["text"][:] == ["a", "b", "a", "b", "a", "a"]
    assert [list(map(int, p)) for parents in ledger.parents for p in parents.to_pylist()] == [[0], [0, 1], [0], [1, 2]]
    assert ledger.depth.tolist() == [1, 1, 1, 2]
    after_a_drop = Pipeline(AtLeast("text", 2), Echo(1)).run(build(["a", "bb", "c", "dd"]), cache_dir=tmp_path)
    assert after_a_drop.ledger.parents[0].to_pylist() == [[1], [1, 3]]
    assert [ledger.steps[step].name for step in ledger.generators] == ["Echo", "Echo", "again", "again"]


def test_added_rows_that_are_dropped_again_are_in_rejected_as_they_were_made(tmp_path):
    curated = Pipeline(Pairs("text"), Without("text", "b")).run(build(["a", "b", "c"]), cache_dir=tmp_path)
    assert curated.dataset["text"][:] == ["c"]
    assert [(row["text"], row["id"], row["reason"]) for row in curated.rejected] == [
        ("a", 0, "joined"),
        ("b", 1, "joined"),
        ("c", 2, "joined"),
        ("a b", None, "found"),
    ]


def test_features_format_and_split_of_the_source_are_kept(tmp_path):
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=["bad", "good"])})
    ds = Dataset.from_dict({"text": ["a", "bb"], "label": [0, 1]}, features=features, split=datasets.Split.TRAIN)
    curated = Pipeline(AtLeast("text", 2), Length("text")).run(ds.with_format("numpy"), cache_dir=tmp_path)
    assert curated.dataset.features["label"] == features["label"]
    assert curated.dataset.features["text"] == Value("large_string")
    assert curated.dataset.format["type"] == "numpy"
    assert curated.dataset.split == datasets.Split.TRAIN
    assert curated.rejected.features["label"] == features["label"]


def test_all_rows_dropped_is_a_sound_result(tmp_path):
    curated = Pipeline(AtLeast("text", 100), Length("text"), FirstOfEach("text")).run(
        build(["a", "b"]), cache_dir=tmp_path
    )
    assert len(curated.dataset) == 0
    assert curated.dataset.column_names == ["text", "id", "length"]
    assert curated.rejected["reason"][:] == ["short", "short"]


def test_an_empty_dataset_is_a_sound_result(tmp_path):
    curated = Pipeline(Upper("text"), AtLeast("text", 1), FirstOfEach("text"), Length("text")).run(
        build([]), cache_dir=tmp_path
    )
    assert len(curated.dataset) == len(curated.rejected) == 0
    assert curated.dataset.column_names == ["text", "id", "length"]
    assert str(curated.report)


def test_a_column_of_nothing_but_nulls_is_a_sound_result(tmp_path):
    ds = Dataset(pa.table({"text": pa.nulls(3), "id": [0, 1, 2]}))
    from tilth.dedup import MinHash
    from tilth.filters import WordCount

    curated = Pipeline(WordCount("text")).run(ds, cache_dir=tmp_path)
    assert curated.rejected["reason"][:] == ["null_text"] * 3
    curated = Pipeline(MinHash("text")).run(ds, cache_dir=tmp_path)
    assert curated.rejected["reason"][:] == ["null_text"] * 3


def test_names_of_the_source_win_over_those_of_the_account(tmp_path):
    curated = Pipeline(AtLeast("text", 2)).run(build(["a"], reason=["mine"]), cache_dir=tmp_path)
    assert curated.rejected[0] == {
        "text": "a",
        "id": 0,
        "reason": "mine",
        "rejected_by": "AtLeast",
        "tilth_reason": "short",
        "evidence": "1",
    }


def test_what_threads_there_are_changes_nothing(tmp_path):
    from tilth.text.threads import set_threads

    ds = build([f"{'x' * (i % 50)} {i % 97}" for i in range(60_000)])
    results = []
    for threads in (1, 2, 5):
        set_threads(threads)
        try:
            curated = Pipeline(Upper("text"), AtLeast("text", 9)).run(ds, cache_dir=tmp_path / str(threads))
        finally:
            set_threads(None)
        files = sorted((tmp_path / str(threads)).rglob("*.arrow"))
        results.append([(path.relative_to(tmp_path / str(threads)), path.read_bytes()) for path in files])
        assert len(curated.dataset)
    assert results[0] == results[1] == results[2]


def test_a_wrong_pipeline_is_refused():
    with pytest.raises(ArgumentError, match="at least one step"):
        Pipeline()
    with pytest.raises(ArgumentError, match="takes steps"):
        Pipeline(len)
    with pytest.raises(ArgumentError, match="two steps are called 'x'"):
        Pipeline(("x", Upper("text")), ("x", Upper("text")))
    with pytest.raises(ArgumentError, match="a line of text"):
        Pipeline((" ", Upper("text")))
    assert Pipeline(Upper("a"), Upper("b"), ("Upper 3", Upper("c")), Upper("d")).names == (
        "Upper",
        "Upper 2",
        "Upper 3",
        "Upper 4",
    )


def test_wrong_data_is_refused_before_any_work(tmp_path):
    pipeline = Pipeline(Upper("text"), AtLeast("txet", 2))
    with pytest.raises(MissingColumnError, match=r"AtLeast reads column 'txet'.*\['text', 'id'\].*Did you mean 'text'"):
        pipeline.run(build(["a"]), cache_dir=tmp_path)
    with pytest.raises(ColumnTypeError, match="Upper reads column 'id' as text, but it holds int64"):
        Pipeline(Upper("id")).run(build(["a"]), cache_dir=tmp_path)
    with pytest.raises(ColumnTypeError, match="Upper reads column 'length' as text, but it holds int32"):
        Pipeline(Length("text"), Upper("length")).run(build(["a"]), cache_dir=tmp_path)
    for work in (pipeline.run, pipeline.trial, pipeline.plan):
        with pytest.raises(TypeError, match="not on DatasetDict"):
            work(DatasetDict(train=build(["a"])))
        with pytest.raises(MissingColumnError, match="txet"):
            work(build(["a"]))
    with pytest.raises(TypeError, match=r"use step.apply"):
        pipeline.run(build(["a"]).to_iterable_dataset())
    with pytest.raises(ArgumentError, match="order='best'"):
        Pipeline(Upper("text")).run(build(["a"]), cache_dir=tmp_path, order="best")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_loses_a_row_is_caught(tmp_path):
    class Careless(FirstOfEach):
        def run(self, ds):
            return Outcome(np.arange(len(ds) - 1), Dropped.none())

    with pytest.raises(StepError, match="0 times what became of input row 1"):
        Pipeline(Careless("text")).run(build(["a", "b"]), cache_dir=tmp_path)


def test_without_caching_the_result_lives_as_long_as_it_is_held():
    datasets.disable_caching()
    try:
        curated = Pipeline(AtLeast("text", 2), Upper("text")).run(build(["a", "bb"]))
        assert curated.dataset["text"][:] == ["BB"]
        folder = Path(curated.dataset.cache_files[0]["filename"])
        assert folder.exists()
        assert len(curated.rejected) == 1
        del curated
        assert not folder.exists()
    finally:
        datasets.enable_caching()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {root!r})
import datasets
import tilth.checkpoint, tilth.frame, tilth.run
from datasets import load_from_disk
from tests.steps_for_tests import AtLeast, Echo, FirstOfEach, Length, Upper
from tilth.pipeline import Pipeline
datasets.disable_progress_bars()
tilth.frame.BATCH_ROWS = 50
watched = {{
    "Upper.transform": Upper, "AtLeast.verdict": AtLeast, "Echo.run": Echo, "FirstOfEach.run": FirstOfEach,
    "Length.transform": Length, "checkpoint._write": tilth.checkpoint, "run._counted": tilth.run,
}}
calls = dict.fromkeys(watched, 0)
place, limit = sys.argv[1], int(sys.argv[2])
def watch(where, owner, name):
    call = getattr(owner, name)
    def counted(*args):
        calls[where] += 1
        if where == place and calls[where] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)
    setattr(owner, name, counted)
for where, owner in watched.items():
    watch(where, owner, where.partition(".")[2])
pipeline = Pipeline(Upper("text"), AtLeast("text", 6), Echo(3), FirstOfEach("text"), Length("text"))
curated = pipeline.run(load_from_disk({data!r}), cache_dir={cache!r})
curated.dataset.save_to_disk({out!r}); curated.rejected.save_to_disk({out!r} + "-rejected")
print(sum(calls.values()))
"""


def script(folder, cache, out):
    places = {"data": folder / "data", "cache": folder / cache, "out": folder / out, "root": Path(__file__).parents[1]}
    return SCRIPT.format(**{name: str(path) for name, path in places.items()})


def stored(folder):
    return [path.read_bytes() for path in sorted(folder.glob("*.arrow"))]


def test_a_run_killed_in_each_kind_of_step_goes_on_and_gives_the_same_bytes(tmp_path):
    build([f"row {i % 700}" for i in range(2_000)]).save_to_disk(tmp_path / "data")

    def attempt(cache, out, place="nowhere", limit=0):
        words = [sys.executable, "-c", script(tmp_path, cache, out), place, str(limit)]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    whole = attempt("whole", "one")
    assert whole.returncode == 0, whole.stderr
    # In turn: in a map, in a filter, in a step that adds rows, in one that drops some, while what it made is stored,
    # in a map of the rows that are left, and while the result is written.
    for place, limit in (
        ("Upper.transform", 20),
        ("AtLeast.verdict", 20),
        ("Echo.run", 1),
        ("FirstOfEach.run", 1),
        ("checkpoint._write", 2),
        ("Length.transform", 12),
        ("run._counted", 1),
    ):
        killed = attempt("killed", "two", place, limit)
        assert killed.returncode == -signal.SIGKILL, (place, killed.stderr)
        assert not (tmp_path / "two").exists()
        assert all(is_whole(path) for path in (tmp_path / "killed").glob("*/part-*.arrow"))
    last = attempt("killed", "two")
    assert last.returncode == 0, last.stderr
    # Each step but the last had been done, and half of that.
    assert int(last.stdout) < int(whole.stdout) / 4
    for kind in ("", "-rejected"):
        assert stored(tmp_path / f"one{kind}") == stored(tmp_path / f"two{kind}") != []


def test_a_killed_row_wise_step_repeats_only_its_unfinished_part(tmp_path, monkeypatch):
    import tilth.frame

    monkeypatch.setattr(tilth.frame, "BATCH_ROWS", 10)
    ds = build([f"row {i}" for i in range(400)])
    seen = []
    transform = Upper.transform

    def stopped(self, table):
        if table.num_rows:
            seen.append(table["id"] if "id" in table.column_names else table["text"][0].as_py())
            if len(seen) == 25:
                raise KeyboardInterrupt
        return transform(self, table)

    from tilth.text.threads import set_threads

    set_threads(1)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Upper, "transform", stopped)
            with pytest.raises(KeyboardInterrupt):
                Pipeline(Upper("text")).run(ds, cache_dir=tmp_path)
            first = seen.copy()
            seen.clear()
            seen.extend([None] * 100)
            curated = Pipeline(Upper("text")).run(ds, cache_dir=tmp_path)
        again = seen[100:]
    finally:
        set_threads(None)
    # 25 batches were begun: three parts of eight were whole, so the second run begins at batch 24.
    assert len(first) == 25
    assert again == [f"row {i}" for i in range(240, 400, 10)]
    assert curated.dataset["text"][:] == [f"ROW {i}" for i in range(400)]


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    build([f"row {i % 7000}" for i in range(20_000)]).save_to_disk(tmp_path / "data")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script(tmp_path, "both", out), "nowhere", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for out in ("a", "b")
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    for kind in ("", "-rejected"):
        assert stored(tmp_path / f"a{kind}") == stored(tmp_path / f"b{kind}") != []
    assert not [path for path in (tmp_path / "both").rglob("*") if path.name.startswith(".")]


def test_a_full_disk_is_reported_and_the_run_goes_on_with_room(tmp_path, monkeypatch):
    import tilth.checkpoint

    ds = build([f"row {i}" for i in range(100)])
    pipeline = Pipeline(Upper("text"), AtLeast("text", 2))

    def full(path, schema, batches):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tilth.checkpoint, "write_batches", full)
        with pytest.raises(OSError, match="No space left"):
            pipeline.run(ds, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("part-*.arrow"))
    assert len(pipeline.run(ds, cache_dir=tmp_path).dataset) == 100


def test_a_row_of_ten_megabytes_is_a_row_like_any_other(tmp_path):
    ds = build(["x " * 5_000_000, "short", "x " * 5_000_000])
    from tilth.dedup import MinHash

    curated = Pipeline(Upper("text"), AtLeast("text", 3), MinHash("text")).run(ds, cache_dir=tmp_path)
    assert [len(text) for text in curated.dataset["text"][:]] == [10_000_000, 5]
    assert len(str(curated.report.steps)) < 100_000


def test_progress_bars_are_quiet_when_datasets_is(tmp_path, capfd):
    Pipeline(Upper("text"), AtLeast("text", 2)).run(build(["a", "bb"]), cache_dir=tmp_path / "a")
    assert capfd.readouterr().err == ""
    datasets.enable_progress_bars()
    Pipeline(("shout", Upper("text"))).run(build(["a", "bb"]), cache_dir=tmp_path / "b")
    shown = capfd.readouterr().err
    assert "pipeline" in shown
    assert "shout" in shown
