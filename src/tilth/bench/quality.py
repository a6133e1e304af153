"""How many near-duplicates are found, and how many of the dropped rows are ones: against exact similarities.

The reference is slow and plain: Python sets of tuples of words. What counts as a word is what `tilth.text.words` says.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tilth.dedup.units import Unit
from tilth.text.words import words

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_BAND = 0.05
_EQUAL = 1e-9
"""How far apart two ways to compute the same fraction may come out."""


@dataclass(frozen=True, eq=False)
class Gold:
    """A corpus of which all similar pairs are known.

    Attributes:
        name: of the corpus.
        texts: its rows, and how similar any two are.
        i: one row of each pair, shape `(pairs,)`.
        j: the other, shape `(pairs,)`.
        jaccard: the exact similarity of their sets of shingles, shape `(pairs,)`.
        edit: what was done to make one of the other, where that is known.
    """

    name: str
    texts: Reference
    i: Rows
    j: Rows
    jaccard: Floats
    edit: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """How good a tool is on a corpus at a threshold.

    Attributes:
        pairs: known pairs at or above the threshold.
        recall: the share of them that lost a member.
        dropped: rows that the tool dropped.
        precision: the share of them that are as similar as asked to the row that the tool names for them; None where it
            names none.
        bands: for each band of similarity its lower end, its pairs and their recall.
        edits: for each kind of edit its pairs at or above the threshold and their recall.
    """

    tool: str
    corpus: str
    threshold: float
    pairs: int
    recall: float
    dropped: int
    precision: float | None
    bands: tuple[tuple[float, int, float], ...]
    edits: Mapping[str, tuple[int, float]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**vars(self), "bands": [list(band) for band in self.bands], "edits": dict(self.edits)}


class Reference:
    """The rows of a corpus and their exact similarities, computed one by one.

    Args:
        path: a Parquet file with a column `text`.
        ngram: units in a shingle.
        unit: `word`, or `char` for characters other than white space.
    """

    def __init__(self, path: Path, ngram: int, unit: Unit = "word") -> None:
        self.path, self.ngram, self.unit = path, ngram, unit
        self.texts: pa.ChunkedArray = pq.read_table(path, columns=["text"])["text"]
        # As Python's 64-bit hashes of the shingles, so that all rows fit in memory.
        self._hashes: dict[int, Rows] = {}

    def jaccard(self, one: int, other: int) -> float:
        """The similarity of two rows."""
        first, second = self._of(one), self._of(other)
        shared = len(np.intersect1d(first, second, assume_unique=True))
        return shared / (len(first) + len(second) - shared)

    def _of(self, row: int) -> Rows:
        if row not in self._hashes:
            found = shingles(self.texts[row].as_py(), self.ngram, self.unit)
            self._hashes[row] = np.fromiter(map(hash, found), dtype=np.int64, count=len(found))
        return self._hashes[row]


def shingles(text: str, ngram: int, unit: Unit = "word") -> frozenset[tuple[str, ...]]:
    """The set of runs of `ngram` units of a text; a text of fewer units is one shingle."""
    found: list[str] = []
    if unit == "char":
        found += [letter.lower() for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cc"]
    else:
        # No word goes over the end of a line, and most lines are ASCII, where a word is what Python says.
        for line in text.split("\n"):
            found += _ASCII_WORD.findall(line.lower()) if line.isascii() else words(line)
    return frozenset(tuple(found[at : at + ngram]) for at in range(max(1, len(found) - ngram + 1)))


def made(name: str, path: Path, pairs: Path) -> Gold:
    """The corpus of `corpora.write_documents`, whose similarities are known from how it was made."""
    table = pq.read_table(pairs)
    i, j, jaccard = (table[column].to_numpy() for column in ("i", "j", "jaccard"))
    return Gold(name, Reference(path, 5), i, j, jaccard, tuple(table["edit"].to_pylist()))


def listed(name: str, folder: Path, ngram: int, unit: Unit = "word") -> Gold:
    """A corpus with a list of pairs, `docs.parquet` and `pairs.parquet`, whose similarities are computed anew.

    The list may come from another definition of a word, under which similarities are somewhat different.
    """
    texts, pairs = Reference(folder / "docs.parquet", ngram, unit), pq.read_table(folder / "pairs.parquet")
    i, j = pairs["i"].to_numpy(), pairs["j"].to_numpy()
    exact = [texts.jaccard(one, other) for one, other in zip(i.tolist(), j.tolist(), strict=True)]
    return Gold(name, texts, i, j, np.array(exact, dtype=np.float64))


def judge(tool: str, gold: Gold, threshold: float, dropped: Mapping[int, int]) -> Found:
    """Compare what a tool dropped with what is known.

    Args:
        tool: its name.
        gold: the corpus.
        threshold: the similarity that was asked for.
        dropped: for each dropped row the row that the tool says it is similar to, or -1.
    """
    gone = np.zeros(len(gold.texts.texts), dtype=np.bool_)
    gone[np.fromiter(dropped, dtype=np.int64, count=len(dropped))] = True
    hit = gone[gold.i] | gone[gold.j]
    wanted = gold.jaccard >= threshold - _EQUAL
    precision = None
    if dropped and min(dropped.values()) >= 0:
        right = [gold.texts.jaccard(row, kept) >= threshold - _EQUAL for row, kept in dropped.items()]
        precision = float(np.mean(right))
    return Found(
        tool=tool,
        corpus=gold.name,
        threshold=threshold,
        pairs=int(wanted.sum()),
        recall=_share(hit[wanted]),
        dropped=len(dropped),
        precision=precision,
        bands=_bands(gold.jaccard, hit, threshold),
        edits=_edits(gold.edit, wanted, hit) if gold.edit is not None else {},
    )


def _bands(jaccard: Floats, hit: npt.NDArray[np.bool_], threshold: float) -> tuple[tuple[float, int, float], ...]:
    ends = np.arange(threshold, 1 - _EQUAL, _BAND)
    band = np.minimum(np.floor((jaccard - threshold + _EQUAL) / _BAND), len(ends) - 1)
    return tuple(
        (round(float(low), 2), int((band == place).sum()), _share(hit[band == place])) for place, low in enumerate(ends)
    )


def _edits(
    edit: Sequence[str], wanted: npt.NDArray[np.bool_], hit: npt.NDArray[np.bool_]
) -> dict[str, tuple[int, float]]:
    names = np.array(["two edits" if " / " in name else name for name in edit])
    return {
        str(name): (int(here.sum()), _share(hit[here]))
        for name in np.unique(names[wanted])
        if len(here := wanted & (names == name))
    }


def _share(hit: npt.NDArray[np.bool_]) -> float:
    """NaN where there is nothing to find."""
    return float(hit.mean()) if len(hit) else float("nan")
