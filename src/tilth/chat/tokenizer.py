"""A tokenizer as a value: what it was when a step was given it, whatever happens to the object afterwards.

Using a tokenizer changes it: padding and truncation are set on its Rust half and stay. A step must not do that to the
user's object, and must not be known by such traces either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tilth.errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, repr=False)
class FrozenTokenizer:
    """The parts of a tokenizer that decide what a chat becomes.

    Attributes:
        backend: the Rust tokenizer as JSON, without padding and truncation; None for one written in Python.
        chat_templates: Jinja text by name; the usual one is `default`.
        special_tokens: such as `{"eos_token": "</s>"}`, which templates can read.
        name_or_path: where it came from; not part of its identity.
    """

    backend: str | None
    chat_templates: Mapping[str, str]
    special_tokens: Mapping[str, str]
    name_or_path: str = field(default="", compare=False)

    @classmethod
    def of(cls, tokenizer: Any) -> FrozenTokenizer:
        """The present state of a transformers tokenizer.

        Raises:
            ArgumentError: it is not one.
        """
        if isinstance(tokenizer, cls):
            return tokenizer
        if not hasattr(tokenizer, "special_tokens_map") or not hasattr(tokenizer, "chat_template"):
            raise ArgumentError(
                f"ApplyTemplate: tokenizer={tokenizer!r} is not allowed; it must be a transformers tokenizer, or the "
                f"path or Hub name of one."
            )
        backend = getattr(tokenizer, "backend_tokenizer", None)
        templates = tokenizer.chat_template or {}
        return cls(
            None if backend is None else _settled(backend.to_str()),
            dict(templates) if isinstance(templates, Mapping) else {"default": str(templates)},
            {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
            str(getattr(tokenizer, "name_or_path", "") or ""),
        )

    @classmethod
    def load(cls, name_or_path: str) -> FrozenTokenizer:
        """The tokenizer at a path or Hub name.

        Raises:
            MissingExtraError: transformers is not installed.
        """
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingExtraError(
                f"ApplyTemplate(tokenizer={name_or_path!r})", "transformers", "transformers"
            ) from None
        return cls.of(AutoTokenizer.from_pretrained(name_or_path))

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits made of everything but the name: the same in every process, and before and after use."""
        known = [self.backend, dict(self.chat_templates), dict(self.special_tokens)]
        return hashlib.blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=16).hexdigest()

    @cached_property
    def encoder(self) -> Tokenizer:
        """A Rust tokenizer of our own, which adds nothing to a text and whose offsets cover all of it."""
        from tokenizers import Tokenizer

        if self.backend is None:
            raise ArgumentError(
                f"ApplyTemplate(tokenize=True) needs a fast tokenizer, which {self!r} is not. Load it with "
                f"AutoTokenizer.from_pretrained(..., use_fast=True), or write text with tokenize=False."
            )
        encoder = Tokenizer.from_str(self.backend)
        # It would add special tokens, which templates write themselves, and cut blanks off the offsets.
        encoder.post_processor = None
        return encoder

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"FrozenTokenizer({self.name_or_path or self.fingerprint!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "chat_templates": dict(self.chat_templates),
            "special_tokens": dict(self.special_tokens),
            "name_or_path": self.name_or_path,
        }


def _settled(backend: str) -> str:
    state = json.loads(backend)
    state["truncation"] = state["padding"] = None
    return json.dumps(state, ensure_ascii=False)
