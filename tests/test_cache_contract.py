"""Equal steps are known as equal: in every process, for any hash seed, by our caches and by those of `datasets`."""

from __future__ import annotations

import copy
import enum
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datasets import Dataset, load_from_disk
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.dedup import MinHash
from tilth.errors import ArgumentError
from tilth.filters import GopherQuality, WordCount
from tilth.step import DatasetStep, Dropped, FilterStep, MapStep, Outcome, Verdict

CALLS = "TILTH_TEST_CALLS"
ROOT = Path(__file__).parents[1]


def note_call(table):
    """One byte in a file for each batch of rows that a step works on; `num_proc` and processes share it."""
    if table.num_rows:
        with Path(os.environ[CALLS]).open("a") as file:
            file.write(".")


@dataclass(frozen=True)
class Add(MapStep):
    column: str = "n"
    more: float = 1

    version: ClassVar[int] = 1
    reads_text = ()
    writes = ("sum",)

    def transform(self, table):
        note_call(table)
        return {"sum": pc.add(table[self.column], self.more).cast(pa.float64())}


@dataclass(frozen=True)
class Above(FilterStep):
    column: str = "n"
    bound: float = 3

    reads_text = ()
    reasons: ClassVar[tuple[str, ...]] = ("low",)

    def verdict(self, table):
        note_call(table)
        return Verdict.first_of(low=pc.less_equal(table[self.column], self.bound))


@dataclass(frozen=True)
class Nothing(DatasetStep):
    column: str = "n"

    reads_text = ()

    def run(self, ds):
        return Outcome.without(Dropped.none(), len(ds))


class Colour(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


class Known:
    fingerprint = "known"


@dataclass(frozen=True)
class Holder(MapStep):
    value: Any
    other: Any = None

    reads = ()
    writes = ("x",)

    def transform(self, table):
        return {"x": pa.nulls(table.num_rows, pa.int8())}

    @cached_property
    def table(self):
        return {"derived": object(), "numbers": list(range(1000))}


def words(letters):
    return [letter * 3 for letter in letters]


CASES = {
    "text": "a",
    "none": None,
    "nan": float("nan"),
    "infinite": float("-inf"),
    "float": 0.1,
    "big": 10**30,
    "bytes": b"\xff\x00",
    "list": ["b", "a", ["c"]],
    "tuple": ("b", ("a", 1)),
    "dict": {word: {"k": word} for word in words("qwertyuiop")},
    "set": set(words("qwertyuiop")),
    "frozenset": frozenset(words("qwertyuiop")),
    "frozenset_of_mixed": frozenset([1, "a", None, 2.5, ("x", "y"), frozenset(words("asdf"))]),
    "nested_frozenset": {"deep": [(frozenset(words("qwertyuiop")), "z")]},
    "regex": re.compile("a+|é", re.IGNORECASE),
    "bytes_regex": re.compile(b"a+"),
    "array": np.arange(6).reshape(2, 3),
    "array_of_objects": np.array(["a", None, 1], dtype=object),
    "enum": Colour.RED,
    "int_enum": Level.LOW,
    "path": PurePosixPath("a/b"),
    "known_object": Known(),
    "step": Add("n", 2),
    "steps": (Add("n", 2), Above("n", 1)),
}

SCRIPT = """
import json, os, sys
from dataclasses import dataclass
from pathlib import Path
import datasets
import pyarrow as pa
from datasets import load_dataset, load_from_disk
from datasets.fingerprint import Hasher
from tests.test_cache_contract import CALLS, CASES, Above, Add, Holder
from tilth.step import MapStep
datasets.disable_progress_bars()

@dataclass(frozen=True)
class Scripted(MapStep):
    names: frozenset[str] = frozenset(["a", "b", "c"])
    reads = ()
    writes = ("one",)
    def transform(self, table):
        return {"one": pa.array([EDITED] * table.num_rows, pa.int64())}

def calls():
    return os.path.getsize(os.environ[CALLS])

def counted(work):
    before = calls()
    result = work()
    return [calls() - before, result._fingerprint]

folder = Path(sys.argv[1])
saved = load_from_disk(folder / "saved")
loaded = load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train")
seen = {"known": {name: [Hasher.hash(Holder(v)), Holder(v).fingerprint] for name, v in CASES.items()}}
seen["scripted"] = [Hasher.hash(Scripted()), Scripted().fingerprint, Scripted().apply(saved)["one"][:][0]]
for name, ds in {"saved": saved, "loaded": loaded, "picked": saved.select([3, 1, 5])}.items():
    seen[name] = {
        "map": counted(lambda: ds.map(Add(), batched=True)),
        "arrow map": counted(lambda: ds.with_format("arrow").map(Add(), batched=True)),
        "filter": counted(lambda: ds.filter(Above(), batched=True)),
        "apply": counted(lambda: Add().apply(ds)),
        "apply filter": counted(lambda: Above().apply(ds)),
    }
print(json.dumps(seen))
"""


@pytest.fixture(autouse=True)
def _calls(tmp_path, monkeypatch):
    (tmp_path / "calls").touch()
    monkeypatch.setenv(CALLS, str(tmp_path / "calls"))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def calls(tmp_path):
    return (tmp_path / "calls").stat().st_size


@pytest.fixture
def on_disk(tmp_path):
    Dataset.from_dict({"n": list(range(10))}).save_to_disk(tmp_path / "saved")
    return load_from_disk(tmp_path / "saved")


def test_another_process_knows_the_steps_and_finds_their_work(tmp_path, on_disk):
    on_disk.to_json(tmp_path / "rows.jsonl")

    def another_process(seed, script):
        done = subprocess.run(
            [sys.executable, "-", str(tmp_path)],
            input=script,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    one = another_process(1, SCRIPT.replace("EDITED", "1"))
    other = another_process(2, SCRIPT.replace("EDITED", "2"))
    assert one["known"] == other["known"]
    assert one["known"] == {name: [Hasher.hash(Holder(v)), Holder(v).fingerprint] for name, v in CASES.items()}
    # A step of a script is known by its code too.
    assert one["scripted"][1] != other["scripted"][1]
    assert (one["scripted"][2], other["scripted"][2]) == (1, 2)
    for name in ("saved", "loaded", "picked"):
        for way, (count, fingerprint) in one[name].items():
            assert count > 0, (name, way)
            # What `apply` does with a filter is never stored: it makes an index, in memory.
            again = count if way == "apply filter" else 0
            assert other[name][way] == [again, fingerprint], (name, way)


def test_the_fingerprint_of_a_step_never_changes():
    """Caches of users are keyed by it: if this fails, all of them are lost."""
    assert Holder(("a", 1, None, 0.5)).fingerprint == "14e71e26336ba1ea4c3d6086f12a2139"


def test_a_saved_dataset_is_recognised_when_it_is_loaded_and_one_in_memory_is_not_cached(tmp_path, on_disk):
    made = Add().apply(on_disk)
    assert calls(tmp_path) == 1
    made.save_to_disk(tmp_path / "made")
    # `save_to_disk` stores the fingerprint and loading sets a format, which changes it in the same way every time: a
    # folder is recognised as what was loaded from it before, not as what was saved to it.
    again = load_from_disk(tmp_path / "made")
    assert again._fingerprint == load_from_disk(tmp_path / "made")._fingerprint != made._fingerprint
    Add("sum").apply(again)
    assert calls(tmp_path) == 2
    Add("sum").apply(load_from_disk(tmp_path / "made"))
    assert calls(tmp_path) == 2
    # Equal data of another origin has another fingerprint, and data in memory has no files to put a cache beside.
    in_memory = Dataset.from_dict({"n": list(range(10))})
    for _ in range(2):
        Add().apply(in_memory)
    assert calls(tmp_path) == 4
    assert not list(tmp_path.rglob(".cache-*"))


@pytest.mark.parametrize("work", ["map", "apply"])
def test_the_same_step_hits_and_any_other_field_or_version_misses(tmp_path, on_disk, work, monkeypatch):
    def do(step):
        before = calls(tmp_path)
        step.apply(on_disk) if work == "apply" else on_disk.map(step, batched=True)
        return calls(tmp_path) - before

    assert do(Add("n", 1)) == 1
    assert do(Add("n", 1)) == 0
    assert do(Add(column="n", more=1)) == 0
    assert do(Add("n", 2)) == 1
    assert do(replace(Add("n", 2), more=1)) == 0
    monkeypatch.setattr(Add, "version", 2)
    assert do(Add("n", 1)) == 1
    assert do(Add("n", 1)) == 0


def test_a_filter_hits_and_any_other_field_misses(tmp_path, on_disk):
    counts = []
    for bound in (3, 3, 4, 3):
        before = calls(tmp_path)
        on_disk.filter(Above(bound=bound), batched=True)
        counts.append(calls(tmp_path) - before)
    assert counts == [1, 0, 1, 0]


def test_without_caching_nothing_is_found_or_left(tmp_path, on_disk):
    datasets.disable_caching()
    try:
        for _ in range(2):
            assert Add().apply(on_disk)["sum"][:] == [n + 1 for n in range(10)]
        assert calls(tmp_path) == 2
        assert not list((tmp_path / "saved").glob("cache-*"))
    finally:
        datasets.enable_caching()


def test_a_cache_file_that_was_cut_short_is_made_again(tmp_path, on_disk):
    Add().apply(on_disk)
    (cached,) = (tmp_path / "saved").glob("cache-*.arrow")
    whole = cached.read_bytes()
    for size in (0, 100, len(whole) - 8, len(whole) - 1):
        cached.unlink()
        cached.write_bytes(whole[:size])
        assert Add().apply(on_disk)["sum"][:] == [n + 1 for n in range(10)]
        assert cached.read_bytes() == whole


def test_what_a_step_derives_is_neither_pickled_nor_part_of_it():
    step = Holder(("a",), frozenset("abc"))
    before = pickle.dumps(step), Hasher.hash(step), step.fingerprint, hash(step)
    assert step.table["numbers"]
    assert (pickle.dumps(step), Hasher.hash(step), step.fingerprint, hash(step)) == before
    again = pickle.loads(pickle.dumps(step))
    assert set(vars(again)) == {"value", "other"}
    assert again == step
    assert type(again.other) is frozenset


def test_how_often_an_equal_value_is_the_same_object_does_not_matter():
    pair, equal = tuple("ab"), tuple("ab")
    assert pair is not equal
    assert Hasher.hash(Holder(pair, pair)) == Hasher.hash(Holder(pair, equal))
    names = frozenset(["a", "b"])
    assert Hasher.hash(Holder([names, names])) == Hasher.hash(Holder([names, frozenset(["b", "a"])]))


@pytest.mark.parametrize("name", CASES)
def test_every_plain_value_survives_pickling_and_copying(name):
    step = Holder(CASES[name])
    for again in (pickle.loads(pickle.dumps(step)), copy.copy(step), copy.deepcopy(step)):
        assert again.fingerprint == step.fingerprint
        assert repr(again.value) == repr(step.value) or again.value == step.value or name == "known_object"


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.sampled_from(["1", "1.0", "0.5", "nan", "None", "True", "list", "set", "map", "bytes", Colour.RED, Level.LOW]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.dictionaries(SCALARS, inner, max_size=3).map(lambda d: _Frozen(d.items())),
    ),
    max_leaves=6,
)


class _Frozen(dict):
    def __hash__(self):
        return hash(frozenset(self))


def twin(value):
    """An equal value, as unlike the first as it can be."""
    match value:
        case bool() | int() if not isinstance(value, enum.Enum) and abs(value) < 2**53:
            return float(value)
        case float() if value.is_integer():
            return int(value)
        case tuple():
            return tuple(twin(item) for item in value)
        case frozenset():
            return frozenset(twin(item) for item in reversed(list(value)))
        case dict():
            return _Frozen((twin(key), twin(item)) for key, item in reversed(value.items()))
    return value


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_equal_fields_have_equal_fingerprints(value):
    assert twin(value) == value
    assert Holder(twin(value)) == Holder(value)
    assert Holder(twin(value)).fingerprint == Holder(value).fingerprint


@given(VALUES, VALUES)
@settings(max_examples=300, deadline=None)
def test_unequal_fields_have_unequal_fingerprints(one, other):
    assert (Holder(one).fingerprint == Holder(other).fingerprint) == (one == other)


@pytest.mark.parametrize(
    "one, other",
    [
        (1.5, "1.5"),
        (float("nan"), "NaN"),
        (b"\x00", ["bytes", "00"]),
        ({"a": 1}, [["map", ["a", 1]]]),
        (PurePosixPath("a"), "a"),
        (Colour.RED, "RED"),
        (np.array([1], np.int32), np.array([1], np.int64)),
        (np.array([[1, 2]]), np.array([[1], [2]])),
        (re.compile("a"), re.compile("a", re.IGNORECASE)),
        (re.compile("a"), re.compile(b"a")),
        (Add("n", 1), Add("n", 2)),
        (Add("n", 3), Above("n", 3)),
    ],
)
def test_values_that_look_alike_are_told_apart(one, other):
    assert Holder(one).fingerprint != Holder(other).fingerprint


@pytest.mark.parametrize("one, other", [(1, True), (1, 1.0), (0, -0.0), (2, np.int8(2)), (0.5, np.float32(0.5))])
def test_numbers_are_known_by_their_value(one, other):
    assert Holder(one).fingerprint == Holder(other).fingerprint


@pytest.mark.parametrize(
    "one, other",
    [
        (Add("n", 1), Add("n", 1.0)),
        (WordCount("n", min=3, max=5), WordCount("n", min=3.0, max=5.0)),
        (GopherQuality("n", max_avg_word_length=10), GopherQuality("n", max_avg_word_length=10.0)),
        (MinHash("n", threshold=1), MinHash("n", threshold=1.0)),
    ],
    ids=lambda step: type(step).__name__,
)
def test_equal_numbers_are_the_same_to_the_caches_of_datasets_too(one, other):
    assert one == other == pickle.loads(pickle.dumps(one))
    assert one.fingerprint == other.fingerprint
    assert Hasher.hash(one) == Hasher.hash(other)


def test_numbers_in_fields_of_no_declared_kind_stay_as_they_are():
    for value in (1, 1.0, True, 10**400):
        back = pickle.loads(pickle.dumps(Holder(value))).value
        assert back == value
        assert type(back) is type(value)
    assert pickle.loads(pickle.dumps(Add("n", 10**400))).more == 10**400


@pytest.mark.parametrize("value", [object(), len, lambda x: x, [object()], {"a": object()}, 1j, np.complex64(1)])
def test_what_has_no_stable_identity_is_refused_by_name(value):
    inner = value[0] if isinstance(value, list) else value["a"] if isinstance(value, dict) else value
    message = (
        rf"a step holds {re.escape(repr(inner))} of type .*{type(inner).__name__}, which has no stable identity.*"
        r"Give it a `fingerprint` attribute, or pass plain values\."
    )
    with pytest.raises(ArgumentError, match=message):
        _ = Holder(value).fingerprint
    with pytest.raises(ArgumentError, match=message):
        Holder(value).apply(Dataset.from_dict({"n": [1]}))
