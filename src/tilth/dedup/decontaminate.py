"""Benchmark decontamination: rows that hold a benchmark question, found by the word n-grams that they share with it.

The measure is that of GPT-3 (Brown et al., 2020, arXiv:2005.14165, appendix C): n-grams of 13 words without case and
punctuation. Instead of any one shared n-gram, a row must hold a good part of one benchmark row. A question in other
words shares no n-grams (Yang et al., 2023, arXiv:2311.04850); a second stage looks for those by vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tilth.dedup.hash_pack import HashPack, Opened, is_pack, is_source, opened, packed, texts_of
from tilth.embed.embedder import Embedder, Vectors
from tilth.errors import ArgumentError
from tilth.step import Columns, FilterStep, Verdict, identity, require
from tilth.text.strings import Strings, strings

if TYPE_CHECKING:
    from tilth.dedup._ngrams import Index

Against: TypeAlias = "HashPack | Dataset | str | Mapping[str, Any]"

_SHOWN = 200
_PREPARING = Lock()
_MANY = 0.1
_FEW = 4
"""A benchmark of fewer rows shows no boilerplate."""


@dataclass(frozen=True)
class Decontaminate(FilterStep):
    """Drop rows that hold a benchmark row, whole or in good part.

    A row is contaminated when it has at least `min_overlap` of the distinct word n-grams of one benchmark row. Words
    are those of `tilth.text.words`, so case, punctuation and white space make no difference. A benchmark row of fewer
    than `ngram` words, or one whose n-grams are all boilerplate, is looked for as a whole; one of fewer than
    `min_words` only as the whole of a text. A null is dropped by a reason of its own, `null_text`.

    Paraphrases and translations share no n-grams. With an `embedder` a row that is not contaminated is dropped for the
    reason `rephrased` when the cosine of its vector and that of a benchmark row is `min_similarity` or more. All pairs
    are compared. What counts is the text as a whole: a question among other texts is not found that way.

    The evidence names the benchmark, its row (the first, where rows of it are equal), the share of it that was found,
    and where in the text: bytes of UTF-8 from `start` to `end`, and the text there, up to 200 characters. For a
    rephrased row it names the benchmark and its row, and `similarity`.

    Args:
        column: the text to judge.
        against: the benchmark: a `Dataset`, a `HashPack`, a source (the path of a saved pack, or whatever
            `tilth.sources.load` reads), or a mapping of names to datasets or sources. A source may be given with its
            split and configuration: `{"path": "owner/name", "split": "test", "name": "main"}`. Sources are read on
            first use.
        against_column: the benchmark's text, or a mapping of benchmarks to theirs; where it is not named, the column
            called as `column` is, else the only one that holds text.
        ngram: words in an n-gram; that of the pack where a pack is given.
        min_overlap: share of a benchmark row's n-grams, above 0 and at most 1.
        min_words: shorter benchmark rows, which occur in texts of all kinds, count only as the whole of a text; 4 or
            more.
        max_rows: an n-gram in more different rows of a benchmark than this is boilerplate of its format and does not
            count.
        max_share: nor does one in more than this share of the rows of a benchmark of four rows or more, above 0 and at
            most 1.
        embedder: adds the second stage. One that must be fitted and is not is fitted to the benchmarks. It needs their
            texts, or a pack that was built with it.
        min_similarity: cosine from which a row is rephrased, above 0 and at most 1. It means something else for each
            embedder: look at `step.scores()` first.

    Raises:
        ArgumentError: the benchmark gives nothing to look for, or it is not clear which of its columns to read.

    Examples:
        >>> from datasets import Dataset
        >>> question = "A train leaves at noon and drives 60 miles an hour, how far is it at three in the afternoon?"
        >>> ds = Dataset.from_dict({"text": ["Solve: " + question.upper(), "A train of thought."]})
        >>> Decontaminate("text", against=Dataset.from_dict({"question": [question]})).apply(ds)["text"][:]
        ['A train of thought.']
    """

    column: str
    against: Against
    against_column: str | Mapping[str, str] | None = None
    ngram: int = 13
    min_overlap: float = 0.6
    min_words: int = 6
    max_rows: int = 10
    max_share: float = 0.5
    embedder: Embedder | None = None
    min_similarity: float = 0.7

    version: ClassVar[int] = 2
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "contaminated", "rephrased")

    def __post_init__(self) -> None:
        require(1 <= self.ngram <= 1000, self, "ngram", "from 1 to 1000")
        require(0 < self.min_overlap <= 1, self, "min_overlap", "above 0 and at most 1")
        require(self.min_words >= 4, self, "min_words", "4 or more")
        require(self.max_rows >= 1, self, "max_rows", "one or more")
        require(0 < self.max_share <= 1, self, "max_share", "above 0 and at most 1")
        is_embedder = self.embedder is None or isinstance(self.embedder, Embedder)
        require(is_embedder, self, "embedder", "an embedder, such as TfidfSvd(), or None")
        require(0 < self.min_similarity <= 1, self, "min_similarity", "above 0 and at most 1")
        against = self.against
        if isinstance(against, Dataset) or (isinstance(against, Mapping) and any(map(_is_data, against.values()))):
            pack, embedder = self._hashed()
            self._set(against=pack, embedder=embedder)
        elif isinstance(against, Mapping):
            require(bool(against), self, "against", "a mapping with one benchmark or more")
            self._set(against=dict(against))
        elif isinstance(against, Path):
            self._set(against=str(against))
        else:
            allowed = "a Dataset, a HashPack, a path or owner/name on the Hub, or a mapping of names to those"
            require(isinstance(against, HashPack | str) and against != "", self, "against", allowed)
        if isinstance(self.against, HashPack):
            # A pack has no columns left to choose from.
            self._set(against_column=None)
            _ = self._prepared

    @property
    def reads_text(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    @property
    def pack(self) -> HashPack:
        """The benchmarks as hashes; read when they are asked for first."""
        return self.against if isinstance(self.against, HashPack) else self._read[0]

    def check(self, schema: pa.Schema) -> None:
        """Refuse data or benchmarks that this step cannot work on, before any work."""
        super().check(schema)
        _ = self._ready

    def metrics(self, table: pa.Table) -> Columns:
        """What a verdict is made of.

        `overlap`: the largest share of a benchmark row that each text holds, from 0 to 1. With an embedder also
        `similarity`: the largest cosine with a benchmark row.
        """
        text = strings(table, self.column, str(self))
        overlap, _, _ = self._searched(text)
        found: Columns = {"overlap": pa.array(overlap, mask=~text.valid)}
        if self.embedder is not None:
            similarity, _ = self._compared(table, text.valid)
            found["similarity"] = pa.array(similarity, mask=~text.valid)
        return found

    def verdict(self, table: pa.Table) -> Verdict:
        """Judge each text by the benchmark row of which it holds the largest share, then by the most similar one."""
        text = strings(table, self.column, str(self))
        overlap, best, spans = self._searched(text)
        # The share is kept in 32 bits, so a threshold such as 0.6 is met by three n-grams in five.
        contaminated = text.valid & (best >= 0) & (overlap >= np.float32(self.min_overlap))
        evidence = self._evidence(text, contaminated, overlap, best, spans)
        rephrased = np.zeros(len(text), dtype=np.bool_)
        if self.embedder is not None:
            similarity, nearest = self._compared(table, text.valid & ~contaminated)
            rephrased = (nearest >= 0) & (similarity >= np.float32(self.min_similarity))
            evidence = self._with_similarity(evidence, contaminated, rephrased, similarity, nearest)
        return Verdict.first_of(
            null_text=~text.valid, contaminated=contaminated, rephrased=rephrased, evidence=evidence
        )

    def _searched(self, text: Strings) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        from tilth.dedup._ngrams import search

        return search(text, self._ready.index)

    def _compared(
        self, table: pa.Table, wanted: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """For each wanted row the similarity of the most similar benchmark row, and that row; 0 and -1 for none."""
        from tilth.dedup._nearest import nearest

        ready = self._ready
        similarity = np.zeros(len(wanted), dtype=np.float32)
        rows = np.full(len(wanted), -1, dtype=np.int64)
        if ready.embedder is not None and ready.vectors is not None and wanted.any():
            vectors = ready.embedder.embed(table.column(self.column).filter(pa.array(wanted)))
            found, similarity[wanted] = nearest(vectors, ready.vectors)
            rows[wanted] = np.where(found >= 0, ready.rows[found], -1)
        return similarity, rows

    def _evidence(
        self,
        text: Strings,
        contaminated: npt.NDArray[np.bool_],
        overlap: npt.NDArray[np.float32],
        best: npt.NDArray[np.int32],
        spans: npt.NDArray[np.int64],
    ) -> pa.Array:
        names = pa.array(self.pack.names, pa.string())
        rows = np.where(contaminated, best, 0)
        shown = np.full(len(text), None, dtype=object)
        for row in np.flatnonzero(contaminated):
            start, end = text.offsets[row] + spans[row]
            piece = text.data[start : min(end, start + 4 * _SHOWN)].tobytes().decode("utf-8", "ignore")
            shown[row] = piece[:_SHOWN]
        fields = {
            "benchmark": names.take(pa.array(self.pack.numbers("benchmark")[rows])),
            "row": pa.array(self.pack.numbers("row")[rows]),
            "overlap": pa.array(overlap),
            "start": pa.array(spans[:, 0]),
            "end": pa.array(spans[:, 1]),
            "text": pa.array(shown, pa.string()),
        }
        return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=pa.array(~contaminated))

    def _with_similarity(
        self,
        evidence: pa.StructArray,
        contaminated: npt.NDArray[np.bool_],
        rephrased: npt.NDArray[np.bool_],
        similarity: npt.NDArray[np.float32],
        nearest: npt.NDArray[np.int64],
    ) -> pa.Array:
        """The evidence with a field more, and for rephrased rows, of which no part was found, with that and the row."""
        fields = {name: evidence.field(name) for name in evidence.type.names}
        rows = np.where(rephrased, nearest, 0)
        named = {
            "benchmark": pa.array(self.pack.names, pa.string()).take(pa.array(self.pack.numbers("benchmark")[rows])),
            "row": pa.array(self.pack.numbers("row")[rows]),
        }
        for name, values in fields.items():
            fields[name] = pc.if_else(pa.array(contaminated), values, named.get(name, pa.scalar(None, values.type)))
        fields["similarity"] = pa.array(similarity, mask=~rephrased)
        return pa.StructArray.from_arrays(
            list(fields.values()), list(fields), mask=pa.array(~(contaminated | rephrased))
        )

    @property
    def _ready(self) -> _Prepared:
        if "_prepared" not in self.__dict__:
            # Batches are judged on several threads; the first one prepares.
            with _PREPARING:
                return self._prepared
        return self._prepared

    @cached_property
    def _prepared(self) -> _Prepared:
        pack = self.pack
        require(self.ngram == pack.ngram, self, "ngram", f"{pack.ngram}, which the pack was built with")
        sought = _sought(self, pack)
        index = _indexed(pack, sought, self.min_words, self.max_rows, self.max_share)
        rows = np.flatnonzero(sought & (pack.numbers("words") >= self.min_words))
        embedder = self.embedder if isinstance(self.against, HashPack) else self._read[1]
        vectors = None if embedder is None else _vectors(self, pack, embedder)[rows]
        if vectors is not None:
            _refuse_zeros(self, pack, rows, vectors)
        return _Prepared(index, embedder, rows, vectors)

    @cached_property
    def _read(self) -> tuple[HashPack, Embedder | None]:
        return self._hashed()

    def _hashed(self) -> tuple[HashPack, Embedder | None]:
        """The benchmarks as a pack, and the embedder, which is fitted to them if it must be."""
        against = self.against
        if isinstance(against, str) and is_pack(Path(against)):
            return HashPack.load(against), self.embedder
        if isinstance(against, str):
            against = {Path(against).name.split(".")[0] or against: against}
        elif is_source(against):
            against = {Path(against["path"]).name.split(".")[0]: against}  # type: ignore[index]
        elif isinstance(against, Dataset):
            against = {"benchmark": against}
        if not isinstance(against, Mapping):
            raise ArgumentError(f"{self}: against={against!r} names no benchmark.")
        benchmarks = opened(against, self.against_column, self.column)
        embedder = self.embedder
        if embedder is not None and not embedder.is_fitted:
            embedder = embedder.fitted(_as_dataset(benchmarks), "text")
        return packed(benchmarks, self.ngram, embedder), embedder

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if not isinstance(self.against, HashPack):
            # A path alone would bring back results for what it held yesterday.
            state["content"] = self.pack.fingerprint
        return state


@identity.register
def _(value: Decontaminate) -> object:
    """By content: a benchmark is the same whether it came as a dataset, a pack or a path."""
    names = ["column", "min_overlap", "min_words", "max_rows", "max_share"]
    if value.embedder is not None:
        # What embeds is part of the pack.
        names.append("min_similarity")
    fields = {name: identity(getattr(value, name)) for name in names}
    return ["tilth.dedup.decontaminate.Decontaminate", value.version, fields, value.pack.fingerprint]


def _is_data(value: object) -> bool:
    return not isinstance(value, str | Path) and not is_source(value) and value is not None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What a step looks for: n-grams, and the vectors of benchmark rows, whose numbers in the pack are `rows`."""

    index: Index
    embedder: Embedder | None
    rows: npt.NDArray[np.int64]
    vectors: Vectors | None


def _as_dataset(benchmarks: list[Opened]) -> Dataset:
    texts = pa.chunked_array(list(texts_of(benchmarks)), pa.large_string())
    return Dataset(pa.table({"text": texts}), fingerprint="benchmarks")


def _sought(step: Decontaminate, pack: HashPack) -> npt.NDArray[np.bool_]:
    """Which benchmark rows are looked for: those with a word, by the first where several say the same.

    Raises:
        ArgumentError: a benchmark has nothing to look for.
    """
    benchmark, words, whole = pack.numbers("benchmark"), pack.numbers("words"), pack.numbers("whole")
    # Otherwise a row that comes often would pass for boilerplate.
    _, first = np.unique(np.stack([benchmark.astype(np.uint64), whole]), axis=1, return_index=True)
    sought = np.zeros(len(pack), dtype=np.bool_)
    sought[first] = True
    for number, name in enumerate(pack.names):
        _refuse_or_warn(step, name, words[benchmark == number], step.min_words)
    return sought & (words > 0)


def _indexed(pack: HashPack, sought: npt.NDArray[np.bool_], min_words: int, max_rows: int, max_share: float) -> Index:
    """What to look for: the n-grams that count, and whole rows where there are none."""
    from tilth.dedup._ngrams import ENTIRE, index

    benchmark, words, whole = pack.numbers("benchmark"), pack.numbers("words"), pack.numbers("whole")
    offsets, grams = pack.grams
    long = sought & (words >= min_words)
    row_of = np.repeat(np.arange(len(pack)), np.diff(offsets))
    pairs = np.flatnonzero(long[row_of])
    pairs = pairs[np.lexsort((grams[pairs], benchmark[row_of[pairs]]))]
    owner, hashes = benchmark[row_of[pairs]], grams[pairs]
    begins = np.ones(len(pairs), dtype=np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (hashes[1:] != hashes[:-1])
    group = np.cumsum(begins) - 1
    rows = np.bincount(benchmark[long], minlength=len(pack.names))
    most = np.where(rows >= _FEW, np.minimum(max_rows, np.maximum(rows * max_share, 1)), max_rows)
    pairs = pairs[np.bincount(group)[group] <= most[owner]] if len(pairs) else pairs

    counts = np.bincount(row_of[pairs], minlength=len(pack)).astype(np.int32)
    alone = np.flatnonzero(long & (counts == 0))
    short = np.flatnonzero(sought & ~long)
    counts[alone] = counts[short] = 1
    return index(
        pack.ngram,
        np.concatenate([grams[pairs], whole[alone], whole[short] ^ ENTIRE]),
        np.concatenate([row_of[pairs], alone, short]),
        counts,
        words[alone],
        pack.numbers("anchor")[alone],
        int(words[short].max(initial=0)),
    )


def _vectors(step: Decontaminate, pack: HashPack, embedder: Embedder) -> Vectors:
    """The vectors of a pack, made by this embedder.

    Raises:
        ArgumentError: it has none, or another's.
    """
    if pack.vectors is None:
        raise ArgumentError(
            f"{step}: an embedder compares texts, and a pack of hashes holds none. Give the benchmark itself as "
            f"against, or build the pack with vectors: HashPack.build(benchmarks, embedder=embedder)."
        )
    if not embedder.is_fitted or pack.embedder != embedder.fingerprint:
        raise ArgumentError(
            f"{step}: the vectors of the pack were not made by embedder={embedder!r}; give the one that they were made "
            f"by, fitted as it was then, or build the pack again."
        )
    return pack.vectors


def _refuse_zeros(step: Decontaminate, pack: HashPack, rows: npt.NDArray[np.int64], vectors: Vectors) -> None:
    """Refuse an embedder that sees nothing in a benchmark, by which nothing would ever be found."""
    seen = np.asarray(vectors.any(axis=1))
    for number, name in enumerate(pack.names):
        if not seen[pack.numbers("benchmark")[rows] == number].any():
            raise ArgumentError(f"{step}: embedder={step.embedder!r} finds nothing in any row of benchmark {name!r}.")


def _refuse_or_warn(step: Decontaminate, name: str, words: npt.NDArray[np.int64], min_words: int) -> None:
    short = int((words < min_words).sum())
    if short == len(words):
        raise ArgumentError(
            f"{step}: benchmark {name!r} gives nothing to look for: its longest row has {int(words.max(initial=0))} "
            f"words and min_words={min_words}. Lower min_words (4 at least), or choose another against_column."
        )
    if short > _MANY * len(words):
        warnings.warn(
            f"{step}: {short} of the {len(words)} rows of benchmark {name!r} have fewer than min_words={min_words} "
            f"words and are looked for only as the whole of a text.",
            UserWarning,
            stacklevel=2,
        )
