"""What a benchmark leaves behind: hashes of its word n-grams, enough to find it in other data and to name the row.

A pack holds no text. It is small, it can be kept where the benchmark itself may not be, and it is the same on every
machine. It may also hold a vector of each row, by which rephrasings are found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.embed.embedder import Embedder, Vectors
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, SourceError
from tilth.frame import Frame
from tilth.text.strings import is_text, one_array, strings_of

Benchmark: TypeAlias = "Dataset | Sequence[str | None] | str | Mapping[str, Any]"
"""A dataset, its texts, or where to read it: a source as `tilth.sources.load` takes it, or one with `path`, `split` and
`name`."""

Columns: TypeAlias = "str | Mapping[str, str] | None"

FORMAT = 1
_KEY = b"tilth.hash_pack"
_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("words", pa.int64()),
        pa.field("whole", pa.uint64()),
        pa.field("anchor", pa.uint64()),
        pa.field("grams", pa.large_list(pa.uint64())),
    ]
)


@dataclass(frozen=True, eq=False, repr=False)
class HashPack:
    """The hashed word n-grams of one benchmark or more.

    Whoever has a text can find out whether it is in the pack; the texts cannot be read from it. Vectors, which are
    there only if an embedder was given, tell more: what a text is about.

    Attributes:
        ngram: words in an n-gram.
        names: the benchmarks, in alphabetical order.
        table: a row for each benchmark row: `benchmark` (a place in `names`), `row` (its number there), `words` (how
            many it has), `whole` and `anchor` (hashes of all its words and of the first four), and `grams`, the hashes
            of its distinct n-grams, ascending; with an embedder also `vector`.
        source: the file it was read from or written to; no part of what it is.
        embedder: the fingerprint of the embedder that made the vectors.
        texts: a digest of the texts that it embedded.

    Examples:
        >>> pack = HashPack.build({"quiz": ["Which planet of the solar system is the largest one"]}, ngram=5)
        >>> pack
        HashPack(quiz: 1 row, 6 n-grams; ngram=5)
    """

    ngram: int
    names: tuple[str, ...]
    table: pa.Table
    source: str | None = None
    embedder: str | None = None
    texts: str | None = None

    @classmethod
    def build(
        cls,
        benchmarks: Mapping[str, Benchmark],
        column: Columns = None,
        ngram: int = 13,
        embedder: Embedder | None = None,
    ) -> HashPack:
        """Hash benchmarks.

        Args:
            benchmarks: for each name a dataset, a list of texts, or a source that `tilth.sources.load` reads.
            column: the text to hash in each, or a mapping of names to those; where it is not named, the only column of
                text that there is.
            ngram: words in an n-gram.
            embedder: adds the vector of each row. One that must be fitted has to be, and is needed again to use them.

        Raises:
            ArgumentError: a benchmark has no word in that column, or it is not clear which column to read; or the
                embedder is not fitted.
            MissingColumnError: a benchmark has no such column.
            ColumnTypeError: it does not hold text.
            SourceError: a benchmark cannot be read.
        """
        if not isinstance(benchmarks, Mapping) or not benchmarks:
            raise ArgumentError(
                f"HashPack.build takes a mapping of names to benchmarks, such as {{'gsm8k': ds}}, not {benchmarks!r}."
            )
        if not isinstance(ngram, int) or not 1 <= ngram <= 1000:
            raise ArgumentError(f"HashPack.build: ngram={ngram!r} is not allowed; it must be from 1 to 1000.")
        if embedder is not None and not (isinstance(embedder, Embedder) and embedder.is_fitted):
            raise ArgumentError(
                f"HashPack.build: embedder={embedder!r} is not allowed; it must be an embedder that is fitted, and "
                f"kept: whoever uses the pack needs the same one."
            )
        return packed(opened(benchmarks, column), ngram, embedder)

    @classmethod
    def load(cls, path: str | Path) -> HashPack:
        """Read a pack that `save` wrote.

        Raises:
            SourceError: there is no such file, it is damaged or cut short, no pack, or one of another version.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path}: it cannot be read ({error.strerror}).") from None
        try:
            found = _unpacked(data)
        except SourceError as error:
            raise SourceError(f"{path}: {error}") from None
        return cls(found.ngram, found.names, found.table, str(path), found.embedder, found.texts)

    def save(self, path: str | Path) -> Path:
        """Write this pack to one Arrow file, which appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(self.to_bytes())
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        object.__setattr__(self, "source", str(path))
        return path

    def to_bytes(self) -> bytes:
        """The pack as the bytes of an Arrow file, equal for equal packs."""
        about = {**self._about, "checksum": self.fingerprint}
        if self.vectors is not None:
            about["vectors"] = _digest(self.vectors)
        schema = _schema(self.vectors).with_metadata({_KEY: json.dumps(about, sort_keys=True).encode()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(self.table.cast(schema))
        return bytes(sink.getvalue())

    @property
    def _about(self) -> dict[str, Any]:
        about = _about(self.ngram, self.names)
        return about if self.embedder is None else {**about, "embedder": self.embedder, "texts": self.texts}

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits made of the content: equal on every machine for equal packs.

        Vectors are known by the texts and the embedder that they were made from: machines round differently.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps(self._about, sort_keys=True).encode())
        for name in ("benchmark", "row", "words", "whole", "anchor"):
            digest.update(self.numbers(name).tobytes())
        offsets, grams = self.grams
        digest.update(offsets.tobytes())
        digest.update(grams.tobytes())
        return str(digest.hexdigest())

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """One column of `table` that holds a number for each row, shape `(rows,)`."""
        return np.asarray(self.table.column(name).to_numpy())

    @cached_property
    def grams(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """The n-grams of row `i` as `grams[offsets[i] : offsets[i + 1]]`."""
        lists = one_array(self.table.column("grams"))
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        return offsets, lists.flatten().to_numpy(zero_copy_only=False).astype(np.uint64)

    @cached_property
    def vectors(self) -> Vectors | None:
        """The vector of each row, shape `(rows, dims)`; None where no embedder was given."""
        if "vector" not in self.table.column_names:
            return None
        column = one_array(self.table.column("vector"))
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(self), column.type.list_size)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashPack) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        offsets, _ = self.grams
        numbers = self.numbers("benchmark")
        parts = []
        for number, name in enumerate(self.names):
            rows = np.flatnonzero(numbers == number)
            grams = int((offsets[rows + 1] - offsets[rows]).sum())
            parts.append(f"{name}: {len(rows):,} {'row' if len(rows) == 1 else 'rows'}, {grams:,} n-grams")
        vectors = "" if self.vectors is None else f"; vectors of {self.vectors.shape[1]} numbers"
        return f"HashPack({'; '.join(parts)}; ngram={self.ngram}{vectors})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.to_bytes(),)


@dataclass(frozen=True, eq=False)
class Opened:
    """A benchmark, and which of its columns to look for."""

    name: str
    ds: Dataset
    column: str


def opened(benchmarks: Mapping[str, Benchmark], column: Columns, likely: str | None = None) -> list[Opened]:
    """Benchmarks by name; where no column is named, one called `likely` is taken before any other of text.

    Raises:
        ArgumentError: it is not clear which column to read.
        MissingColumnError: a benchmark has no such column.
        ColumnTypeError: it does not hold text.
        SourceError: a benchmark cannot be read.
    """
    names = sorted(benchmarks)
    unknown = sorted(set(column) - set(names)) if isinstance(column, Mapping) else []
    if unknown:
        raise ArgumentError(f"a column is named for the benchmark {unknown[0]!r}, but the benchmarks are {names}.")
    found = []
    for name in names:
        ds = _opened(name, benchmarks[name])
        named = column.get(name) if isinstance(column, Mapping) else column
        found.append(Opened(name, ds, _text_column(name, ds, named, likely)))
    return found


def packed(benchmarks: Sequence[Opened], ngram: int, embedder: Embedder | None = None) -> HashPack:
    """The pack of these benchmarks, with vectors if there is an embedder, which is fitted.

    Raises:
        ArgumentError: a benchmark has no word in its column.
    """
    table = pa.concat_tables([_hashed(number, each, ngram, embedder) for number, each in enumerate(benchmarks)])
    names = tuple(each.name for each in benchmarks)
    known = (None, None) if embedder is None else (embedder.fingerprint, _texts_digest(benchmarks))
    return HashPack(ngram, names, table.combine_chunks(), None, *known)


def texts_of(benchmarks: Sequence[Opened]) -> Iterator[pa.Array]:
    """The texts that are looked for, in order, nulls as empty ones."""
    for each in benchmarks:
        for texts in Frame.of(each.ds).map_batches(lambda table, _: table.column(0), [each.column]):
            # Arrow may leave any bytes behind a null.
            yield one_array(texts).cast(pa.large_string()).fill_null("")


def _opened(name: str, benchmark: Benchmark) -> Dataset:
    """A benchmark as a dataset.

    Raises:
        ArgumentError: it is none of the things that a benchmark can be.
        SourceError: it cannot be read.
    """
    if isinstance(benchmark, Dataset):
        return benchmark
    if isinstance(benchmark, str | Path) or is_source(benchmark):
        from tilth import sources

        said = benchmark if isinstance(benchmark, Mapping) else {"path": str(benchmark)}
        return sources.load(said["path"], said.get("split"), said.get("name"))
    if isinstance(benchmark, Sequence) and all(text is None or isinstance(text, str) for text in benchmark):
        return Dataset.from_dict({"text": pa.array(benchmark, pa.large_string()).to_pylist()})
    splits = f" It has the splits {sorted(benchmark)}; choose one." if isinstance(benchmark, Mapping) else ""
    raise ArgumentError(
        f"benchmark {name!r} is a {type(benchmark).__name__}; it must be a Dataset, a list of texts, a path or "
        f"owner/name on the Hub.{splits}"
    )


def is_source(value: object) -> bool:
    """Whether this is a source with its split or configuration: `{"path": ..., "split": ..., "name": ...}`."""
    return (
        isinstance(value, Mapping)
        and "path" in value
        and set(value) <= {"path", "split", "name"}
        and all(part is None or isinstance(part, str) for part in value.values())
    )


def _text_column(name: str, ds: Dataset, column: str | None, likely: str | None) -> str:
    """Which column of a benchmark to hash: `column`, else `likely` if it is there, else the only one of text.

    Raises:
        MissingColumnError: `column` is absent.
        ColumnTypeError: it does not hold text.
        ArgumentError: there are several columns of text, or none.
    """
    schema = ds.features.arrow_schema
    if column is not None:
        if column not in schema.names:
            raise MissingColumnError(f"benchmark {name!r}", column, schema.names)
        if not is_text(schema.field(column).type):
            raise ColumnTypeError(f"benchmark {name!r}", column, schema.field(column).type, "text")
        return column
    texts = [field.name for field in schema if is_text(field.type) and not pa.types.is_null(field.type)]
    if likely in texts:
        return str(likely)
    if len(texts) == 1:
        return str(texts[0])
    found = f"the columns {texts} hold text" if texts else f"none of the columns {schema.names} holds text"
    wanted = f" and none is called {likely!r}" if likely is not None and texts else ""
    raise ArgumentError(f"benchmark {name!r}: {found}{wanted}; name the one to look for (against_column, or column).")


def _hashed(number: int, benchmark: Opened, ngram: int, embedder: Embedder | None) -> pa.Table:
    from tilth.dedup._ngrams import fingerprints

    parts, first = [_SCHEMA.empty_table()], 0
    for texts in texts_of([benchmark]):
        words, whole, anchor, offsets, grams = fingerprints(strings_of(texts), ngram)
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(grams))
        rows = np.arange(first, first + len(texts))
        columns = [np.full(len(texts), number, dtype=np.int32), rows, words, whole, anchor]
        part = pa.table([*map(pa.array, columns), lists], schema=_SCHEMA)
        if embedder is not None:
            vectors = embedder.embed(texts)
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
            part = part.append_column("vector", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
        parts.append(part)
        first += len(texts)
    made = pa.concat_tables(parts[min(1, first) :])
    if not np.any(made.column("words").to_numpy()):
        raise ArgumentError(
            f"benchmark {benchmark.name!r} gives nothing to look for: column {benchmark.column!r} has no word in any "
            f"of its {first} rows."
        )
    return made


def _texts_digest(benchmarks: Sequence[Opened]) -> str:
    digest, lengths = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for texts in texts_of(benchmarks):
        view = strings_of(texts)
        digest.update(view.data[view.offsets[0] : view.offsets[-1]].tobytes())
        lengths.update(np.diff(view.offsets).tobytes())
    digest.update(lengths.digest())
    return digest.hexdigest()


def _digest(vectors: Vectors) -> str:
    return hashlib.blake2b(np.ascontiguousarray(vectors).tobytes(), digest_size=16).hexdigest()


def _schema(vectors: Vectors | None) -> pa.Schema:
    if vectors is None:
        return _SCHEMA
    return _SCHEMA.append(pa.field("vector", pa.list_(pa.float32(), vectors.shape[1])))


def _about(ngram: int, names: Sequence[str]) -> dict[str, Any]:
    from tilth.text.words import HASH_VERSION

    return {"format": FORMAT, "hash_version": HASH_VERSION, "ngram": ngram, "names": list(names)}


def _unpacked(data: bytes) -> HashPack:
    damaged = "no pack of hashes, or one that is damaged or cut short"
    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            metadata = reader.schema.metadata or {}
            about = json.loads(metadata[_KEY]) if _KEY in metadata else None
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{damaged} ({' '.join(str(error).split())[:200]}).") from None
    if about is None:
        raise SourceError("an Arrow file, but no pack of hashes; HashPack.save writes one.")
    if not isinstance(about, dict) or not {"format", "hash_version", "ngram", "names", "checksum"} <= set(about):
        raise SourceError(f"{damaged}; copy or build it again.")
    expected = _about(0, ())
    for key, what in (("format", "format"), ("hash_version", "word hashes")):
        if about[key] != expected[key]:
            raise SourceError(
                f"a pack of {what} version {about[key]}, but this version of tilth reads {expected[key]}; "
                f"build it again with HashPack.build."
            )
    schema = table.schema.remove_metadata()
    vector = schema.field("vector").type if "vector" in schema.names else None
    expected_schema = _SCHEMA if vector is None else _SCHEMA.append(pa.field("vector", vector))
    whole = schema.equals(expected_schema) and not any(column.null_count for column in table.columns)
    whole &= (vector is None) == ("embedder" not in about)
    whole &= vector is None or (pa.types.is_fixed_size_list(vector) and vector.value_type == pa.float32())
    pack = HashPack(
        about["ngram"],
        tuple(about["names"]),
        table.replace_schema_metadata(None).combine_chunks(),
        None,
        about.get("embedder"),
        about.get("texts"),
    )
    whole = whole and pack.fingerprint == about["checksum"]
    if not whole or (pack.vectors is not None and _digest(pack.vectors) != about.get("vectors")):
        raise SourceError("the pack of hashes is damaged: its checksum does not match; copy or build it again.")
    return pack


def is_pack(path: Path) -> bool:
    """Whether this file is a pack, or calls itself one."""
    if path.suffix == ".pack":
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(6) != b"ARROW1":
            return False
    try:
        with pa.ipc.open_file(str(path)) as reader:
            return _KEY in (reader.schema.metadata or {})
    except pa.ArrowInvalid:
        return False
