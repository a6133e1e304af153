"""What tests of the Hub do in a process of their own, whose environment names the stand-in before the first import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, concatenate_datasets, load_dataset

import tilth
from tests.hub.stand_in import TOKEN
from tilth.ledger import Example, StepRecord
from tilth.report import Report

RECIPE = "tilth: 1\nsteps:\n- filters.WordCount: {column: text, min: 2}\n"


@dataclass
class Made:
    """As much of a `tilth.Curated` as publishing needs."""

    dataset: Dataset
    rejected: Dataset
    report: Report
    recipe: str = RECIPE


def made(
    columns: dict[str, list[Any]],
    rejected: dict[str, list[Any]] | None = None,
    features: Features | None = None,
    split: str | None = None,
    name: str = "length",
    reason: str = "too_few_words",
    recipe: str = RECIPE,
    example: str = "",
) -> Made:
    """A curated dataset of these columns. `rejected` has the same columns, and the report shows `example`."""
    kept = Dataset.from_dict(columns, features=features, split=split)
    dropped = Dataset.from_dict(rejected or {key: [] for key in columns}, features=features or kept.features)
    rows = len(dropped)
    account = Dataset.from_dict({"rejected_by": [name] * rows, "reason": [reason] * rows, "evidence": ["1"] * rows})
    dropped = concatenate_datasets([dropped, account], axis=1) if rows else dropped
    step = StepRecord(
        name,
        "WordCount",
        "filter",
        rows_in=len(kept) + rows,
        rows_out=len(kept),
        dropped={reason: rows} if rows else {},
    )
    step.examples = [Example(0, "text", example, reason=reason)]
    report = Report(rows_in=len(kept) + rows, rows_added=0, rows_out=len(kept), steps=(step,))
    return Made(kept, dropped, report, recipe)


def publish(curated: dict[str, Any], repo_id: str, **options: Any) -> tilth.hub.Published | str:
    """Publish what `made` makes of `curated`; the text of the error where there is one."""
    return _publish(made(**curated), repo_id, **options)


def publish_rows(repo_id: str) -> tilth.hub.Published | str:
    """Publish a dataset that no pipeline made."""
    return _publish(Dataset.from_dict({"text": ["a"]}), repo_id)


def run_and_publish(repo_id: str) -> tilth.hub.Published | str:
    """Publish what a real pipeline makes."""
    texts = ["one two three", "one", "a b c", None]
    pipeline = tilth.Pipeline(("length | *x*", tilth.filters.WordCount("text", min=2)))
    curated = pipeline.run(Dataset.from_dict({"text": texts}))
    return _publish(Made(curated.dataset, curated.rejected, curated.report), repo_id)


def _publish(curated: Any, repo_id: str, **options: Any) -> tilth.hub.Published | str:
    try:
        return tilth.hub.publish(curated, repo_id, **{"token": TOKEN, **options})
    except (tilth.errors.TilthError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def load(repo_id: str, name: str | None = None, **options: Any) -> dict[str, tuple[Features, dict[str, list[Any]]]]:
    """Features and rows of each split, as `load_dataset` gives them."""
    found = load_dataset(repo_id, name, token=TOKEN, **options)
    return {split: (part.features, part.to_dict()) for split, part in found.items()}


def stream(repo_id: str, name: str | None = None, split: str = "train") -> list[dict[str, Any]]:
    return list(load_dataset(repo_id, name, split=split, streaming=True, token=TOKEN))
