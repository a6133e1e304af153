"""Whatever a user names is read, or refused in one line that says which file is at fault and what to do."""

from __future__ import annotations

import gzip
import json
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, config

from tilth import sources
from tilth.errors import SourceError
from tilth.sources import Source

ROWS = [{"instruction": f"do {i}", "output": "é" * 30} for i in range(100)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Each test in a folder of its own, with no network to fall back on."""

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr(socket.socket, "connect", refuse)


def fault(source, **arguments) -> str:
    with pytest.raises(SourceError) as caught:
        sources.load(source, **arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def write(path, content) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


def arrow() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def packed_bz2() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "bz2") as file:
        file.write(LINES.encode())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.JSONL", LINES),
        ("a.ndjson", LINES),
        ("bom.jsonl", "\ufeff" + LINES),
        ("a.json", json.dumps(ROWS)),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.jsonl.bz2", packed_bz2()),
        ("a.csv", "instruction,output\n" + "".join(f"{row['instruction']},{row['output']}\n" for row in ROWS)),
        ("a.tsv", "instruction\toutput\n" + "".join(f"{row['instruction']}\t{row['output']}\n" for row in ROWS)),
        ("a.parquet", parquet()),
        ("a.arrow", arrow()),
        ("strange [1] näme.jsonl", LINES),
        ("deep/er/a.jsonl", LINES),
    ],
)
def test_a_file_is_read_by_its_ending(tmp_path, name, content):
    path = tmp_path / name
    write(path, content)
    for source in (str(path), name, path, f"file://{path}"):
        assert sources.load(source).to_list() == ROWS


def test_text_is_a_row_a_line(tmp_path):
    assert sources.load(write(tmp_path / "a.txt", "one\ntwo\n"))["text"][:] == ["one", "two"]


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    write(path, gzip.compress(b'{"a": 1}\n', mtime=0))
    assert len(sources.load(path)) == 1
    write(path, gzip.compress(b'{"a": 1}\n{"a": 2}\n', mtime=0))
    assert len(sources.load(path)) == 2


def test_a_glob_reads_all_its_files_in_order(tmp_path):
    for number in (2, 1, 3):
        write(tmp_path / "d" / f"part{number}.jsonl", f'{{"a": {number}}}\n')
    write(tmp_path / "d" / "empty.jsonl", "")
    assert sources.load("d/part*.jsonl")["a"][:] == [1, 2, 3]
    assert sources.load(str(tmp_path / "**" / "*.jsonl"))["a"][:] == [1, 2, 3]
    assert sources.load("d")["a"][:] == [1, 2, 3]


def test_a_folder_of_splits_needs_one_of_them(tmp_path):
    write(tmp_path / "d" / "train.jsonl", LINES)
    write(tmp_path / "d" / "test-1.jsonl", '{"instruction": "t", "output": "t"}\n')
    write(tmp_path / "d" / "README.md", "# About")
    assert "'test', 'train'" in fault("d")
    assert "no split 'dev'; it has 'test', 'train'" in fault("d", split="dev")
    assert len(sources.load("d", split="train")) == 100
    assert len(sources.load("d", split="train[:7]")) == 7
    assert len(sources.load("d", split="train[:7]+test")) == 8
    assert Source("d", "test").load()["output"][:] == ["t"]


def test_shards_are_named_by_their_split(tmp_path):
    for number in (0, 1):
        write(tmp_path / "d" / "data" / f"gold-0000{number}-of-00002.jsonl", f'{{"a": {number}}}\n')
    assert sources.load("d")["a"][:] == [0, 1]
    assert sources.load("d", split="gold")["a"][:] == [0, 1]


def card(tmp_path, configs: str) -> None:
    write(tmp_path / "d" / "README.md", f"---\nlicense: mit\nconfigs:\n{configs}\n---\n# About\n")


def test_a_folder_whose_card_names_its_files_is_read_as_the_card_says(tmp_path):
    write(tmp_path / "d" / "data" / "rows.jsonl", '{"a": 1}\n')
    write(tmp_path / "d" / "rejected" / "rows.jsonl", '{"b": 2}\n')
    card(tmp_path, "- config_name: default\n  data_files: data/*\n- config_name: rejected\n  data_files: rejected/*")
    assert sources.load("d").to_list() == [{"a": 1}]
    assert sources.load("d", name="rejected").to_list() == [{"b": 2}]
    assert "no configuration 'x'; it has 'default', 'rejected'" in fault("d", name="x")
    card(tmp_path, "- config_name: p\n  data_files: data/*\n- config_name: q\n  data_files: rejected/*")
    assert "it has the configurations 'p', 'q'" in fault("d")
    card(
        tmp_path, "- config_name: q\n  data_files:\n  - {split: one, path: data/*}\n  - {split: two, path: rejected/*}"
    )
    assert sources.load("d", split="two").to_list() == [{"b": 2}]
    assert "'one', 'two'" in fault("d")
    card(tmp_path, "- config_name: q\n  data_files: gone/*")
    assert "README.md names files for the split 'train' that are not there" in fault("d")
    card(tmp_path, "- [")
    assert "its header is not YAML" in fault("d")


def test_a_folder_whose_files_change_is_read_anew(tmp_path):
    card(tmp_path, "- config_name: default\n  data_files: data/*")
    for number in (1, 2):
        write(tmp_path / "d" / "data" / "rows.jsonl", f'{{"a": {number}}}\n')
        assert sources.load("d").to_list() == [{"a": number}]


def test_a_saved_dataset_is_read(tmp_path):
    Dataset.from_list(ROWS).save_to_disk("one")
    DatasetDict(a=Dataset.from_list(ROWS), b=Dataset.from_list(ROWS[:3])).save_to_disk("two")
    assert sources.load("one").to_list() == ROWS
    assert len(sources.load("two", split="b")) == 3
    assert "'a', 'b'" in fault("two")
    assert "no split 'c'" in fault("two", split="c")


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", "", ["a.jsonl: the file is empty"]),
        ("a.csv", "", ["a.csv: the file is empty"]),
        ("a.parquet", b"", ["a.parquet: the file is empty"]),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), ["a.jsonl.gz: the file is empty"]),
        ("a.jsonl", "\n\n", ["a.jsonl: there is no row"]),
        ("a.json", "[]", ["a.json: there is no row"]),
        ("a.csv", "a,b\n", ["a.csv: there is no row"]),
        (
            "a.jsonl.gz",
            gzip.compress(LINES.encode(), mtime=0)[:-30],
            ["a.jsonl.gz: the gzip file is damaged or cut off"],
        ),
        ("a.jsonl.gz", LINES, ["a.jsonl.gz: the gzip file is damaged", "Not a gzipped file"]),
        ("a.parquet", parquet()[:-100], ["a.parquet: the Parquet file is damaged or cut off"]),
        ("a.parquet", b"PAR1" + parquet()[100:], ["a.parquet: the Parquet file is damaged"]),
        ("a.arrow", arrow()[:-3000], ["a.arrow: it cannot be read"]),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', ["a.jsonl: line 2, byte 19: 0xe9 is not UTF-8", "iconv"]),
        ("a.csv", b"a\ncaf\xe9\n", ["a.csv: line 2, byte 5: 0xe9 is not UTF-8"]),
        ("a.txt", b"\n\n\xff\xfe", ["a.txt: line 3, byte 2: 0xff is not UTF-8"]),
        ("a.jsonl", LINES.encode("utf-16"), ["a.jsonl: the text is UTF-16; save it as UTF-8"]),
        ("a.jsonl", LINES + '{"instruction": \n', ["a.jsonl: line 101: not JSON at column"]),
        ("a.json", '[{"a": 1},\n{"a" 2}]', ["a.json: not JSON at line 2, column 6"]),
        ("a.jsonl", "3\n4\n", ["a.jsonl: line 1: each row must be a JSON object"]),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ["a.csv", "Expected 2 fields in line 3, saw 3"]),
        ("a.docx", "x", ["a.docx: the ending '.docx' is unknown", "json, jsonl, csv"]),
        ("README", "x", ["README: the file has no ending"]),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, name, content, parts):
    found = fault(write(tmp_path / name, content))
    for part in parts:
        assert part in found


def test_the_one_bad_file_of_many_is_named(tmp_path):
    write(tmp_path / "d" / "a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0))
    write(tmp_path / "d" / "b.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-30])
    assert fault("d/*.gz").startswith("d/b.jsonl.gz: the gzip file")
    assert fault("d").startswith("d/b.jsonl.gz: the gzip file")
    write(tmp_path / "d" / "b.jsonl.gz", gzip.compress(b'{"other": 1}\n', mtime=0))
    assert "the 2 files do not hold the same columns" in fault("d")


def test_a_zst_file_without_its_package_says_which_one(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ZSTANDARD_AVAILABLE", False)
    assert "zstandard" in fault(write(tmp_path / "a.jsonl.zst", b"x"))


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("", ["the source is empty"]),
        ("instructions.json", ["no such file or folder", "Did you mean instructions.jsonl?"]),
        ("here/zzz.csv", ["no such file or folder", "here holds 'a.jsonl'"]),
        ("nowhere/at/all.jsonl", ["The folder nowhere does not exist"]),
        ("here/nothing", ["no such file", "hf://datasets/owner/name"]),
        ("instructions.jsonl/x", ["instructions.jsonl is a file, not a folder"]),
        ("nowhere/data.jsonl.gz", ["no such file or folder"]),
        ("./owner/name", ["no such file or folder"]),
        ("squad", ["no such file or folder"]),
        ("*.nope", ["no file matches this pattern"]),
        ("hollow", ["hollow: no data in this folder"]),
        ("mixed", ["files of 2 kinds", "a.csv and b.jsonl", "mixed/*.csv"]),
        ("half", ["names a split but", "half/*.jsonl"]),
        ("tables", ["both .csv and .tsv files"]),
        ("hf://datasets/nope", ["neither a dataset (hf://datasets/owner/name) nor a file"]),
    ],
)
def test_what_is_not_there_is_refused_without_a_connection(tmp_path, source, parts):
    write(tmp_path / "instructions.jsonl", LINES)
    write(tmp_path / "here" / "a.jsonl", LINES)
    write(tmp_path / "mixed" / "a.csv", "a\n1\n")
    write(tmp_path / "mixed" / "b.jsonl", LINES)
    write(tmp_path / "half" / "train.jsonl", LINES)
    write(tmp_path / "half" / "more.jsonl", LINES)
    write(tmp_path / "tables" / "a.csv", "a\n1\n")
    write(tmp_path / "tables" / "b.tsv", "a\n1\n")
    (tmp_path / "hollow").mkdir()
    found = fault(source)
    for part in parts:
        assert part in found


@pytest.mark.parametrize("source", ["owner/name", "hf://datasets/owner/name", "hf://datasets/owner/name@main"])
def test_owner_and_name_are_looked_up_on_the_hub(monkeypatch, source):
    asked = []

    def splits(repository, name, revision=None):
        asked.append((repository, name, revision))
        return ["train"]

    def read(repository, **arguments):
        asked.append((repository, arguments["split"], arguments["revision"]))
        return Dataset.from_list(ROWS)

    monkeypatch.setattr(sources, "get_dataset_split_names", splits)
    monkeypatch.setattr(sources, "load_dataset", read)
    revision = "main" if "@" in source else None
    assert len(sources.load(source)) == 100
    assert asked == [("owner/name", None, revision), ("owner/name", "train", revision)]


def test_a_fault_of_the_hub_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("cannot\nreach it")

    monkeypatch.setattr(sources, "get_dataset_split_names", fail)
    assert fault("owner/name") == "owner/name: it cannot be read (ConnectionError: cannot reach it)"


def test_a_row_of_ten_megabytes_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"a": "x" * 10_000_000}) + '\n{"a": "y"}\n')
    assert [len(text) for text in sources.load(path)["a"][:]] == [10_000_000, 1]
