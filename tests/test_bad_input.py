"""Bad input ends in one clear line or in a sound result, and never in a folder that is half written."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, config, enable_progress_bars
from typer.testing import CliRunner

from tests.steps_for_tests import AtLeast, Echo, FirstOfEach, Length, Upper
from tilth import cli
from tilth.clean import StripHtml
from tilth.dedup import Exact
from tilth.errors import ArgumentError
from tilth.pipeline import Pipeline
from tilth.report import Report
from tilth.text.strings import build

STEPS = """\
  - clean.Normalize: {columns: [text]}
  - filters.WordCount: {column: text, min: 2}
  - dedup.Exact: {columns: [text]}
"""
LINES = "".join(json.dumps({"text": f"row number {n}", "n": n}) + "\n" for n in range(500)).encode()


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / ".cache"))
    yield
    enable_progress_bars()


def parquet(values):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": values}), sink)
    return sink.getvalue().to_pybytes()


def run(folder, name, content, steps):
    (folder / name).write_bytes(content)
    (folder / "recipe.yaml").write_text(f"tilth: 1\nsource: {name}\nsteps:\n{steps}")
    words = ["run", "recipe.yaml", "--out", "out"]
    return CliRunner().invoke(cli.app, words, env={"COLUMNS": "160", "TERM": "dumb"})


def left_beside(folder, name):
    return {path.name for path in folder.iterdir()} - {name, "recipe.yaml", ".cache"}


@pytest.mark.parametrize(
    ("name", "content", "steps", "parts"),
    [
        ("a.jsonl", LINES, STEPS.replace("column: text", "column: txet"), ["'txet'", "'text', 'n'", "mean 'text'"]),
        ("a.jsonl", LINES, STEPS.replace("column: text", "column: n"), ["'n' as text", "int64"]),
        ("a.jsonl", b"", STEPS, ["a.jsonl: the file is empty"]),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-40], STEPS, ["a.jsonl.gz: the gzip file is damaged"]),
        ("a.jsonl", LINES + b'{"text": "caf\xe9"}\n', STEPS, ["a.jsonl: line 501", "0xe9 is not UTF-8"]),
        (
            "a.jsonl",
            LINES,
            STEPS.replace("2}", "2}\n    name: x") + "    name: x\n",
            ["step 3 (dedup.Exact), field 'name'", "the name of step 2"],
        ),
        (
            "a.jsonl",
            LINES,
            STEPS + "  - filters.WordCuont: {column: text}\n",
            ["line 7, step 4", "mean filters.WordCount?"],
        ),
    ],
    ids=[
        "missing column",
        "wrong type",
        "empty file",
        "cut gzip",
        "not UTF-8",
        "one name twice",
        "unknown step",
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tmp_path, name, content, steps, parts):
    result = run(tmp_path, name, content, steps)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert [part for part in parts if part not in result.stderr] == [], result.stderr
    assert left_beside(tmp_path, name) == set()


@pytest.mark.parametrize(
    ("values", "kept", "rejected"),
    [
        (pa.array(["one", "two"]), 0, ["too_few_words"] * 2),
        (pa.nulls(3), 0, ["null_text"] * 3),
        (pa.array([None] * 3, pa.string()), 0, ["null_text"] * 3),
        (pa.array(["x " * 5_000_000, "a row", "x " * 5_000_000]), 2, ["duplicate"]),
    ],
    ids=["all rows dropped", "nothing but nulls", "nothing but null text", "a row of ten megabytes"],
)
def test_what_can_be_done_is_done_soundly(tmp_path, values, kept, rejected):
    result = run(tmp_path, "a.parquet", parquet(values), STEPS)
    assert result.exit_code == 0, result.output
    assert left_beside(tmp_path, "a.parquet") == {"out"}
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"data", "rejected", "README.md", "recipe.yaml", "report.html"}
    data = pq.read_table(tmp_path / "out" / "data")
    assert data.num_rows == kept
    assert data.column_names == ["text"]
    assert pq.read_table(tmp_path / "out" / "rejected")["reason"].to_pylist() == rejected


def test_a_dataset_without_rows_is_a_sound_result(tmp_path):
    ds = Dataset(pa.table({"text": pa.array([], pa.string())}))
    curated = Pipeline(Upper("text"), AtLeast("text", 1), FirstOfEach("text"), Echo(2)).run(ds, cache_dir="cache")
    folder = curated.save("out")
    assert pq.read_table(folder / "data").num_rows == 0
    assert not (folder / "rejected").exists()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_bytes_that_are_not_utf8_pass_through_and_can_be_looked_at(kind):
    texts = [b"caf\xe9 and more", b"\xff", b"fine words", b"fine words", b"<b>\xe9</b> end"]
    offsets = np.cumsum([0, *map(len, texts)])
    column = build(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets, np.ones(5, dtype=np.bool_), kind)
    ds = Dataset(pa.table({"text": column}))
    pipeline = Pipeline(AtLeast("text", 3), StripHtml("text"), Exact("text"))
    curated = pipeline.run(ds, cache_dir="cache")
    assert curated.rows.tolist() == [0, 2, 4]
    shown = [example for step in curated.report.steps for example in step.examples]
    assert {example.before for example in shown} == {"\ufffd", "<b>\ufffd</b> end", "fine words"}
    saved = pq.read_table(curated.save("out") / "data")["text"].cast(pa.binary()).to_pylist()
    assert saved[0] == texts[0]
    assert len(pipeline.trial(ds).sample) == 3
    assert pipeline.plan(ds).rows == 5


def test_a_folder_that_holds_something_is_never_written_to(tmp_path):
    curated = Pipeline(AtLeast("text", 1)).run(Dataset.from_dict({"text": ["a"]}), cache_dir="cache")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="not empty"):
        curated.save("out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_result_that_cannot_be_written_leaves_no_folder(tmp_path):
    texts = [f"row {n} " + "".join(chr(97 + (n * at) % 26) for at in range(n % 200)) for n in range(3_000)]
    curated = Pipeline(AtLeast("text", 100)).run(Dataset.from_dict({"text": texts}), cache_dir="cache")
    before = {path.name for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 2**12, 2**14, 2**15):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                curated.save("out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path.name for path in tmp_path.iterdir()} == before
    assert pq.read_table(curated.save("out") / "data").num_rows == len(curated.dataset)


def test_a_result_appears_at_once_and_can_be_read_by_others(tmp_path, monkeypatch):
    curated = Pipeline(AtLeast("text", 1)).run(Dataset.from_dict({"text": ["a"]}), cache_dir="cache")
    last = Report.save

    def watched(*arguments):
        assert not (tmp_path / "out").exists()
        return last(*arguments)

    monkeypatch.setattr(Report, "save", watched)
    folder = curated.save("out")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_disk_that_fills_up_anywhere_is_reported_and_the_work_goes_on(tmp_path, monkeypatch):
    """Every write of more than so many bytes fails, with ever more bytes, until the run and its result fit."""
    monkeypatch.setattr("tilth.frame.BATCH_ROWS", 100)
    ds = Dataset.from_dict({"text": [f"row {n} " + "x" * (n % 300) for n in range(2_000)] * 2})
    pipeline = Pipeline(Upper("text"), AtLeast("text", 8), Echo(3), FirstOfEach("text"), Length("text"))
    whole = pipeline.run(ds, cache_dir="whole").save("clean")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    faults = set()
    for limit in (2**10, 2**13, 2**14, 2**15, 2**16, 2**17, 2**18, 2**19, 2**20, 2**22, 2**24):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            pipeline.run(ds, cache_dir="cache").save("out")
        except OSError as error:
            faults.add(str(error).partition("'")[0])
        else:
            break
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not [path for path in tmp_path.iterdir() if "out" in path.name]
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]
    assert faults
    assert limit > 2**15
    for path in whole.rglob("*.parquet"):
        assert (tmp_path / "out" / path.relative_to(whole)).read_bytes() == path.read_bytes()
    shutil.rmtree("cache")
