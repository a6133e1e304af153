"""Transformer embeddings through vLLM's pooling runner. Every name of vLLM that this room uses is in this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tilth.embed.embedder import ModelEmbedder
from tilth.errors import MissingExtraError
from tilth.step import require


@dataclass(frozen=True)
class VLLMEmbedder(ModelEmbedder):
    """An embedding model in a vLLM engine within this process; it is known by its name. Texts are cut to its length.

    Equal embedders share an engine, which may live until the process ends: vLLM keeps hold of it.

    Args:
        model: a folder, or a name on the Hub such as `Qwen/Qwen3-Embedding-0.6B`.
        prompt: what many models want before each text, such as `"query: "`.
        engine_args: further arguments of `vllm.LLM`, such as `{"max_model_len": 512}` or
            `{"pooler_config": {"pooling_type": "MEAN"}}`.

    Raises:
        MissingExtraError: vLLM is not installed; raised at the first use.
    """

    model: str
    prompt: str = ""
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require(isinstance(self.model, str) and bool(self.model), self, "model", "a folder or a name on the Hub")
        require(isinstance(self.prompt, str), self, "prompt", "text")
        require(isinstance(self.engine_args, Mapping), self, "engine_args", "a mapping of arguments")

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def load(self) -> Any:
        """The engine."""
        try:
            from vllm import LLM
        except ImportError:
            raise MissingExtraError(f"VLLMEmbedder({self.model!r})", "vllm", "vllm") from None
        return LLM(model=self.model, **{"runner": "pooling", **self.engine_args})

    def encode(self, model: Any, texts: list[str]) -> npt.NDArray[Any]:
        """Its vectors."""
        # A prompt that is too long would take the whole call with it; -1 cuts to what the model can read.
        outputs = model.embed(
            [self.prompt + text for text in texts],
            use_tqdm=False,
            tokenization_kwargs={"truncate_prompt_tokens": -1},
        )
        return np.array([output.outputs.embedding for output in outputs], dtype=np.float32)
