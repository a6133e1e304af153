"""Steps in a row, over one dataset, with an account of every row.

`run` does the work and resumes after a kill, `trial` tries all steps on a sample, `plan` finds the cheapest order that
gives the same rows.
"""

from __future__ import annotations

import shutil
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import numpy as np
from datasets import Dataset, concatenate_datasets, config, is_caching_enabled

from tilth.errors import ArgumentError
from tilth.frame import Rows, materialised_with
from tilth.ledger import Ledger
from tilth.names import names_of
from tilth.plan import Plan, make_plan
from tilth.report import Report
from tilth.run import Run
from tilth.step import Step
from tilth.trial import Trial, make_trial


class Pipeline:
    """Steps that are done one after the other.

    A step's name is its class, numbered where a class comes twice; give a name with a tuple.

    Args:
        steps: each a `Step`, or a tuple of a name and a `Step`.

    Raises:
        ArgumentError: there is no step, one of them is none, or two have one name.

    Examples:
        >>> from datasets import Dataset
        >>> from tilth import Pipeline
        >>> from tilth.filters import WordCount
        >>> pipeline = Pipeline(("not too short", WordCount("text", min=2)))
        >>> curated = pipeline.run(Dataset.from_dict({"text": ["one", "one two"]}))
        >>> curated.dataset["text"][:], curated.rejected["reason"][:]
        (['one two'], ['too_few_words'])
    """

    def __init__(self, *steps: Step | tuple[str, Step]) -> None:
        self.names: tuple[str, ...] = names_of(steps)
        self.steps: tuple[Step, ...] = tuple(step[1] if isinstance(step, tuple) else step for step in steps)

    def run(
        self,
        ds: Dataset,
        *,
        cache_dir: str | Path | None = None,
        order: Literal["written", "planned"] | Plan = "written",
    ) -> Curated:
        """Do all steps. A run that was killed goes on where it was; a run that was done costs nothing.

        Args:
            ds: the source; it is left as it is.
            cache_dir: where the steps' products are kept, by default `tilth` in the cache of `datasets`. With caching
                disabled (`datasets.disable_caching()`) they go to a folder that lives as long as the result.
            order: `"written"`; `"planned"`, the cheapest order that gives the same rows; or a `Plan` made before.

        Raises:
            MissingColumnError: a step reads a column that neither the source has nor an earlier step writes.
            ColumnTypeError: a column has a type that a step cannot read.
            OSError: the disk is full; run again with room, and it goes on.
        """
        _require_dataset(ds)
        self.check(ds)
        temporary = None
        if cache_dir is None and not is_caching_enabled():
            cache_dir = temporary = mkdtemp(prefix="tilth-")
        root = Path(cache_dir) if cache_dir is not None else Path(config.HF_DATASETS_CACHE) / "tilth"
        places = list(range(len(self.steps)))
        if order == "planned":
            places = make_plan(self.steps, self.names, ds, cache=root).order
        elif isinstance(order, Plan):
            places = order.order
        elif order != "written":
            raise ArgumentError(f"order={order!r} is not allowed; it must be 'written', 'planned' or a Plan.")
        work = Run(ds, root, [self.steps[place] for place in places], [self.names[place] for place in places])
        dataset = work.result(in_order=self.steps)
        curated = Curated(dataset, self, work.report(dataset), work.ledger, work.rows, _source=ds, _work=work)
        if temporary is not None:
            weakref.finalize(curated, shutil.rmtree, temporary, ignore_errors=True)
        return curated

    def trial(self, ds: Dataset, rows: int = 200, seed: int = 0) -> Trial:
        """Try all steps on a random sample and say what the whole would give and take.

        Args:
            ds: the source.
            rows: how many rows to try.
            seed: of the sample.
        """
        _require_dataset(ds)
        self.check(ds)
        if rows < 1:
            raise ArgumentError(f"rows={rows} is not allowed; it must be one or more.")
        return make_trial(self.steps, self.names, ds, rows, seed)

    def plan(self, ds: Dataset, rows: int = 1000, seed: int = 0) -> Plan:
        """Measure each step on a sample and find the cheapest order that gives the same rows.

        Args:
            ds: the source.
            rows: how many rows to measure on.
            seed: of the sample.
        """
        _require_dataset(ds)
        self.check(ds)
        return make_plan(self.steps, self.names, ds, rows=rows, seed=seed)

    def check(self, ds: Dataset) -> None:
        """Refuse data that a step could not work on, before any work.

        Raises:
            MissingColumnError: a step reads a column that neither the source has nor an earlier step writes.
            ColumnTypeError: a column has a type that a step cannot read.
        """
        schema = ds.features.arrow_schema
        for step in self.steps:
            step.check(schema)
            schema = step.schema(schema)

    def __repr__(self) -> str:
        lines = (f"  {name}: {step!r}" for name, step in zip(self.names, self.steps, strict=True))
        return "Pipeline(\n" + "\n".join(lines) + "\n)"


@dataclass(frozen=True, eq=False, repr=False)
class Curated:
    """What a pipeline made of a dataset.

    Attributes:
        dataset: the result.
        pipeline: what made it.
        report: the funnel.
        ledger: the fate of every row.
        rows: for each row of `dataset` its number in the ledger, which is its row of the source unless it was added.
    """

    dataset: Dataset
    pipeline: Pipeline
    report: Report
    ledger: Ledger
    rows: Rows
    _source: Dataset = field(kw_only=True)
    _work: Run = field(kw_only=True)

    @cached_property
    def rejected(self) -> Dataset:
        """The dropped rows as they were in the source, with `rejected_by`, `reason` and `evidence` (JSON).

        A row that a step had added is given as it was made. Where the source has a column of one of these names, ours
        is called `tilth_` and that name.
        """
        rows = self.ledger.rejected_rows()
        theirs = self._source.with_format(None).select(rows[: np.searchsorted(rows, self.ledger.source_rows)])
        added = self._work.added_rows(rows[len(theirs) :], self._source)
        originals = theirs if added is None else concatenate_datasets([theirs, added])
        account = self.ledger.rejections().rename_columns(
            [
                f"tilth_{name}" if name in self._source.column_names else name
                for name in ("rejected_by", "reason", "evidence")
            ]
        )
        checkpoint = self._work.checkpoint.after("rejected")
        return materialised_with(originals, account, checkpoint.folder / "rejected.arrow", checkpoint.fingerprint)

    @property
    def recipe(self) -> str:
        """The pipeline as YAML."""
        from tilth.recipe.write import dumps

        return dumps(self.pipeline, lossy=True)

    def save(self, folder: str | Path, *, license: str | None = None) -> Path:
        """Write the result to a folder, which appears whole or not at all.

        It holds `data/` and `rejected/` with Parquet files, `recipe.yaml`, the dataset card `README.md` and
        `report.html`; `datasets.load_dataset(folder)` reads it (a folder that is written again under the same name
        is found in its cache as it was; `tilth.sources.load` reads it fresh), and it can be pushed to the Hub as it is.

        Args:
            folder: a folder that is not there yet, or is empty.
            license: an identifier for the card, such as `apache-2.0`.

        Raises:
            ArgumentError: the folder holds something.
            OSError: the disk is full, or the folder cannot be written.
        """
        from tilth.hub import card
        from tilth.hub.layout import split_name
        from tilth.parquet import write_parquet

        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ArgumentError(f"{folder} is there already and not empty; name another folder, or remove it first.")
        target = folder.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            split = split_name(self.dataset)
            write_parquet(self.dataset, draft / "data", split)
            if len(self.rejected):
                write_parquet(self.rejected, draft / "rejected", split)
            (draft / "recipe.yaml").write_text(self.recipe, encoding="utf-8")
            (draft / "README.md").write_text(card(self, license=license), encoding="utf-8")
            self.report.save(draft / "report.html")
            draft.chmod(0o755)
            draft.replace(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return folder

    def __repr__(self) -> str:
        return (
            f"Curated(dataset: {len(self.dataset):,} rows, rejected: {len(self.ledger.rejected_rows()):,} rows)\n"
            f"{self.report}"
        )

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def _require_dataset(ds: object) -> None:
    if not isinstance(ds, Dataset):
        raise TypeError(
            f"a pipeline runs on a Dataset, not on {type(ds).__name__}. For a DatasetDict run it on each split, "
            f'for example pipeline.run(ds["train"]); for an IterableDataset use step.apply(ds).'
        )
