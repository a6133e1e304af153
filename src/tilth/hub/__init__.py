"""Publishing: a curated dataset, its account and its recipe as one commit on the Hugging Face Hub."""

from __future__ import annotations

from tilth.hub.push import Published, publish
from tilth.hub.readme import card

__all__ = ["Published", "card", "publish"]
