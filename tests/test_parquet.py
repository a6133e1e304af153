"""Parquet shards: bounded, whole, and read back with every feature."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets import Image as ImageFeature
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth import parquet
from tilth.errors import ArgumentError, ColumnTypeError
from tilth.parquet import write_parquet

EVERY = Features(
    {
        "text": Value("string"),
        "long": Value("large_string"),
        "label": ClassLabel(names=["no", "yes"]),
        "chat": List({"role": Value("string"), "content": Value("string")}),
        "grid": Array2D((2, 2), "int32"),
        "when": Value("timestamp[us]"),
        "span": Value("duration[s]"),
        "none": Value("null"),
        "bytes": Value("binary"),
        "price": Value("decimal128(10,2)"),
    }
)
ROWS = {
    "text": ["a", None, "\U0001f600\x00"],
    "long": ["", "b", None],
    "label": [0, None, 1],
    "chat": [[{"role": "user", "content": "x"}], [], None],
    "grid": [[[1, 2], [3, 4]]] * 3,
    "when": [datetime.datetime(2024, 1, 1)] * 3,
    "span": [datetime.timedelta(seconds=1)] * 3,
    "none": [None] * 3,
    "bytes": [b"\xff", None, b""],
    "price": [decimal.Decimal("1.20")] * 3,
}


def read(paths, tmp_path) -> Dataset:
    return load_dataset(
        "parquet", data_files=[str(path) for path in paths], split="train", cache_dir=str(tmp_path / "c")
    )


def rows_of(paths) -> list[int]:
    return [value for path in paths for value in pq.read_table(path)["n"].to_pylist()]


def rows_size(path) -> int:
    """Bytes of a file without its footer."""
    about = pq.read_metadata(path)
    groups = [about.row_group(group) for group in range(about.num_row_groups)]
    return sum(group.column(place).total_compressed_size for group in groups for place in range(group.num_columns))


def test_every_feature_comes_back(tmp_path):
    ds = Dataset.from_dict(ROWS, features=EVERY)
    back = read(write_parquet(ds, tmp_path, "train"), tmp_path)
    assert back.features == ds.features
    assert back.to_dict() == ds.to_dict()


def test_features_are_stored_also_where_the_data_has_none(tmp_path):
    ds = Dataset(pa.table({"n": [1]}), fingerprint="x")
    assert b"huggingface" in pq.read_schema(write_parquet(ds, tmp_path, "train")[0]).metadata


@given(
    sizes=st.lists(st.integers(0, 400), max_size=60),
    max_bytes=st.integers(1, 4000),
    order=st.sampled_from(["all", "some", "shuffled"]),
)
@settings(max_examples=40, deadline=None)
def test_every_row_is_in_one_shard_in_order(sizes, max_bytes, order, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    texts = [rng.bytes(size).hex() for size in sizes]
    ds = Dataset.from_dict(
        {"n": list(range(len(sizes))), "text": texts}, features=Features({"n": Value("int64"), "text": Value("string")})
    )
    if order == "some":
        ds = ds.select(range(0, len(ds), 2))
    if order == "shuffled":
        ds = ds.shuffle(seed=1)
    paths = write_parquet(ds, folder, "train", max_bytes)
    assert [path.name for path in paths] == [f"train-{i:05d}-of-{len(paths):05d}.parquet" for i in range(len(paths))]
    assert sorted(folder.iterdir()) == paths
    assert rows_of(paths) == ds["n"][:]
    for path in paths:
        about = pq.read_metadata(path)
        held = rows_size(path)
        # What Parquet adds to a column chunk is all that can exceed, or a row that is larger by itself.
        assert held <= max_bytes + 400 * about.num_row_groups or about.num_rows == 1


def test_shards_are_filled(tmp_path):
    rng = np.random.default_rng(0)
    ds = Dataset.from_dict({"n": [rng.bytes(500).hex() for _ in range(5000)]})
    paths = write_parquet(ds, tmp_path, "train", 600_000)
    sizes = [rows_size(path) for path in paths]
    assert max(sizes) <= 600_000
    assert min(sizes[:-1]) > 500_000


def test_a_few_large_rows_make_small_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 100_000)
    texts = ["small"] * 500 + ["x" * 60_000] * 20 + ["small"] * 500
    path = write_parquet(Dataset.from_dict({"n": texts}), tmp_path, "train")[0]
    about = pq.read_metadata(path)
    groups = [about.row_group(group) for group in range(about.num_row_groups)]
    assert max(group.total_byte_size for group in groups) < 120_000
    assert rows_of([path]) == texts


def test_a_row_of_ten_megabytes_is_written(tmp_path):
    ds = Dataset.from_dict({"n": ["a", "é" * 5_000_000, "b"]})
    assert rows_of(write_parquet(ds, tmp_path, "train", 1_000_000)) == ds["n"][:]


def test_no_rows_make_one_file_of_no_rows(tmp_path):
    ds = Dataset.from_dict(ROWS, features=EVERY).select([])
    table = pq.read_table(write_parquet(ds, tmp_path, "train")[0])
    assert (len(table), Features.from_arrow_schema(table.schema)) == (0, EVERY)


def test_a_format_of_the_dataset_changes_nothing(tmp_path):
    ds = Dataset.from_dict({"n": [1, 2], "m": [3, 4]}).with_format("numpy", columns=["m"])
    assert pq.read_table(write_parquet(ds, tmp_path, "train")[0]).to_pydict() == {"n": [1, 2], "m": [3, 4]}


def test_pictures_on_this_disk_are_taken_in(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a picture")
    ds = Dataset.from_dict({"image": [str(tmp_path / "a.png"), None]}, features=Features({"image": ImageFeature()}))
    found = pq.read_table(write_parquet(ds, tmp_path, "train")[0])["image"].to_pylist()
    assert found == [{"bytes": b"a picture", "path": "a.png"}, None]


def test_the_same_rows_make_the_same_bytes(tmp_path):
    ds = Dataset.from_dict(ROWS, features=EVERY)
    one, other = (write_parquet(ds, tmp_path / name, "train")[0] for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    ds = Dataset.from_dict({"n": [str(number) * 100 for number in range(100)]})
    real = parquet._write_one
    written = []

    def fail_later(path, *arguments):
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(path, *arguments)

    monkeypatch.setattr(parquet, "_write_one", fail_later)
    with pytest.raises(OSError, match="No space left"):
        write_parquet(ds, tmp_path, "train", 1000)
    assert len(written) == 3 and not list(tmp_path.iterdir())


def test_shards_that_are_there_are_not_mixed_with_others(tmp_path):
    ds = Dataset.from_dict({"n": [1]})
    write_parquet(ds, tmp_path, "train")
    write_parquet(ds, tmp_path, "test")
    with pytest.raises(ArgumentError, match=r"train-00000-of-00001[.]parquet already"):
        write_parquet(ds, tmp_path, "train")


@pytest.mark.parametrize("stem", ["", "a/b", "..", ".x", "a*", "a\\b", "[a]"])
def test_a_stem_that_is_no_file_name_is_refused(tmp_path, stem):
    with pytest.raises(ArgumentError, match="stem="):
        write_parquet(Dataset.from_dict({"n": [1]}), tmp_path / "out", stem)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "500MB", None])
def test_a_size_that_is_none_is_refused(tmp_path, size):
    with pytest.raises(ArgumentError, match="max_shard_bytes="):
        write_parquet(Dataset.from_dict({"n": [1]}), tmp_path, "train", size)


def test_what_parquet_cannot_hold_is_refused_by_name(tmp_path):
    odd = pa.array([[{}]], pa.list_(pa.struct([])))
    ds = Dataset(pa.table({"n": [1], "odd": odd}), fingerprint="x")
    with pytest.raises(ColumnTypeError, match="'odd'"):
        write_parquet(ds, tmp_path, "train")
    with pytest.raises(ArgumentError, match="without columns"):
        write_parquet(Dataset.from_dict({}), tmp_path, "train")
    assert not list(tmp_path.iterdir())
