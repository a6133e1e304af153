"""Dataset engineering on Hugging Face `datasets`: curate, deduplicate, clean, format, inspect and publish.

Everything is loaded on first use, so that `import tilth` costs nothing beyond `import datasets`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilth import chat, clean, dedup, embed, errors, filters, hub, recipe, sources
    from tilth.pipeline import Curated, Pipeline
    from tilth.report import Report
    from tilth.step import DatasetStep, Dropped, FilterStep, MapStep, Outcome, Step, Verdict
    from tilth.text.threads import set_threads

__version__ = "0.1.0"

_ROOMS = ("chat", "clean", "dedup", "embed", "errors", "filters", "hub", "recipe", "sources")
_NAMES = {
    "Curated": "tilth.pipeline",
    "Pipeline": "tilth.pipeline",
    "Report": "tilth.report",
    "DatasetStep": "tilth.step",
    "Dropped": "tilth.step",
    "FilterStep": "tilth.step",
    "MapStep": "tilth.step",
    "Outcome": "tilth.step",
    "Step": "tilth.step",
    "Verdict": "tilth.step",
    "set_threads": "tilth.text.threads",
}

__all__ = [
    "Curated",
    "DatasetStep",
    "Dropped",
    "FilterStep",
    "MapStep",
    "Outcome",
    "Pipeline",
    "Report",
    "Step",
    "Verdict",
    "chat",
    "clean",
    "dedup",
    "embed",
    "errors",
    "filters",
    "hub",
    "recipe",
    "set_threads",
    "sources",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"tilth.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'tilth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
