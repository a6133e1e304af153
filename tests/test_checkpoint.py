"""What a run stored is found again whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import time

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value

import tilth.checkpoint
import tilth.frame
from tests.steps_for_tests import AtLeast, Echo, FirstOfEach, Upper, Without
from tilth.checkpoint import Checkpoint
from tilth.frame import Frame
from tilth.pipeline import Pipeline
from tilth.step import Dropped, Outcome

ROWS = 95
SCHEMA = pa.schema({"double": pa.int64()})


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Ten rows in a batch, three batches in a part: 95 rows make four parts."""
    monkeypatch.setattr(tilth.frame, "BATCH_ROWS", 10)
    monkeypatch.setattr(tilth.checkpoint, "PART_BATCHES", 3)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def ds():
    return Dataset.from_dict({"n": list(range(ROWS))})


@pytest.fixture
def checkpoint(ds, tmp_path):
    return Checkpoint.of_source(ds, tmp_path).after("double")


class Work:
    """Doubles numbers, and keeps account of the batches that it was asked for."""

    def __init__(self, fault=None):
        self.firsts, self.fault, self.told = [], fault, 0

    def __call__(self, table, first):
        if self.fault is not None and first >= 60:
            raise self.fault
        self.firsts.append(first)
        return pa.table({"double": [2 * n for n in table["n"].to_pylist()]}), {"first": first}

    def on(self, checkpoint, ds):
        def advance(rows):
            self.told += rows

        table, notes, cached = checkpoint.parts(Frame(ds), ["n"], SCHEMA, self, advance)
        assert table.column("double").to_pylist() == [2 * n for n in range(len(ds))]
        assert [note["first"] for note in notes] == list(range(0, len(ds), 10))
        assert all(note["seconds"] >= 0 for note in notes)
        assert self.told == len(ds)
        return cached


def parts(checkpoint):
    return sorted(path.name for path in checkpoint.folder.glob("part-*.arrow"))


def damage(path, size):
    """Cut a file as a crash or a broken copy does; what has it mapped keeps what it has."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:size])


def test_what_was_stored_is_not_done_again(checkpoint, ds):
    first, second = Work(), Work()
    assert not first.on(checkpoint, ds)
    assert sorted(first.firsts) == list(range(0, ROWS, 10))
    assert parts(checkpoint) == [f"part-{number:05d}.arrow" for number in range(4)]
    assert second.on(checkpoint, ds)
    assert second.firsts == []


def test_no_rows_are_stored_too(tmp_path):
    ds = Dataset.from_dict({"n": []}, features=Features({"n": Value("int64")}))
    checkpoint = Checkpoint.of_source(ds, tmp_path).after("double")
    assert not Work().on(checkpoint, ds)
    assert Work().on(checkpoint, ds)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left"), ValueError("bad row")])
def test_a_run_that_stops_leaves_whole_parts_only_and_goes_on_from_there(checkpoint, ds, fault):
    with pytest.raises(type(fault)):
        Work(fault).on(checkpoint, ds)
    assert parts(checkpoint) == ["part-00000.arrow", "part-00001.arrow"]
    assert sorted(path.suffix for path in checkpoint.folder.iterdir()) == [".arrow"] * 2 + [".json"] * 2
    again = Work()
    assert not again.on(checkpoint, ds)
    assert sorted(again.firsts) == [60, 70, 80, 90]


@pytest.mark.parametrize("name", ["part-00001.arrow", "part-00001.json"])
@pytest.mark.parametrize("left", ["none", 0, 1, 0.5, -8, -1])
def test_a_part_that_is_cut_or_lost_is_made_again(checkpoint, ds, name, left):
    Work().on(checkpoint, ds)
    path = checkpoint.folder / name
    whole = (checkpoint.folder / "part-00001.arrow").read_bytes()
    if left == "none":
        path.unlink()
    else:
        size = path.stat().st_size
        damage(path, int(size * left) if isinstance(left, float) else left % size if left < 0 else left)
    again = Work()
    assert not again.on(checkpoint, ds)
    assert min(again.firsts) == 30
    assert (checkpoint.folder / "part-00001.arrow").read_bytes() == whole
    assert Work().on(checkpoint, ds)


def test_a_part_that_is_cut_between_two_batches_is_made_again(checkpoint, ds):
    """Such a file reads without an error, as fewer rows."""
    Work().on(checkpoint, ds)
    path = checkpoint.folder / "part-00002.arrow"
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_stream(file)
        reader.read_next_batch()
        end = file.tell()
    damage(path, end)
    with pa.memory_map(str(path)) as file:
        assert 0 < pa.ipc.open_stream(file).read_all().num_rows < 30
    again = Work()
    assert not again.on(checkpoint, ds)
    assert min(again.firsts) == 60


def test_parts_of_other_cuts_are_made_again(checkpoint, ds, monkeypatch):
    """Equal data can lie differently in memory, and then be cut elsewhere."""
    with pytest.raises(KeyboardInterrupt):
        Work(KeyboardInterrupt()).on(checkpoint, ds)
    monkeypatch.setattr(tilth.frame, "BATCH_ROWS", 9)
    table, _, cached = checkpoint.parts(Frame(ds), ["n"], SCHEMA, Work(), lambda rows: None)
    assert not cached
    assert table.column("double").to_pylist() == [2 * n for n in range(ROWS)]


def test_old_drafts_are_removed_and_young_ones_are_left(checkpoint, ds):
    checkpoint.folder.mkdir(parents=True)
    old, young = (checkpoint.folder / f".part-00000.arrow.{age}" for age in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 10**6,) * 2)
    Work().on(checkpoint, ds)
    assert not old.exists()
    assert young.exists()


# Outcomes of dataset steps

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})


def outcome_of(how):
    evidence = pa.StructArray.from_arrays([pa.array([0, 2]), pa.array([0.5, None])], names=["kept_row", "similarity"])
    dropped = Dropped(np.array([1, 3]), np.array([1, 2], np.uint8), None if how == "bare" else evidence)
    if how in ("bare", "evidence"):
        return Outcome(np.array([0, 2]), dropped)
    made = Dataset.from_dict({"text": ["a", "c", None], "label": [0, 1, 0]}, features=FEATURES)
    if how == "index":
        made = made.select([2, 1, 0]).select([2, 1, 0])
    return Outcome(np.array([0, 2, -1]), dropped, made, pa.array([[0, 3]], pa.list_(pa.int64())), "model x")


def assert_equal(one, other):
    assert one.origin.tolist() == other.origin.tolist()
    assert one.dropped.rows.tolist() == other.dropped.rows.tolist()
    assert one.dropped.codes.tolist() == other.dropped.codes.tolist()
    assert one.dropped.codes.dtype == np.uint8
    for mine, theirs in ((one.dropped.evidence, other.dropped.evidence), (one.parents, other.parents)):
        assert (mine is None and theirs is None) or mine.to_pylist() == theirs.to_pylist()
    assert one.generator == other.generator
    assert (one.dataset is None) == (other.dataset is None)
    if one.dataset is not None:
        assert one.dataset.to_list() == other.dataset.to_list()
        assert one.dataset.features == other.dataset.features


HOWS = ["bare", "evidence", "dataset", "index"]


@pytest.mark.parametrize("how", HOWS)
def test_an_outcome_is_recalled_as_it_was_kept(checkpoint, how):
    assert checkpoint.recall() is None
    outcome = outcome_of(how)
    checkpoint.keep(outcome, 1.5)
    recalled, seconds = checkpoint.recall()
    assert seconds == 1.5
    assert_equal(recalled, outcome)
    assert [path.name for path in checkpoint.folder.parent.iterdir()] == [checkpoint.key]


def test_an_outcome_is_recalled_from_disk_under_its_own_fingerprint(checkpoint):
    checkpoint.keep(outcome_of("dataset"), 0)
    dataset = checkpoint.recall()[0].dataset
    assert dataset.cache_files == [{"filename": str(checkpoint.folder / "data.arrow")}]
    assert dataset._fingerprint == checkpoint.fingerprint


@pytest.mark.parametrize("method", ["_write", "write_batches"])
def test_an_outcome_that_could_not_be_kept_leaves_nothing(checkpoint, monkeypatch, method):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(tilth.checkpoint, method, full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.keep(outcome_of("dataset"), 0)
    assert not list(checkpoint.folder.parent.iterdir())
    checkpoint.keep(outcome_of("dataset"), 0)
    assert checkpoint.recall() is not None


@pytest.mark.parametrize("name", ["dropped.arrow", "origin.arrow", "data.arrow", "parents.arrow", "meta.json"])
@pytest.mark.parametrize("left", ["none", 0, 0.5, -1])
def test_an_outcome_of_which_a_file_is_cut_or_lost_is_forgotten_and_kept_anew(checkpoint, name, left):
    checkpoint.keep(outcome_of("dataset"), 0)
    path = checkpoint.folder / name
    if left == "none":
        path.unlink()
    else:
        damage(path, int(path.stat().st_size * left) if isinstance(left, float) else left % path.stat().st_size)
    assert checkpoint.recall() is None
    checkpoint.keep(outcome_of("dataset"), 2)
    recalled, seconds = checkpoint.recall()
    assert seconds == 2
    assert_equal(recalled, outcome_of("dataset"))


def test_a_folder_that_was_only_begun_is_never_taken_for_an_outcome(checkpoint):
    checkpoint.keep(outcome_of("dataset"), 0)
    shutil.copytree(checkpoint.folder, checkpoint.folder.with_name("copy"))
    for name in ("meta.json", "parents.arrow", "data.arrow", "origin.arrow", "dropped.arrow"):
        (checkpoint.folder / name).unlink()
        assert checkpoint.recall() is None


def test_the_quicker_of_two_processes_wins_and_the_other_does_not_mind(checkpoint, monkeypatch):
    write = tilth.checkpoint._write

    def slow(path, table):
        with monkeypatch.context() as patch:
            patch.setattr(tilth.checkpoint, "_write", write)
            if not checkpoint.folder.exists():
                checkpoint.keep(outcome_of("dataset"), 1)
        write(path, table)

    monkeypatch.setattr(tilth.checkpoint, "_write", slow)
    checkpoint.keep(outcome_of("dataset"), 2)
    assert checkpoint.recall()[1] == 1
    assert [path.name for path in checkpoint.folder.parent.iterdir()] == [checkpoint.key]


def test_a_folder_that_appears_at_the_last_moment_is_used(checkpoint, monkeypatch):
    kept = Checkpoint._kept
    times = []

    def late(self):
        times.append(1)
        if len(times) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(Checkpoint, "_kept", kept)
                patch.setattr(tilth.checkpoint.shutil, "rmtree", lambda *_, **__: None)
                checkpoint.keep(outcome_of("dataset"), 1)
            monkeypatch.setattr(tilth.checkpoint.shutil, "rmtree", lambda *_, **__: None)
            return None
        return kept(self)

    monkeypatch.setattr(Checkpoint, "_kept", late)
    checkpoint.keep(outcome_of("dataset"), 2)
    assert checkpoint.recall()[1] == 1


def test_checkpoints_are_known_by_the_source_and_all_steps_before(ds, tmp_path):
    source = Checkpoint.of_source(ds, tmp_path)
    other = Checkpoint.of_source(Dataset.from_dict({"n": [1]}), tmp_path)
    one, two = Upper("a"), Upper("b")
    keys = [source, other, source.after(one), source.after(two), other.after(one), source.after(one).after(two)]
    keys += [source.after(two).after(one), source.after(one).after(one), source.after("a"), source.after("b")]
    assert len({checkpoint.key for checkpoint in keys}) == len(keys)
    assert source.after(Upper("a")) == source.after(one)
    assert Checkpoint.of_source(ds, tmp_path) == source
    assert all(checkpoint.folder == tmp_path / checkpoint.key for checkpoint in keys)


def test_a_run_on_damaged_products_gives_what_a_sound_run_gives(tmp_path):
    ds = Dataset.from_dict({"text": [f"row {n % 60}" for n in range(ROWS)], "id": list(range(ROWS))})
    pipeline = Pipeline(Upper("text"), AtLeast("text", 6), FirstOfEach("text"), Echo(3), Without("text", "ROW 11"))
    sound = pipeline.run(ds, cache_dir=tmp_path / "sound")
    expected = sound.dataset.to_list(), sound.rejected.to_list(), sound.ledger.depth.tolist()
    shutil.copytree(tmp_path / "sound", tmp_path / "pristine")
    files = sorted(path.relative_to(tmp_path / "sound") for path in (tmp_path / "sound").rglob("*.*") if path.is_file())
    assert len(files) > 20
    for file in files:
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        shutil.copytree(tmp_path / "pristine", tmp_path / "again")
        damage(tmp_path / "again" / file, (tmp_path / "again" / file).stat().st_size // 2)
        again = pipeline.run(ds, cache_dir=tmp_path / "again")
        assert (again.dataset.to_list(), again.rejected.to_list(), again.ledger.depth.tolist()) == expected, file
