"""The benchmark of near-duplicate removal: quality, speed and growth, beside text-dedup, Rensa and datatrove.

Everything runs in one call, on one machine. The results are a table, a JSON file and a picture; each figure that is
required stands beside what is required.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tilth.bench import THRESHOLD
from tilth.bench import speed as speeds
from tilth.bench.corpora import write_documents
from tilth.bench.growth import Grown, grow, sizes_up_to
from tilth.bench.quality import Found, Gold, judge, listed, made
from tilth.bench.speed import BesideReading, Speed
from tilth.dedup import MinHash
from tilth.dedup.units import Unit
from tilth.errors import ArgumentError, BenchmarkError

PARTS = ("quality", "speed", "growth")
LISTED: dict[str, tuple[int, Unit]] = {
    "nd_docs_A": (5, "word"),
    "nd_de_laws": (5, "word"),
    "nd_tweets": (3, "word"),
    "nd_zh_poems": (4, "char"),
}
"""The corpora with lists of pairs that `data` may hold, and how many units of which kind make a shingle."""
SPEED_CORPUS = Path("corpus") / "docs.parquet"
SHAPE = (16, 8)
"""Bands, and rows in each, that all tools have when their speed is compared: 128 permutations."""


@dataclass(frozen=True)
class Settings:
    """How large the benchmark is.

    Attributes:
        parts: which of `PARTS` to run.
        data: a folder with the corpora of `LISTED` and `SPEED_CORPUS`; what it lacks is left out.
        peers: an interpreter that has the other tools (`make peers`); None leaves them out.
        documents: rows of the corpus with known similarities, on which quality is measured.
        speed_documents: rows of the corpus of the same kind, on which speed is.
        most_rows: short rows of the largest run of `growth`.
        peer_rows: rows that each other tool takes of a corpus for speed.
        runs: how often each speed of ours is measured; the median counts.
    """

    parts: tuple[str, ...] = PARTS
    data: Path | None = None
    peers: Path | None = None
    documents: int = 6_000
    speed_documents: int = 40_000
    most_rows: int = 2_000_000
    peer_rows: Mapping[str, int] = field(
        default_factory=lambda: {"text-dedup": 8_000, "rensa": 8_000, "datatrove": 1_000}
    )
    runs: int = 7

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.is_dir():
            raise ArgumentError(f"data={str(self.data)!r} is not a folder.")
        if self.peers is not None and not self.peers.is_file():
            raise ArgumentError(f"peers={str(self.peers)!r} is not an interpreter; make one with: make peers")

    def quick(self) -> Settings:
        """The same on so few rows, all made, that it takes seconds. Speeds on so few mean little."""
        few = dict.fromkeys(self.peer_rows, 100)
        return replace(self, data=None, documents=300, speed_documents=300, most_rows=20_000, peer_rows=few, runs=3)


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        machine: where.
        settings: how much.
        quality: what each tool found on each corpus.
        speed: what each took on each corpus.
        reading: `MinHash` beside pyarrow's reading.
        growth: runs of growing size.
        absent: what did not run, and why.
    """

    machine: Mapping[str, Any]
    settings: Settings
    quality: list[Found] = field(default_factory=list)
    speed: list[Speed] = field(default_factory=list)
    reading: list[BesideReading] = field(default_factory=list)
    growth: list[Grown] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        from tilth.bench.table import checks

        return {
            "machine": dict(self.machine),
            "settings": json.loads(json.dumps(asdict(self.settings), default=str)),
            "quality": [found.as_json() for found in self.quality],
            "speed": [one.as_json() for one in self.speed],
            "reading": [asdict(one) for one in self.reading],
            "growth": [asdict(one) for one in self.growth],
            "absent": self.absent,
            "checks": [asdict(check) for check in checks(self)],
        }


def run(settings: Settings, say: Callable[[str], None] = lambda _: None, scratch: Path | None = None) -> Results:
    """Measure.

    Args:
        settings: how much.
        say: told what is being done.
        scratch: where corpora are made, by default a temporary folder; it is left empty.

    Raises:
        ArgumentError: a setting is not allowed.
    """
    results = Results(machine(), settings)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        if "quality" in settings.parts:
            _measure_quality(results, folder, say)
        if "speed" in settings.parts:
            _measure_speed(results, folder, say)
        if "growth" in settings.parts:
            sizes = sizes_up_to(settings.most_rows, folder)
            if max(sizes, default=0) < settings.most_rows:
                results.absent.append(f"growth to {settings.most_rows:,} rows: the disk at {folder} has no room")
            say(f"growth: {', '.join(f'{rows:,}' for rows in sizes)} short rows")
            for grown in grow(sizes, folder):
                results.growth.append(grown)
                say(f"  {grown.rows:,} rows from {grown.source}: {grown.seconds:.1f} s, {grown.resident_mb:,.0f} MB")
    return results


def save(results: Results, folder: Path) -> tuple[Path, Path]:
    """Write `dedup.json` and `dedup.png`.

    Raises:
        MissingExtraError: there is no matplotlib.
    """
    from tilth.bench.plot import draw

    folder.mkdir(parents=True, exist_ok=True)
    numbers, picture = folder / "dedup.json", folder / "dedup.png"
    numbers.write_text(json.dumps(results.as_json(), indent=1), encoding="utf-8")
    draw(results, picture)
    return numbers, picture


def machine() -> dict[str, Any]:
    """What a reader needs to judge figures by. A load near or above the number of cores spoils them."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        if (cpu.exists())
        else []
    )
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("tilth", "datasets", "pyarrow", "numpy", "numba")},
    }


def _measure_quality(results: Results, folder: Path, say: Callable[[str], None]) -> None:
    say("quality: a corpus with known similarities is made, lists of pairs are read")
    for gold in _gold(results.settings, folder):
        step = MinHash("text", threshold=THRESHOLD, ngram=gold.texts.ngram, unit=gold.texts.unit)
        for threshold in (THRESHOLD, 0.5):
            found = judge("tilth", gold, threshold, _dropped(replace(step, threshold=threshold), gold))
            results.quality.append(found)
            say(f"  {gold.name}: recall {found.recall:.4f} of {found.pairs:,} pairs at {threshold}")
        for tool in ("text-dedup", "rensa", "rensa rho"):
            said = _peer(results, tool, gold.texts.path, step, say)
            if said is not None:
                dropped = {int(row): int(kept) for row, kept in said["dropped"]}
                results.quality.append(judge(tool, gold, THRESHOLD, dropped))


def _gold(settings: Settings, folder: Path) -> Iterator[Gold]:
    path, pairs = folder / "made.parquet", folder / "made-pairs.parquet"
    write_documents(path, pairs, settings.documents)
    yield made("made", path, pairs)
    for name, (ngram, unit) in LISTED.items():
        if settings.data is not None and (settings.data / name).is_dir():
            yield listed(name, settings.data / name, ngram, unit)


def _dropped(step: MinHash, gold: Gold) -> dict[int, int]:
    dropped = step.run(speeds.dataset(gold.texts.path)).dropped
    if dropped.evidence is None:
        return {}
    kept = dropped.evidence.field("kept_row").to_pylist()
    # Nulls stand for no one and have no one who stands for them.
    return {row: other for row, other in zip(dropped.rows.tolist(), kept, strict=True) if other is not None}


def _measure_speed(results: Results, folder: Path, say: Callable[[str], None]) -> None:
    settings = results.settings
    path = folder / "made-for-speed.parquet"
    say(f"speed: {settings.speed_documents:,} documents are made")
    write_documents(path, None, settings.speed_documents, seed=2, alone=0.8)
    paths = {"made": path}
    if settings.data is not None and (settings.data / SPEED_CORPUS).is_file():
        paths = {SPEED_CORPUS.stem: settings.data / SPEED_CORPUS} | paths
    default = MinHash("text", threshold=THRESHOLD)
    same = replace(default, bands=SHAPE[0], rows=SHAPE[1])
    for corpus, path in paths.items():
        results.reading.append(speeds.beside_reading(default, corpus, path, settings.runs))
        beside = results.reading[-1]
        say(f"  {corpus}: {beside.step_ratio:.2f} x pyarrow's time to read it, {beside.whole_ratio:.2f} with reading")
        results.speed.append(speeds.ours(same, corpus, path, settings.runs))
        say(f"  {corpus}: tilth, {results.speed[-1].rows_per_second:,.0f} documents/s")
        for tool, rows in settings.peer_rows.items():
            if settings.peers is None:
                _note(results, f"{tool}: no interpreter that has it was named (--peers)", say)
                continue
            try:
                results.speed.append(speeds.theirs(tool, corpus, path, rows, same, settings.peers, folder))
                say(f"  {corpus}: {tool}, {results.speed[-1].rows_per_second:,.0f} documents/s")
            except BenchmarkError as error:
                _note(results, str(error), say)


def _peer(results: Results, tool: str, path: Path, step: MinHash, say: Callable[[str], None]) -> dict[str, Any] | None:
    if results.settings.peers is None:
        _note(results, f"{tool}: no interpreter that has it was named (--peers)", say)
        return None
    try:
        return speeds.peer(tool, results.settings.peers, path, step)
    except BenchmarkError as error:
        _note(results, str(error), say)
        return None


def _note(results: Results, what: str, say: Callable[[str], None]) -> None:
    if what not in results.absent:
        results.absent.append(what)
        say(f"  {what}")
