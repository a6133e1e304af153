"""The embedder: text in, unit vectors out. Whatever needs vectors takes one, and does not know which.

An embedder is a frozen dataclass whose fields are its identity, as with steps. A model is loaded on first use, is
shared by equal embedders of a process, and goes when the last of them goes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import Lock, RLock
from typing import Any, ClassVar, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.identity import code_of, identity, in_order, name_of
from tilth.text.strings import strings_of

Texts: TypeAlias = "pa.Array | pa.ChunkedArray"
Vectors = npt.NDArray[np.float32]

_TEXTS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Embedder(ABC):
    """What turns texts into vectors whose inner product says how alike two texts are.

    Attributes:
        version: raise it whenever the same fields would give other vectors.
    """

    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def dims(self) -> int:
        """Numbers in a vector."""

    @abstractmethod
    def embed(self, texts: Texts) -> Vectors:
        """The vector of each text.

        Args:
            texts: `n` texts in any Arrow type that holds text, nulls allowed.

        Returns:
            Rows of length 1, shape `(n, dims)`. A text that is null or in which there is nothing to embed, such as an
            empty one, has zeros.

        Raises:
            ColumnTypeError: `texts` holds no text.
            MissingExtraError: a package that this embedder needs is not installed.
        """

    @property
    def is_fitted(self) -> bool:
        """Whether `embed` works; else `fitted` gives an embedder with which it does."""
        return True

    def fitted(self, ds: Dataset, column: str) -> Embedder:
        """This embedder, fitted to the texts of `column` if it is of a kind that must be."""
        return self

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits made of the class, its `version` and its fields: equal on every machine for equal embedders."""
        fields = {field.name: identity(getattr(self, field.name)) for field in dataclasses.fields(self)}
        known = [name_of(type(self)), self.version, fields, *code_of(type(self))]
        return hashlib.blake2b(json.dumps(known).encode(), digest_size=16).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        fields = {field.name: in_order(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {"fields": fields, "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state["fields"].items():
            object.__setattr__(self, name, value)


@dataclass(eq=False)
class _Loaded:
    """A model, and the lock under which it works: models are not made for several threads."""

    model: Any
    lock: Lock


_LOADED: WeakValueDictionary[str, _Loaded] = WeakValueDictionary()
_LOADING = RLock()


@dataclass(frozen=True)
class ModelEmbedder(Embedder):
    """An embedder that hands Python strings to a model of another library."""

    @abstractmethod
    def load(self) -> Any:
        """The model.

        Raises:
            MissingExtraError: its library is not installed.
        """

    @abstractmethod
    def encode(self, model: Any, texts: list[str]) -> npt.NDArray[Any]:
        """Vectors of any length, shape `(len(texts), dims)`, of texts none of which is blank."""

    @cached_property
    def dims(self) -> int:
        """Numbers in a vector, which only the model knows."""
        return int(self._encoded(["a"]).shape[1])

    def embed(self, texts: Texts) -> Vectors:
        """The vector of each text; see `Embedder.embed`. Equal texts of a batch are embedded once."""
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        for first, part in slices(texts, _TEXTS_AT_ONCE):
            view = strings_of(part)
            places: dict[str, int] = {}
            rows = [
                places.setdefault(text, len(places)) if text and text.strip() else -1
                for text in map(view.text, range(len(view)))
            ]
            # The last row, zeros, is that of a text in which there is nothing.
            found = np.zeros((len(places) + 1, self.dims), dtype=np.float32)
            if places:
                found[:-1] = unit(self._encoded(list(places)))
            vectors[first : first + len(part)] = found[rows]
        return vectors

    def _encoded(self, texts: list[str]) -> npt.NDArray[Any]:
        loaded = self._loaded
        with loaded.lock:
            return self.encode(loaded.model, texts)

    @cached_property
    def _loaded(self) -> _Loaded:
        with _LOADING:
            loaded = _LOADED.get(self.fingerprint)
            if loaded is None:
                loaded = _LOADED[self.fingerprint] = _Loaded(self.load(), Lock())
            return loaded


def slices(texts: Texts, rows: int) -> Iterator[tuple[int, pa.Array]]:
    """Neighbouring texts in arrays of at most so many rows, each with the number of its first row."""
    first = 0
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        for lo in range(0, len(chunk), rows):
            part = chunk.slice(lo, rows)
            yield first, part
            first += len(part)


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Each row at length 1; one that has no length, or is not finite, as zeros."""
    single = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", single, single, dtype=np.float64))[:, None]
    good = np.isfinite(lengths) & (lengths > 0)
    return np.where(good, single / np.where(good, lengths, 1).astype(np.float32), np.float32(0))
