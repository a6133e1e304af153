"""A step does the same work in `map`, in `filter` and by `apply`, on data of any shape, and leaves its input alone."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from typing import ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    IterableDatasetDict,
    List,
    Value,
    concatenate_datasets,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.errors import MissingColumnError
from tilth.step import DatasetStep, Dropped, FilterStep, MapStep, Outcome, Verdict, fingerprint_after
from tilth.text.strings import strings

TEXTS = [
    "a",
    "",
    None,
    "naïve café",
    "猫が好き",
    "a\u0000b",
    "<script>alert(1)</script>",
    "e\u0301\u200d🏳️‍🌈",
    "a",
    "long " * 50,
]


@dataclass(frozen=True)
class Quote(MapStep):
    """Puts marks around a text and writes how many bytes it had."""

    column: str = "text"
    mark: str = "|"

    @property
    def writes(self):
        return (self.column, "size")

    def transform(self, table):
        text = strings(table, self.column, str(self))
        values = table[self.column].cast(pa.large_string())
        mark, nothing = (pa.scalar(text, pa.large_string()) for text in (self.mark, ""))
        quoted = pc.binary_join_element_wise(mark, values, mark, nothing)
        sizes = pa.array(np.diff(text.offsets), mask=~text.valid)
        return {self.column: quoted.cast(text.type), "size": sizes}


@dataclass(frozen=True)
class AtLeast(FilterStep):
    column: str = "text"
    size: int = 2

    reasons: ClassVar[tuple[str, ...]] = ("null_text", "short")

    def metrics(self, table):
        text = strings(table, self.column, str(self))
        return {"size": pa.array(np.diff(text.offsets), mask=~text.valid)}

    def verdict(self, table):
        size = self.metrics(table)["size"]
        return Verdict.first_of(null_text=pc.is_null(size), short=pc.less(size, self.size), evidence=size)


@dataclass(frozen=True)
class FirstOfEach(DatasetStep):
    column: str = "text"

    reasons: ClassVar[tuple[str, ...]] = ("copy",)

    def run(self, ds):
        first: dict[str | None, int] = {}
        rows = [row for row, text in enumerate(ds[self.column][:]) if first.setdefault(text, row) != row]
        return Outcome.without(Dropped(np.array(rows, np.int64), np.ones(len(rows), np.uint8)), len(ds))


@dataclass(frozen=True)
class Backwards(DatasetStep):
    """All rows in reverse order: as rows of the input, as a dataset with an index, or as one without."""

    how: str

    @property
    def reads(self):
        return ("*",)

    def run(self, ds):
        origin = np.arange(len(ds))[::-1].copy()
        made = {"origin": None, "index": ds.select(origin), "copy": ds.select(origin).flatten_indices()}[self.how]
        return Outcome(origin, Dropped.none(), made)


@dataclass(frozen=True)
class Tag(MapStep):
    """Reads nothing."""

    value: int

    @property
    def writes(self):
        return ("tag",)

    def transform(self, table):
        return {"tag": pa.array([self.value] * table.num_rows, pa.int32())}


FEATURES = Features(
    {
        "id": Value("int16"),
        "text": Value("string"),
        "label": ClassLabel(names=["bad", "good"]),
        "scores": List(Value("float32")),
        "meta": {"lang": Value("string"), "n": Value("uint8")},
    }
)


def build(texts, kind="string"):
    rows = range(len(texts))
    columns = {
        "id": list(rows),
        "text": list(texts),
        "label": [row % 2 for row in rows],
        "scores": [[0.5] * (row % 3) for row in rows],
        "meta": [{"lang": None if row % 4 == 3 else "en", "n": row % 256} for row in rows],
    }
    features = Features({**FEATURES, "text": Value(kind)})
    info = datasets.DatasetInfo(description="small", license="cc0-1.0", features=features)
    return Dataset.from_dict(columns, features=features, info=info, split=datasets.Split.VALIDATION)


def chunked(sizes):
    """Rows in chunks of these sizes, each a slice of a longer array."""
    whole = build(TEXTS * 4).data.table
    start, pieces = 3, []
    for size in sizes:
        pieces.append(whole.slice(start, size))
        start += size
    return Dataset(pa.concat_tables(pieces), info=build([]).info, split=datasets.Split.VALIDATION)


def saved(tmp_path):
    build(TEXTS * 3).save_to_disk(tmp_path / "saved")
    return datasets.load_from_disk(tmp_path / "saved")


SHAPES = {
    "plain": lambda _: build(TEXTS),
    "large_string": lambda _: build(TEXTS, "large_string"),
    "dictionary": lambda _: Dataset(
        pa.table({"text": pa.array(["aa", "b", None, "aa"]).dictionary_encode(), "id": [0, 1, 2, 3]})
    ),
    "one_row": lambda _: build(["one"]),
    "all_null": lambda _: build([None, None, None]),
    "null_type": lambda _: build([None, None], "null"),
    "empty": lambda _: build([]),
    "empty_null_type": lambda _: build([], "null"),
    "many_chunks": lambda _: chunked([1] * 30),
    "empty_chunks": lambda _: chunked([0, 3, 0, 0, 5, 0]),
    "offset": lambda _: chunked([9]),
    "slice": lambda _: build(TEXTS * 2).select(range(3, 17)),
    "select": lambda _: build(TEXTS).select([7, 1, 1, 0, 9]),
    "select_ascending": lambda _: build(TEXTS).select([0, 2, 3, 8]),
    "shuffle": lambda _: build(TEXTS * 3).shuffle(seed=1),
    "sort": lambda _: build(TEXTS).sort("id", reverse=True),
    "split": lambda _: build(TEXTS * 2).train_test_split(0.3, seed=2)["test"],
    "shard": lambda _: build(TEXTS * 2).shard(3, 1, contiguous=False),
    "filter": lambda _: build(TEXTS).filter(lambda row: row["id"] > 2),
    "filter_to_nothing": lambda _: build(TEXTS).filter(lambda row: False),
    "concatenated": lambda _: concatenate_datasets([build(TEXTS), build(TEXTS).select([3, 1])]),
    "on_disk": saved,
    "on_disk_shuffled": lambda tmp_path: saved(tmp_path).shuffle(seed=3),
}
FORMATS = {
    "none": (None, {}),
    "numpy": ("numpy", {}),
    "numpy_of_two": ("numpy", {"columns": ["id", "text"]}),
    "numpy_without_text": ("numpy", {"columns": ["id"]}),
    "numpy_of_one_and_all": ("numpy", {"columns": ["id"], "output_all_columns": True}),
    "pandas": ("pandas", {}),
    "arrow": ("arrow", {}),
    "arrow_without_text": ("arrow", {"columns": ["id"]}),
}


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(params=SHAPES)
def ds(request, tmp_path):
    return SHAPES[request.param](tmp_path)


def rows(ds):
    return ds.with_format(None).to_list()


def quoted(rows, mark="|"):
    text = [row["text"] for row in rows]
    return [
        {**row, "text": None, "size": None} if t is None else {**row, "text": mark + t + mark, "size": len(t.encode())}
        for row, t in zip(rows, text, strict=True)
    ]


def at_least(rows, size=2):
    return [row for row in rows if row["text"] is not None and len(row["text"].encode()) >= size]


def first_of_each(rows):
    seen = set()
    return [row for row in rows if not (row["text"] in seen or seen.add(row["text"]))]


def state(ds):
    """Everything that a step must leave as it was."""
    indices = None if ds._indices is None else ds._indices.column(0).to_pylist()
    return (ds._fingerprint, copy.deepcopy(ds.features), ds.format, ds.split, repr(ds.info), ds.data.table, indices)


def like(ds, made):
    return made.split == ds.split and made.info.description == ds.info.description and made.format == ds.format


STEPS = [(Quote(), quoted), (AtLeast(), at_least), (FirstOfEach(), first_of_each)]


@pytest.mark.parametrize("step, meaning", STEPS, ids=lambda value: str(value) if not callable(value) else "")
def test_apply_does_what_the_step_means_and_leaves_its_input(ds, step, meaning):
    before = state(ds)
    made = step.apply(ds)
    assert rows(made) == meaning(rows(ds))
    assert state(ds) == before
    assert made is not ds
    assert made.split == ds.split and made.info.description == ds.info.description
    assert made.column_names == ds.column_names + [name for name in step.writes if name not in ds.column_names]
    # Text of the type `null` becomes text of a type that can hold what is written.
    kept = [name for name in ds.column_names if ds.features[name] != Value("null") or name not in step.writes]
    assert {name: made.features[name] for name in kept} == {name: ds.features[name] for name in kept}
    assert made.features.arrow_schema == made.data.schema.remove_metadata()
    assert made._fingerprint == fingerprint_after(ds, step) != ds._fingerprint
    made.set_format("numpy")
    assert state(ds) == before


def test_map_and_filter_do_what_apply_does(ds):
    written = ds.map(Quote(), batched=True, batch_size=4, features=Quote().apply(ds).features)
    assert rows(written) == (quoted(rows(ds)) if len(ds) else [])
    assert rows(ds.filter(AtLeast(), batched=True, batch_size=4)) == rows(AtLeast().apply(ds))


def test_arrow_batches_do_what_apply_does(ds):
    arrow = ds.with_format("arrow")
    written = arrow.map(Quote(), batched=True, batch_size=4)
    if len(ds):
        assert rows(written) == rows(Quote().apply(ds))
        assert written.features == Quote().apply(ds).features
    assert rows(arrow.filter(AtLeast(), batched=True, batch_size=4)) == rows(AtLeast().apply(ds))


@pytest.mark.parametrize("shape", ["plain", "shuffle"])
@pytest.mark.parametrize("kind", [None, "arrow"])
def test_two_processes_do_what_apply_does(tmp_path, shape, kind):
    ds = SHAPES[shape](tmp_path).with_format(kind)
    assert rows(ds.map(Quote(), batched=True, num_proc=2)) == rows(Quote().apply(ds))
    assert rows(ds.filter(AtLeast(), batched=True, num_proc=2)) == rows(AtLeast().apply(ds))


@pytest.mark.parametrize("shape", ["plain", "select", "empty", "on_disk"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_callers_format_is_kept_as_datasets_keeps_it(tmp_path, shape, name):
    kind, options = FORMATS[name]
    plain = SHAPES[shape](tmp_path)
    ds = plain.with_format(kind, **options)
    for step, meaning in STEPS:
        before = state(ds)
        made = step.apply(ds)
        assert state(ds) == before
        assert rows(made) == meaning(rows(plain))
        assert made._fingerprint == fingerprint_after(ds, step)
        assert made.format["type"] == kind
        if len(ds) and isinstance(step, MapStep):
            theirs = ds.map(step, batched=True)
            assert set(made.format.pop("columns")) == set(theirs.format.pop("columns"))
            assert made.format["output_all_columns"] == theirs.format["output_all_columns"]
        elif not isinstance(step, MapStep):
            assert made.format == ds.format


@pytest.mark.parametrize("name", FORMATS)
def test_map_and_filter_work_in_every_format(name):
    kind, options = FORMATS[name]
    plain = build(TEXTS)
    ds = plain.with_format(kind, **options)
    assert rows(ds.filter(AtLeast(), batched=True)) == at_least(rows(plain))
    made = rows(ds.map(Quote(), batched=True))
    if kind == "pandas":
        # Through pandas, whole numbers beside nulls become floats, and null numbers NaN.
        made = [{**row, "size": None if row["size"] != row["size"] else row["size"]} for row in made]
    assert made == quoted(rows(plain))


def test_a_transform_that_the_caller_set_stays_set():
    ds = build(TEXTS).with_transform(lambda batch: {"shown": [str(text) for text in batch["text"]]})
    made = AtLeast().apply(ds)
    assert made[0] == {"shown": "naïve café"}
    assert Quote().apply(ds)[0] == {"shown": "|a|"}


def test_a_dict_of_splits_is_done_split_by_split():
    ds = DatasetDict({"train": build(TEXTS), "test": build(["one", "two"])})
    for step, meaning in STEPS:
        made = step.apply(ds)
        assert type(made) is DatasetDict
        assert {split: rows(part) for split, part in made.items()} == {
            split: meaning(rows(part)) for split, part in ds.items()
        }
    assert rows(ds.map(Quote(), batched=True)["test"]) == quoted(rows(ds["test"]))
    assert rows(ds.filter(AtLeast(), batched=True)["test"]) == at_least(rows(ds["test"]))


@pytest.mark.parametrize("kind, known", [(None, True), ("arrow", True), (None, False)])
def test_a_stream_stays_a_stream(kind, known):
    plain = build(TEXTS) if known else build(TEXTS).select_columns(["id", "text"])
    stream = plain.to_iterable_dataset(num_shards=2) if known else IterableDataset.from_generator(lambda: iter(plain))
    stream = stream.with_format(kind)
    for step, meaning in STEPS[:2]:
        made = step.apply(stream)
        assert isinstance(made, IterableDataset)
        assert list(made.with_format(None)) == meaning(rows(plain))
        if known:
            assert made.features == step.apply(plain).features
    both = IterableDatasetDict({"train": stream, "test": stream})
    made = AtLeast().apply(both)
    assert type(made) is IterableDatasetDict
    assert list(made["test"].with_format(None)) == at_least(rows(plain))


def test_a_stream_of_unknown_columns_is_checked_when_it_is_read():
    stream = IterableDataset.from_generator(lambda: iter([{"other": "a"}]))
    with pytest.raises(MissingColumnError, match="reads column 'text'"):
        next(iter(AtLeast().apply(stream)))


@pytest.mark.parametrize("how", ["origin", "index", "copy"])
@pytest.mark.parametrize("shape", ["plain", "select", "empty", "on_disk"])
def test_a_dataset_step_may_give_rows_of_its_input_or_a_dataset(tmp_path, shape, how):
    ds = SHAPES[shape](tmp_path)
    made = Backwards(how).apply(ds)
    assert rows(made) == rows(ds)[::-1]
    assert made.features == ds.features
    assert made.split == ds.split
    assert made._fingerprint == fingerprint_after(ds, Backwards(how))


@pytest.mark.parametrize("kind", [None, "arrow", "pandas"])
def test_a_step_that_reads_nothing_still_writes_every_row(kind):
    ds = build(TEXTS).with_format(kind)
    assert Tag(7).apply(ds).with_format(None)["tag"][:] == [7] * len(TEXTS)
    assert ds.map(Tag(7), batched=True, batch_size=3).with_format(None)["tag"][:] == [7] * len(TEXTS)


def test_batches_may_be_dicts_tables_or_frames():
    columns = {"text": ["a", None], "id": [1, 2]}
    table = pa.table(columns)
    assert Quote()(columns) == {"text": ["|a|", None], "size": [1, None]}
    assert Quote()(table).to_pydict() == {"text": ["|a|", None], "id": [1, 2], "size": [1, None]}
    assert Quote()(table.to_pandas())["text"].tolist()[0] == "|a|"
    assert AtLeast(size=1)(columns) == [True, False]
    assert AtLeast(size=1)(table).to_pylist() == [True, False]
    assert AtLeast(size=1)(table.to_pandas()) == [True, False]
    assert AtLeast(size=1)({"text": ("a", None)}) == [True, False]
    assert AtLeast()({"text": []}) == []
    assert AtLeast()({"text": np.array([])}) == []
    encoded = pa.table({"text": pa.array(["aa", "b", "aa"]).dictionary_encode()})
    assert AtLeast()(encoded).to_pylist() == [True, False, True]
    with pytest.raises(
        TypeError, match=r"Quote works on a dict of lists, a pa.Table or a pandas DataFrame, not on list"
    ):
        Quote()([{"text": "a"}])


def test_lists_of_lists_reach_a_step_from_any_format():
    @dataclass(frozen=True)
    class Count(MapStep):
        column: str = "scores"
        reads_text = ()
        writes = ("count",)

        def transform(self, table):
            return {"count": pc.list_value_length(table["scores"]).cast(pa.int64())}

    ds = Dataset.from_dict({"scores": [[1, 2], [3, 4], [5, 6]]})
    for kind in (None, "numpy", "pandas", "arrow"):
        assert ds.with_format(kind).map(Count(), batched=True).with_format(None)["count"][:] == [2, 2, 2]
    with pytest.raises(TypeError, match="one value of 'scores' instead of a batch"):
        ds.map(Count())


def test_a_row_of_ten_megabytes_is_a_row_like_any_other():
    ds = build(["x", "猫" * 3_500_000, "y"])
    assert Quote().apply(ds)["size"][:] == [1, 10_500_000, 1]
    assert rows(AtLeast(size=1000).apply(ds)) == rows(ds)[1:2]


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans(), st.sampled_from([True, None]))))
@settings(max_examples=50, deadline=None)
def test_a_row_goes_for_the_first_reason_that_holds(conditions):
    first, second, third = (pa.array([row[at] for row in conditions], pa.bool_()) for at in range(3))
    verdict = Verdict.first_of(a=first, b=np.array(second.to_pylist(), dtype=bool), c=pa.chunked_array([third]))
    expected = [next((code for code, holds in enumerate(row, start=1) if holds), 0) for row in conditions]
    assert verdict.codes.tolist() == expected
    assert verdict.codes.dtype == np.uint8
    assert verdict.kept.tolist() == [code == 0 for code in expected]
    assert verdict.reasons == ("a", "b", "c")


def test_a_filters_metrics_can_be_written_instead(ds):
    made = AtLeast().scores(prefix="text_").apply(ds)
    assert made["text_size"][:] == [None if row["text"] is None else len(row["text"].encode()) for row in rows(ds)]
    assert made.column_names == [*ds.column_names, "text_size"]


def test_a_step_survives_pickling_and_copying():
    for step in (Quote(mark="!"), AtLeast(size=3), FirstOfEach(), AtLeast().scores("x_")):
        assert step.fingerprint
        for again in (pickle.loads(pickle.dumps(step)), copy.copy(step), copy.deepcopy(step)):
            assert again == step and hash(again) == hash(step)
            assert again.fingerprint == step.fingerprint
            assert json.dumps(again.writes) == json.dumps(step.writes)
