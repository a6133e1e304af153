"""Transformer embeddings through sentence-transformers (Reimers and Gurevych, 2019, arXiv:1908.10084)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy.typing as npt

from tilth.embed.embedder import ModelEmbedder
from tilth.errors import MissingExtraError
from tilth.step import require


@dataclass(frozen=True)
class SentenceTransformer(ModelEmbedder):
    """A sentence-transformers model, from a folder or the Hub; it is known by that name. Texts are cut to its length.

    Args:
        model: a folder, or a name on the Hub such as `sentence-transformers/all-MiniLM-L6-v2`.
        prompt: what many models want before each text, such as `"query: "`.
        batch_size: texts that the model sees at once.
        options: further arguments of `sentence_transformers.SentenceTransformer`, such as `{"revision": "..."}`,
            `{"device": "cuda:1"}`, `{"truncate_dim": 256}` or `{"model_kwargs": {"dtype": "bfloat16"}}`.

    Raises:
        MissingExtraError: sentence-transformers is not installed; raised at the first use.
    """

    model: str
    prompt: str = ""
    batch_size: int = 64
    options: Mapping[str, Any] = field(default_factory=dict)

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(isinstance(self.model, str) and bool(self.model), self, "model", "a folder or a name on the Hub")
        require(isinstance(self.prompt, str), self, "prompt", "text")
        require(self.batch_size >= 1, self, "batch_size", "one or more")
        require(isinstance(self.options, Mapping), self, "options", "a mapping of arguments")

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def load(self) -> Any:
        """The model, on the GPU if there is one."""
        try:
            from sentence_transformers import SentenceTransformer as Model
        except ImportError:
            extra = "sentence-transformers"
            raise MissingExtraError(f"SentenceTransformer({self.model!r})", extra, extra) from None
        return Model(self.model, **self.options)

    def encode(self, model: Any, texts: list[str]) -> npt.NDArray[Any]:
        """Its vectors."""
        found: npt.NDArray[Any] = model.encode(
            texts, prompt=self.prompt or None, batch_size=self.batch_size, show_progress_bar=False
        )
        return found
