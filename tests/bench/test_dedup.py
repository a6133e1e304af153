"""The benchmark runs, on few rows: what is measured, what is required, and what is written."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from PIL import Image
from rich.console import Console

from tilth.bench import plot, speed
from tilth.bench.dedup import Results, Settings, run, save
from tilth.bench.growth import BYTES_PER_ROW, Grown, sizes_up_to
from tilth.bench.quality import Found
from tilth.bench.speed import BesideReading, Speed
from tilth.bench.table import checks, table
from tilth.errors import ArgumentError, BenchmarkError, MissingExtraError

MACHINE = {"cpu": "a processor", "cores": 2, "load": 0.1}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def results(scratch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilth.bench.dedup.sizes_up_to", lambda most, _: (most // 10,))
        return run(Settings().quick(), scratch=scratch)


def found(tool="tilth", **changes):
    said = {"corpus": "made", "threshold": 0.8, "pairs": 10, "recall": 1.0, "dropped": 5, "precision": 1.0}
    bands = ((0.8, 4, 1.0), (0.85, 2, 1.0), (0.9, 2, 1.0), (0.95, 2, 1.0))
    return Found(**{"tool": tool, **said, "bands": bands, "edits": {"copy": (2, 1.0)}} | changes)


def taken(tool, rows, seconds, start_up=0.0):
    return Speed(tool, "made", rows, 2_000 * rows, seconds, start_up, rows)


def grown(rows, seconds, resident_mb=900):
    return Grown(rows, "arrow", 0.1, seconds, 1.5 * seconds, resident_mb, 800, 1)


def test_it_measures_what_it_says(results):
    by_threshold = {one.threshold: one for one in results.quality}
    assert set(by_threshold) == {0.8, 0.5}
    assert all(one.recall >= 0.99 and one.precision == 1 and one.pairs > 50 for one in by_threshold.values())
    assert {"10 words before 1,000", "50 words after 1,000", "3 of 300 replaced"} <= set(by_threshold[0.8].edits)
    assert [(one.tool, one.rows) for one in results.speed] == [("tilth", 300)]
    assert results.speed[0].kept < 300
    assert [one.corpus for one in results.reading] == ["made"]
    assert [(one.rows, one.source) for one in results.growth] == [(2_000, "arrow"), (2_000, "parquet")]
    assert all(one.resident_mb > one.anonymous_mb > 20 for one in results.growth)
    assert 0.05 * 2_000 < results.growth[-1].dropped == results.growth[-2].dropped < 0.15 * 2_000
    assert any("rensa" in what for what in results.absent)
    assert any("no room" in what for what in results.absent)


def test_what_is_made_is_removed(results, scratch):
    assert results.growth
    assert list(scratch.iterdir()) == []


def test_numbers_and_a_picture_are_written(results, tmp_path):
    numbers, picture = save(results, tmp_path / "out")
    said = json.loads(numbers.read_text())
    assert [one["recall"] for one in said["quality"]] == [one.recall for one in results.quality]
    assert said["machine"]["cores"] and said["machine"]["numba"]
    assert {check["figure"] for check in said["checks"]} >= {"recall on made at 0.8", "precision on made at 0.5"}
    with Image.open(picture) as image:
        assert image.size[0] > 1_000
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_the_table_has_a_line_for_each_figure_and_says_what_is_not_met():
    results = Results(MACHINE, Settings())
    results.quality.extend(
        [found(), found("text-dedup", recall=0.5, precision=0.25), found(threshold=0.5, recall=0.98)]
    )
    results.speed.extend([taken("tilth", 50_000, 1), taken("text-dedup", 1_020, 4, 2), taken("rensa", 1_000, 1)])
    results.reading.append(BesideReading("made", 50_000, 1.0, 0.9, 1.2, 0.9, 1.2))
    results.growth.extend(grown(rows, rows / 1e6) for rows in (2_000_000, 20_000_000))
    met = {check.figure: check.met for check in checks(results)}
    assert met == {
        "recall on made at 0.8": True,
        "precision on made at 0.8": True,
        "recall on made at 0.5": False,
        "precision on made at 0.5": True,
        "times text-dedup on made": True,
        "times rensa on made": True,
        "the step / pyarrow's read, made": True,
        "from Parquet / pyarrow's read, made": False,
        "peak MB of 20,000,000 rows from arrow": True,
        "2,000,000 to 20,000,000 rows from arrow": True,
    }
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table(results))
    text = capture.get()
    assert "0.2500" in text and "0.5000" in text and "50,000" in text
    assert "datatrove" not in text


def test_the_time_to_start_is_not_counted_unless_it_is_nearly_all():
    assert taken("text-dedup", 1_020, 4, start_up=2).rows_per_second == (1_020 - 20) / (4 - 2)
    assert taken("datatrove", 100, 10, start_up=9).rows_per_second == 10
    assert taken("tilth", 100, 10).rows_per_second == taken("datatrove", 100, 10, start_up=9).whole_rate == 10


def test_what_grows_too_fast_or_takes_too_much_is_told():
    results = Results(MACHINE, Settings())
    results.growth.extend([grown(2_000_000, 1), grown(20_000_000, 12, resident_mb=2_001)])
    assert [(check.value, check.met) for check in checks(results)] == [(2_001, False), (12, False)]


def test_a_picture_can_be_drawn_of_any_part(tmp_path):
    for parts in (
        {},
        {"quality": [found(), found("rensa rho", precision=None)]},
        {"speed": [taken("tilth", 100, 1)]},
        {"growth": [grown(1_000, 0.1), grown(10_000, 1)]},
    ):
        plot.draw(Results(MACHINE, Settings(), **parts), tmp_path / "some.png")
        assert (tmp_path / "some.png").stat().st_size > 5_000


def test_matplotlib_is_asked_for_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"tilth\[benchmarks\]"):
        plot.require_matplotlib()


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"data=.*is not a folder"):
        Settings(data=tmp_path / "absent")
    with pytest.raises(ArgumentError, match=r"peers=.*make peers"):
        Settings(peers=tmp_path)


def test_growth_stops_where_the_disk_does(tmp_path, monkeypatch):
    assert sizes_up_to(2_000, tmp_path) == (20, 200, 2_000)
    assert sizes_up_to(5, tmp_path) == (5,)
    assert sizes_up_to(0, tmp_path) == ()

    class Little:
        free = 1_000 * BYTES_PER_ROW

    monkeypatch.setattr("tilth.bench.growth.shutil.disk_usage", lambda _: Little)
    assert sizes_up_to(20_000, tmp_path) == (2, 20, 200)


def test_a_tool_that_is_absent_is_told_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "peer", _fail)
    settings = replace(Settings(peers=Path(sys.executable)).quick(), parts=("speed",), speed_documents=40, runs=1)
    results = run(settings, scratch=tmp_path)
    assert [one.tool for one in results.speed] == ["tilth"]
    assert results.absent == ["text-dedup: no", "rensa: no", "datatrove: no"]


def _fail(tool, *_, **__):
    raise BenchmarkError(f"{tool}: no")


@pytest.mark.skipif(importlib.util.find_spec("text_dedup") is None, reason="text-dedup is not installed")
def test_another_tool_is_run_in_its_own_process(tmp_path):
    from tilth.bench.corpora import write_documents
    from tilth.dedup import MinHash

    write_documents(tmp_path / "rows.parquet", None, 60, words=(80, 120))
    step = MinHash("text", bands=16, rows=8)
    said = speed.theirs("text-dedup", "made", tmp_path / "rows.parquet", 50, step, Path(sys.executable), tmp_path)
    assert (said.tool, said.rows) == ("text-dedup", 50)
    assert said.seconds > 0 and said.start_up > 0
    assert 20 < said.kept < 50
    with pytest.raises(BenchmarkError, match="rensa did not run"):
        speed.peer("rensa", Path(sys.executable), tmp_path / "rows.parquet", MinHash("text"))
