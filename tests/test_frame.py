"""Rows that are alive are read, taken, laid out and written right, wherever the data is cut."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_from_disk
from datasets.table import InMemoryTable
from hypothesis import given, settings
from hypothesis import strategies as st

import tilth.frame
from tilth.frame import (
    BATCH_BYTES,
    BATCH_ROWS,
    Frame,
    in_format_of,
    is_whole,
    materialised,
    materialised_with,
    open_batches,
    write_batches,
)
from tilth.step import MapStep
from tilth.text.threads import set_threads

LAW = settings(max_examples=60, deadline=None)
TEXTS = ["", "a", "é", "猫" * 3, "a\x00b", None]


@dataclass(frozen=True)
class Shout(MapStep):
    column: str = "text"

    @property
    def writes(self):
        return (self.column,)

    def transform(self, table):
        return {self.column: pc.utf8_upper(table[self.column])}


@st.composite
def frames(draw):
    """A frame, and its rows as plain Python."""
    size, rng = draw(st.integers(0, 25)), np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from([pa.string(), pa.large_string()]))
    texts = [TEXTS[at] for at in rng.integers(len(TEXTS), size=size)]
    table = pa.table({"text": pa.array(texts, kind), "n": pa.array(range(size), pa.int16())})
    cuts = np.sort(rng.integers(0, size + 1, rng.integers(6))).tolist()
    pieces = [table.slice(lo, hi - lo) for lo, hi in zip([0, *cuts], [*cuts, size], strict=True)]
    ds = Dataset(pa.concat_tables(pieces))
    index = draw(st.sampled_from(["none", "ascending", "any"]))
    if size and index != "none":
        picked = rng.integers(0, size, rng.integers(2 * size))
        ds = ds.select(np.unique(picked) if index == "ascending" else picked)
    frame, expected = Frame.of(ds), ds.to_list()
    for _ in range(draw(st.integers(0, 2))):
        alive = np.flatnonzero(rng.random(len(frame)) < rng.choice([0.0, 0.3, 0.8, 1.0], p=[0.1, 0.4, 0.4, 0.1]))
        frame, expected = frame.select(alive), [expected[row] for row in alive]
    return frame, expected


@contextmanager
def batches_of(rows):
    """Small batches, so that small data has many."""
    before = tilth.frame.BATCH_ROWS
    tilth.frame.BATCH_ROWS = rows
    try:
        yield
    finally:
        tilth.frame.BATCH_ROWS = before


def texts(expected):
    return [row["text"] for row in expected]


@given(frames(), st.data())
@LAW
def test_read_gives_the_rows_that_are_alive(given_frame, data):
    frame, expected = given_frame
    assert len(frame) == len(expected)
    assert frame.selected().to_list() == expected
    lo = data.draw(st.integers(0, len(expected)))
    hi = data.draw(st.integers(lo, len(expected)))
    for columns in (["text"], ["n", "text"]):
        read = frame.read(columns, lo, hi)
        assert read.to_pylist() == [{name: row[name] for name in columns} for row in expected[lo:hi]]
        assert read.column_names == columns
        assert all(column.num_chunks <= 1 for column in read.columns)
    assert frame.read([], lo, hi).num_rows == hi - lo


@given(frames(), st.data())
@LAW
def test_take_gives_the_values_of_chosen_rows(given_frame, data):
    frame, expected = given_frame
    rows = sorted(data.draw(st.lists(st.integers(0, len(expected) - 1), unique=True))) if expected else []
    taken = frame.take("text", np.array(rows, np.int64))
    assert isinstance(taken, pa.Array)
    assert taken.type == frame.dataset.features.arrow_schema.field("text").type
    assert taken.to_pylist() == [expected[row]["text"] for row in rows]


@given(frames(), st.integers(1, 7))
@LAW
def test_batches_hold_every_row_once_in_order(given_frame, rows):
    frame, expected = given_frame
    with batches_of(rows):
        cuts = frame.cuts(["text"])
        assert [at for lo, hi in cuts for at in range(lo, hi)] == list(range(len(expected)))
        assert all(0 < hi - lo <= rows for lo, hi in cuts)
        seen = list(frame.map_batches(lambda table, first: (first, table["text"].to_pylist()), ["text"]))
    assert [first for first, _ in seen] == [lo for lo, _ in cuts]
    assert [text for _, batch in seen for text in batch] == texts(expected)


@given(frames(), st.integers(1, 7))
@LAW
def test_what_is_spread_and_laid_over_stands_beside_its_row(given_frame, rows):
    frame, expected = given_frame
    if frame.dataset._indices is not None:
        frame = Frame(materialised(frame.dataset), frame.rows)
    before = frame.dataset.to_list()
    with batches_of(rows):
        pieces = list(
            frame.map_batches(
                lambda table, first: frame.spread(
                    pa.table(
                        {
                            "double": pc.multiply(table["n"], pa.scalar(2, pa.int16())),
                            "text": pc.utf8_upper(table["text"]),
                        }
                    ),
                    first,
                    first + table.num_rows,
                ),
                ["n", "text"],
            )
        )
    kind = frame.dataset.features.arrow_schema.field("text").type
    nothing = pa.schema({"double": pa.int16(), "text": kind}).empty_table()
    over = frame.lay_over(InMemoryTable(pa.concat_tables([nothing, *pieces])), "new")
    assert over.dataset.column_names == ["text", "n", "double"]
    assert over.dataset._fingerprint == "new"
    assert over.dataset["n"][:] == [row["n"] for row in before]
    assert frame.dataset.to_list() == before
    assert over.read(["text", "n", "double"], 0, len(over)).to_pylist() == [
        {"text": row["text"] and row["text"].upper(), "n": row["n"], "double": 2 * row["n"]} for row in expected
    ]


@given(frames())
@LAW
def test_an_index_is_resolved_without_a_change(given_frame):
    frame, expected = given_frame
    ds = frame.selected()
    made = materialised(ds)
    assert made._indices is None
    assert made.to_list() == expected
    assert made.features == ds.features


def test_batches_are_cut_by_size_too():
    assert BATCH_ROWS * 4 < BATCH_BYTES
    frame = Frame(Dataset.from_dict({"text": ["x" * 2**20] * 20, "n": range(20)}))
    assert frame.cuts(["text"]) == [(lo, min(lo + 7, 20)) for lo in range(0, 20, 7)]
    assert frame.cuts(["n"]) == [(0, 20)]
    large = Frame(Dataset.from_dict({"text": ["x" * 2 * BATCH_BYTES] * 2}))
    assert large.cuts(["text"]) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_no_byte(tmp_path, threads):
    rng = np.random.default_rng(0)
    ds = Dataset.from_dict({"text": ["ab " * n for n in rng.integers(0, 50, 3_000)], "n": range(3_000)})
    made = {}
    for count in (1, threads):
        folder = tmp_path / f"{count}-{len(made)}"
        ds.save_to_disk(folder)
        loaded = load_from_disk(folder)
        shuffled = loaded.shuffle(seed=1, indices_cache_file_name=str(folder / "index"))
        set_threads(count)
        with batches_of(100):
            Shout().apply(loaded)
            Shout().apply(shuffled)
        files = [path.read_bytes() for path in sorted(folder.glob("cache-*.arrow"))]
        assert len(files) == 3
        made[len(made)] = files
    assert made[0] == made[1]


def test_an_error_in_a_batch_reaches_the_caller():
    frame = Frame(Dataset.from_dict({"n": range(100)}))

    def work(table, first):
        if first == 50:
            raise ZeroDivisionError
        return first

    with batches_of(10):
        seen = []
        with pytest.raises(ZeroDivisionError):
            seen.extend(frame.map_batches(work, ["n"]))


SCHEMA = pa.schema({"n": pa.int64()})


def numbers(*batches):
    for batch in batches:
        if isinstance(batch, BaseException):
            raise batch
        yield pa.table({"n": pa.array(batch, pa.int64())})


def test_batches_are_written_and_read_back(tmp_path):
    for at, batches in enumerate([[], [[]], [[1], [], [2, 3]]]):
        write_batches(tmp_path / "deep" / f"{at}.arrow", SCHEMA, numbers(*batches))
    tables = open_batches([tmp_path / "deep" / f"{at}.arrow" for at in range(3)])
    assert tables.column("n").to_pylist() == [1, 2, 3]
    assert open_batches([tmp_path / "deep" / "0.arrow"]).schema == SCHEMA
    write_batches(tmp_path / "deep" / "0.arrow", SCHEMA, numbers([9]))
    assert open_batches([tmp_path / "deep" / "0.arrow"]).column("n").to_pylist() == [9]


def test_what_is_written_may_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_batches(tmp_path / "a.arrow", SCHEMA, numbers([1]))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.arrow").stat().st_mode) == 0o644


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fault", [ValueError("bad"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, fault, there):
    path = tmp_path / "a.arrow"
    if there:
        write_batches(path, SCHEMA, numbers([7]))
    with pytest.raises(type(fault)):
        write_batches(path, SCHEMA, numbers([1], [2], fault))
    assert list(tmp_path.iterdir()) == ([path] if there else [])
    if there:
        assert open_batches([path]).column("n").to_pylist() == [7]


@pytest.mark.parametrize("method", ["write_table", "__exit__"])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, method):
    whole = pa.ipc.new_stream

    class Full:
        def __init__(self, file, schema):
            self.writer = whole(file, schema)

        def __enter__(self):
            return self

        def write_table(self, table):
            self.writer.write_table(table)
            if method == "write_table":
                raise OSError(errno.ENOSPC, "No space left on device")

        def __exit__(self, *fault):
            self.writer.close()
            if method == "__exit__":
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_stream", Full)
    with pytest.raises(OSError, match="No space left"):
        write_batches(tmp_path / "a.arrow", SCHEMA, numbers([1], [2]))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_cut_anywhere_is_not_whole(tmp_path):
    path = tmp_path / "a.arrow"
    assert not is_whole(path)
    write_batches(path, SCHEMA, numbers([1, 2], [], [3]))
    assert is_whole(path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert not is_whole(path), size
    # What a crash of the machine can leave: the right length, but the end never reached the disk.
    path.write_bytes(content[:-64] + bytes(64))
    assert not is_whole(path)


def test_columns_beside_are_written_once_and_again_only_if_the_file_is_damaged(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    ds = Dataset.from_dict({"text": ["x", "y", "z"], "label": [0, 1, 0]}, features=features).select([2, 0])
    beside = pa.table({"why": ["long", None]})
    path = tmp_path / "rejected.arrow"
    expected = [{"text": "z", "label": 0, "why": "long"}, {"text": "x", "label": 0, "why": None}]
    for damage in (False, False, True):
        if damage:
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[:-20])
        made = materialised_with(ds, beside, path, "new")
        assert made.to_list() == expected
        assert made.features["label"] == features["label"]
        assert made._fingerprint == "new"
    written = path.stat().st_mtime_ns
    materialised_with(ds, beside, path, "new")
    assert path.stat().st_mtime_ns == written


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "read-only")
    ds = load_from_disk(tmp_path / "read-only")
    monkeypatch.setattr(tilth.frame.os, "access", lambda *_: False)
    assert Shout().apply(ds)["text"][:] == ["A", "B"]
    assert not list((tmp_path / "read-only").glob("cache-*"))


def test_a_format_is_carried_over_without_a_change_of_fingerprint():
    ds = Dataset.from_dict({"a": [1], "b": [2]}).with_format("numpy", columns=["a"])
    made = Dataset.from_dict({"b": [2], "c": [3], "a": [1]})
    before = made._fingerprint
    shown = in_format_of(ds, made)
    assert shown.format["columns"] == ["c", "a"]
    assert shown._fingerprint == made._fingerprint == before
    assert made.format["type"] is None


def test_features_are_kept_where_the_type_is():
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=["a", "b"])})
    ds = Dataset.from_dict({"text": ["x"], "label": [1]}, features=features)
    over = Frame(ds).lay_over(InMemoryTable(pa.table({"text": pa.array(["y"]), "label": [0]})), "new").dataset
    assert over.features == {"text": Value("string"), "label": features["label"]}
    assert over.column_names == ["text", "label"]
    every = Frame(ds).lay_over(InMemoryTable(pa.table({"label": [0.5], "text": [1]})), "new").dataset
    assert every.features == {"text": Value("int64"), "label": Value("float64")}


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
