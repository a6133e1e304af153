"""Static embeddings (Model2Vec: https://github.com/MinishLab/model2vec): a table of token vectors, and their mean.

They see synonyms and run a hundred times faster than a transformer, on a processor; word order means nothing to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from tilth.embed.embedder import ModelEmbedder
from tilth.errors import MissingExtraError
from tilth.step import require


@dataclass(frozen=True)
class Model2Vec(ModelEmbedder):
    """A static model, from a folder or the Hub; it is known by that name.

    Args:
        model: a folder, or a name on the Hub such as `minishlab/potion-base-8M`.
        max_tokens: tokens of a text that are read; all of them when None.

    Raises:
        MissingExtraError: model2vec is not installed; raised at the first use.
    """

    model: str
    max_tokens: int | None = 512

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(isinstance(self.model, str) and bool(self.model), self, "model", "a folder or a name on the Hub")
        require(self.max_tokens is None or self.max_tokens >= 1, self, "max_tokens", "one or more, or None")

    def load(self) -> Any:
        """The `StaticModel`."""
        try:
            from model2vec import StaticModel
        except ImportError:
            raise MissingExtraError(f"Model2Vec({self.model!r})", "model2vec", "embed") from None
        return StaticModel.from_pretrained(self.model, force_download=False)

    def encode(self, model: Any, texts: list[str]) -> npt.NDArray[Any]:
        """Its vectors. It would fork on many texts, which is not safe among threads."""
        found: npt.NDArray[Any] = model.encode(texts, max_length=self.max_tokens, use_multiprocessing=False)
        return found
