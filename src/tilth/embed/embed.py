"""Vectors as a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset
from pandas import DataFrame  # type: ignore[import-untyped]

from tilth.embed.embedder import Embedder
from tilth.frame import no_rows
from tilth.step import Columns, DatasetStep, Dropped, MapStep, Outcome, require, with_columns
from tilth.text.strings import strings


@dataclass(frozen=True)
class Embed(MapStep):
    """Write the vector of each text, of `float32` and of length 1; a null or an empty text has zeros.

    In `step.apply(ds)`, in a pipeline and in `ds.with_format("arrow").map` the column is of the type
    `List(Value("float32"), length=dims)`; plain `ds.map` makes `List(Value("float32"))` unless it is given `features`.

    Args:
        column: the text.
        embedder: what embeds. One that must be fitted has to be: `TfidfSvd().fitted(ds, "text")`; or use `FitEmbed`.
        into: the column to write.

    Raises:
        ArgumentError: the embedder is not fitted.
        MissingExtraError: the package that the embedder needs is not installed; raised at the first use.

    Examples:
        >>> from datasets import Dataset
        >>> from tilth.embed import TfidfSvd
        >>> ds = Dataset.from_dict({"text": ["Sort a list.", "Sorting lists", None]})
        >>> step = Embed("text", TfidfSvd(dims=64).fitted(ds, "text"))
        >>> step.apply(ds).features["embedding"]
        List(Value('float32'), length=64)
    """

    column: str
    embedder: Embedder
    into: str = "embedding"

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _check(self)
        fits = "fitted: TfidfSvd().fitted(ds, 'text'); or use FitEmbed, which fits it to the rows at hand"
        require(self.embedder.is_fitted, self, "embedder", fits)

    @property
    def writes(self) -> tuple[str, ...]:
        """The column `into`."""
        return (self.into,)

    def transform(self, table: pa.Table) -> Columns:
        """The vectors, a fixed-size list of 32-bit floats for each row."""
        strings(table.slice(0, 0), self.column, str(self))
        vectors = self.embedder.embed(table.column(self.column))
        flat = pa.array(vectors.reshape(-1))
        return {self.into: pa.FixedSizeListArray.from_arrays(flat, self.embedder.dims)}

    def __call__(self, batch: pa.Table | DataFrame | Mapping[str, Any]) -> Any:
        """Do one batch, as `MapStep` does. For a dict the vectors are numpy: Python floats would become 64 bits."""
        made = super().__call__(batch)
        if isinstance(made, dict):
            made[self.into] = np.array(made[self.into], dtype=np.float32).reshape(-1, self.embedder.dims)
        return made


@dataclass(frozen=True)
class FitEmbed(DatasetStep):
    """Fit an embedder to the rows at hand, then write the vector of each, as `Embed` does.

    It needs all rows, since the vectors depend on what it is fitted to.

    Args:
        column: the text.
        embedder: what is fitted and embeds.
        into: the column to write.

    Examples:
        >>> from datasets import Dataset
        >>> from tilth.embed import TfidfSvd
        >>> ds = Dataset.from_dict({"text": ["Sort a list.", "Sorting lists", None]})
        >>> FitEmbed("text", TfidfSvd(dims=64)).apply(ds).features["embedding"]
        List(Value('float32'), length=64)
    """

    column: str
    embedder: Embedder
    into: str = "embedding"

    version: ClassVar[int] = 1
    needs_all: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self)

    @property
    def writes(self) -> tuple[str, ...]:
        """The column `into`."""
        return (self.into,)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns with the vectors among them."""
        kind = pa.list_(pa.float32(), self.embedder.dims)
        return with_columns(no_rows(schema), {self.into: pa.array([], kind)}).schema

    def run(self, ds: Dataset) -> Outcome:
        """Fit to `ds` and embed it."""
        step = Embed(self.column, self.embedder.fitted(ds, self.column), self.into)
        return Outcome(np.arange(len(ds)), Dropped.none(), step.apply(ds))


def _check(step: Embed | FitEmbed) -> None:
    require(isinstance(step.column, str) and bool(step.column), step, "column", "the name of a column")
    require(isinstance(step.embedder, Embedder), step, "embedder", "an embedder, such as TfidfSvd() or Model2Vec(...)")
    require(isinstance(step.into, str) and bool(step.into), step, "into", "the name of a column")
