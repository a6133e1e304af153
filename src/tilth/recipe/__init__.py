"""A pipeline as a YAML file, and back."""

from __future__ import annotations

from typing import Any

from tilth.recipe.write import dumps as dumps

__all__ = ["Recipe", "dumps", "load", "loads"]


def __getattr__(name: str) -> Any:
    # Reading makes pipelines, and pipelines write recipes: only who reads loads that part.
    if name in __all__:
        from tilth.recipe import read

        return getattr(read, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
