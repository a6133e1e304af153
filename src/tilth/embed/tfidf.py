"""TF-IDF reduced to a few hundred numbers: vectors without a model, learnt from the data at hand in seconds.

A text's features are its words and the runs of three characters in them, by hash, weighted by how often they come in it
and how rare they are elsewhere. A truncated singular value decomposition finds the directions in which the texts differ
most (latent semantic analysis: Deerwester et al., 1990; the randomized algorithm: Halko, Martinsson and Tropp, 2011,
arXiv:0909.4061). What those directions leave out, which is most of what tells one text from another, is kept by a
sparse random projection (Kane and Nelson, 2014, arXiv:1012.1577), so that inner products stay those of all features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.embed.embedder import Embedder, Texts, Vectors, slices
from tilth.errors import ArgumentError, ColumnTypeError, MissingColumnError, MissingExtraError
from tilth.frame import Frame, Rows
from tilth.step import require
from tilth.text.strings import Strings, is_text, strings_of
from tilth.text.threads import ordered_map

_ROWS_READ = 2_048
_ROWS_AT_ONCE = 1_024
_BYTES_LEARNT_FROM = 16 * 2**20
"""Texts are taken into the sample until they have so many bytes: what is learnt changes little beyond."""
_ROUNDS = 2
"""Power iterations: more bring directions nearer to the exact ones, and no better vectors."""
_SHARPNESS = 1.5
"""The power of the inverse document frequency: similarities follow human judgement a little better than with 1."""
_NO_MORE = 1e-5
"""Directions of so small a share of the first one's singular value are rounding."""


@dataclass(frozen=True)
class TfidfSvd(Embedder):
    """TF-IDF of words and characters, reduced by a truncated SVD and a random projection; needs no model.

    The inner product of two vectors is nearly the TF-IDF cosine of the texts: it sees shared words, word stems and
    names, not synonyms. It must be fitted to data, from which it learns what is rare and the main directions. The same
    data and seed give the same vectors for any number of threads.

    Args:
        dims: numbers in a vector, 4 to 4096.
        directions: how many of them are singular directions, 0 to `dims`; the others are the random projection. An
            eighth of `dims` when None. With `directions=dims` this is plain latent semantic analysis, which loses
            most of what tells texts on one topic apart.
        ngram: most words in a feature, 1 to 8. Longer ones rarely help.
        characters: characters in a feature, 2 to 8, or 0 for words alone. A word counts with an edge on either side.
        features: most features whose frequency is remembered; others count as rare.
        sample: most rows to learn from.
        seed: of the sample and of the projections.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["Sort a list of numbers.", "Sorting lists of numbers", "Name a prime."]})
        >>> vectors = TfidfSvd(dims=64).fitted(ds, "text").embed(ds.data.column("text"))
        >>> vectors.shape
        (3, 64)
        >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
        True
    """

    dims: int = 256
    directions: int | None = None
    ngram: int = 1
    characters: int = 3
    features: int = 2**18
    sample: int = 50_000
    seed: int = 0

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(4 <= self.dims <= 4096, self, "dims", "from 4 to 4096")
        directions = self.directions
        require(
            directions is None or 0 <= directions <= self.dims,
            self,
            "directions",
            f"from 0 to dims={self.dims}, or None",
        )
        require(1 <= self.ngram <= 8, self, "ngram", "from 1 to 8")
        require(self.characters == 0 or 2 <= self.characters <= 8, self, "characters", "from 2 to 8, or 0")
        require(1 <= self.features <= 2**22, self, "features", f"from 1 to {2**22}")
        require(self.sample >= 1, self, "sample", "one or more")
        require(0 <= self.seed < 2**32, self, "seed", f"from 0 to {2**32 - 1}")

    @property
    def learnt(self) -> int:
        """Numbers in a vector that are places along singular directions."""
        return self.dims // 8 if self.directions is None else self.directions

    @property
    def is_fitted(self) -> bool:
        """False: it knows no data yet."""
        return False

    def embed(self, texts: Texts) -> Vectors:
        """Refuse to: fit it first.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(f"{self} must be fitted before it can embed: embedder.fitted(ds, 'text').embed(texts)")

    def fitted(self, ds: Dataset, column: str) -> FittedTfidfSvd:
        """Learn from the texts of `column` what is rare and in which directions they differ.

        Args:
            ds: the data, or data like it. At most `sample` random rows and 16 MiB of text are read.
            column: the text.

        Raises:
            MissingColumnError: there is no such column.
            ColumnTypeError: it holds no text.
            MissingExtraError: scikit-learn is not installed.
        """
        from tilth.embed._tfidf_kernel import features
        from tilth.text.words import HASH_VERSION

        if column not in ds.column_names:
            raise MissingColumnError(type(self).__name__, column, ds.column_names)
        kind = ds.features.arrow_schema.field(column).type
        if not is_text(kind):
            raise ColumnTypeError(type(self).__name__, column, kind, "text")
        read = ordered_map(
            lambda drawn: (drawn[0], *features(drawn[1], self.ngram, self.characters)), self._drawn(ds, column)
        )
        numbers, offsets, hashes, counts = _joined(list(read))
        full = np.diff(offsets) > 0
        vocabulary, times = _vocabulary(hashes, self.features)
        rows = int(full.sum())
        weights = _inverse_frequency(times, rows)
        rare = float(_inverse_frequency(np.ones(1), rows)[0])
        directions = np.zeros((len(vocabulary), self.learnt), dtype=np.float32)
        if self.learnt and len(vocabulary):
            place = np.searchsorted(vocabulary, hashes).clip(max=len(vocabulary) - 1)
            known = vocabulary[place] == hashes
            values = (1 + np.log(counts)) * np.where(known, weights[place], rare)
            # In the order of the data, so that it makes no difference how many were read at once.
            row = np.repeat(np.argsort(np.argsort(numbers)), np.diff(offsets))
            lengths = np.sqrt(np.bincount(row, values**2, minlength=len(full)))
            values /= lengths[row]
            found = self._directions(row[known], place[known], values[known], (len(full), len(vocabulary)))
            directions[:, : found.shape[1]] = found
        return FittedTfidfSvd(self, vocabulary, weights, rare, directions, HASH_VERSION)

    def _drawn(self, ds: Dataset, column: str) -> Iterator[tuple[Rows, Strings]]:
        """Random rows and their texts, a few at a time, until there are `sample` rows or enough bytes."""
        frame = Frame.of(ds)
        order = np.random.default_rng(self.seed).choice(len(frame), min(self.sample, len(frame)), replace=False)
        at_once = max((hi - lo for lo, hi in frame.cuts([column])), default=1)
        taken = 0
        for lo in range(0, len(order), min(at_once, _ROWS_READ)):
            part = order[lo : lo + min(at_once, _ROWS_READ)]
            ascending = np.argsort(part)
            texts = frame.take(column, part[ascending])
            sizes = np.empty(len(part), dtype=np.int64)
            sizes[ascending] = np.diff(strings_of(texts, column, type(self).__name__).offsets)
            fits = (taken + np.cumsum(sizes) - sizes < _BYTES_LEARNT_FROM)[ascending]
            yield part[ascending][fits], strings_of(texts if fits.all() else texts.filter(pa.array(fits)))
            taken += int(sizes.sum())
            if taken >= _BYTES_LEARNT_FROM:
                return

    def _directions(
        self,
        row: npt.NDArray[np.int64],
        place: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        shape: tuple[int, int],
    ) -> npt.NDArray[np.float32]:
        """The first right singular vectors of the matrix with these values, as columns; fewer if its rank is less."""
        try:
            from scipy.sparse import csr_matrix
            from sklearn.utils.extmath import randomized_svd
            from threadpoolctl import threadpool_limits
        except ImportError:
            raise MissingExtraError("TfidfSvd", "scikit-learn", "embed") from None
        matrix = csr_matrix((values.astype(np.float32), (row, place)), shape=shape)
        # More threads would round otherwise.
        with threadpool_limits(1, user_api="blas"):
            _, sizes, found = randomized_svd(
                matrix,
                min(self.learnt, *shape),
                n_iter=_ROUNDS,
                power_iteration_normalizer="QR",
                random_state=self.seed,
            )
        return np.asarray(found[sizes > _NO_MORE * sizes.max(initial=0)].T, dtype=np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class FittedTfidfSvd(Embedder):
    """A `TfidfSvd` with what it learnt. It is known by that: fitted to the same texts it is the same.

    Attributes:
        settings: what was fitted.
        vocabulary: hashes of the features that came in two sampled texts or more, ascending, shape `(vocabulary,)`.
        weights: of each, shape `(vocabulary,)`.
        rare: the weight of every other feature.
        directions: shape `(vocabulary, settings.learnt)`.
        hash_version: of the tokeniser's hashes that the vocabulary was made with.
    """

    settings: TfidfSvd
    vocabulary: npt.NDArray[np.uint64]
    weights: npt.NDArray[np.float32]
    rare: float
    directions: npt.NDArray[np.float32]
    hash_version: int

    version: ClassVar[int] = TfidfSvd.version

    @property
    def dims(self) -> int:
        """Numbers in a vector."""
        return self.settings.dims

    def embed(self, texts: Texts) -> Vectors:
        """The vector of each text; see `Embedder.embed`. A text without a word has zeros."""
        from tilth.embed._tfidf_kernel import embed
        from tilth.text.words import HASH_VERSION

        if self.hash_version != HASH_VERSION:
            raise ArgumentError(f"{self!r} was fitted by another version of tilth; fit it again.")
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        settings, table, overlap = self.settings, *self._tables

        def work(piece: tuple[int, pa.Array]) -> None:
            first, part = piece
            embed(
                strings_of(part),
                settings.ngram,
                settings.characters,
                settings.seed,
                table,
                self.weights,
                self.rare,
                self.directions,
                overlap,
                vectors[first : first + len(part)],
            )

        pieces = list(slices(texts, _ROWS_AT_ONCE))
        for _ in map(work, pieces) if len(pieces) == 1 else ordered_map(work, pieces):
            pass
        return vectors

    @cached_property
    def _tables(self) -> tuple[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]], npt.NDArray[np.float32]]:
        """The vocabulary as a hash table, and the random part of each direction."""
        from tilth.embed._tfidf_kernel import overlap_of, table_of

        rest = self.dims - self.settings.learnt
        overlap = overlap_of(self.vocabulary, self.directions, rest, self.settings.seed)
        return table_of(self.vocabulary), overlap

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FittedTfidfSvd) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"{self.settings!r} fitted with {len(self.vocabulary)} features"


def _joined(
    parts: list[tuple[Rows, Rows, npt.NDArray[np.uint64], npt.NDArray[np.int32]]],
) -> tuple[Rows, Rows, npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Row numbers, offsets, hashes and counts of all parts."""
    none = np.zeros(0, dtype=np.int64)
    numbers = np.concatenate([none, *(part[0] for part in parts)])
    sizes = np.concatenate([none, *(np.diff(part[1]) for part in parts)])
    hashes = np.concatenate([none.astype(np.uint64), *(part[2] for part in parts)])
    counts = np.concatenate([none.astype(np.int32), *(part[3] for part in parts)])
    return numbers, np.concatenate([[0], np.cumsum(sizes)]), hashes, counts


def _vocabulary(hashes: npt.NDArray[np.uint64], most: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The features that come in two rows or more, ascending, and in how many; of too many the most frequent."""
    found, times = np.unique(hashes, return_counts=True)
    often = np.flatnonzero(times > 1)
    # A stable sort, so that of equally frequent features the same ones stay.
    often = np.sort(often[np.argsort(-times[often], kind="stable")[:most]])
    return found[often], times[often]


def _inverse_frequency(times: npt.NDArray[np.int64] | npt.NDArray[np.float64], rows: int) -> npt.NDArray[np.float32]:
    return np.asarray((1 + np.log((1 + rows) / (1 + times))) ** _SHARPNESS, dtype=np.float32)
