"""Rows that an index does not have, and of those one of each group: deduplication against what was seen before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from tilth.dedup._look_up import NOWHERE
from tilth.dedup._manifest import Manifest
from tilth.dedup._signer import INDEXED, fitting, signer_of
from tilth.dedup.groups import MARKS, Deduplicator, Groups
from tilth.dedup.index import MATCH, Index
from tilth.dedup.keep import Keep
from tilth.errors import ArgumentError
from tilth.frame import Rows
from tilth.step import identity, require


@dataclass(frozen=True)
class NotIn(Deduplicator):
    """Drop rows that are in an index, and of the others all but one of each group.

    It is `step.apply(ds, index=index)` as a step.

    Every indexed row counts as one that stays: a row that equals it or is similar to it goes for the reason `indexed`,
    and so does every copy of that row. Where the step's groups are components, whatever is connected with an indexed
    row goes. Rows are not added to the index; `index.append` does that when they have been seen to the end.

    The evidence of a dropped row is `kept_row`, the row of the same data that stands for it, or `indexed`, the part,
    row and id of an indexed one; and the `similarity` of the two.

    Args:
        step: a `MinHash` or an `Exact`, with the fields that the index was built with.
        index: an `Index`, or the folder where one lives; it is read as it is when the step is done.
        within: whether rows are compared with each other, too.

    Raises:
        ArgumentError: a field of `step` makes other signatures than those in the index.
        SourceError: there is no index, it is damaged or cut short, or signatures have changed since it was built.

    Examples:
        >>> from datasets import Dataset
        >>> from tilth.dedup import Exact, Index
        >>> index = Index.build(Dataset.from_dict({"text": ["A"]}), Exact("text"), name="old")
        >>> new = Dataset.from_dict({"text": ["A", "A", "A", "B", "B", "C"]})
        >>> NotIn(Exact("text"), index).apply(new)["text"][:]
        ['B', 'C']
        >>> NotIn(Exact("text"), index).run(new).dropped.evidence[0].as_py()["indexed"]
        {'part': 'old', 'row': 0, 'id': None}
    """

    step: Deduplicator
    index: Index | str
    within: bool = True

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "duplicate", "near_duplicate", "indexed")
    marks: ClassVar[pa.Schema] = pa.schema([*MARKS, pa.field("duplicate_of_indexed", MATCH)])

    def __post_init__(self) -> None:
        if isinstance(self.index, Path):
            self._set(index=str(self.index))
        require(
            isinstance(self.index, Index | str) and self.index != "", self, "index", "an Index or the folder of one"
        )
        require(isinstance(self.within, bool), self, "within", "True or False")
        try:
            signer_of(self.step)
        except ArgumentError:
            require(False, self, "step", "a MinHash or an Exact")
        if isinstance(self.index, Index):
            self.index.fitting(self.step)

    @property
    def keep(self) -> Keep:  # type: ignore[override]
        """That of the step."""
        return self.step.keep

    @property
    def reads(self) -> tuple[str, ...]:
        """What the step reads."""
        return self.step.reads

    @property
    def reads_text(self) -> tuple[str, ...]:
        """What the step reads as text."""
        return self.step.reads_text

    @property
    def fingerprint(self) -> str:
        """That of the step and of what is in the index now: it changes when something is added."""
        return hashlib.blake2b(json.dumps(identity(self)).encode(), digest_size=16).hexdigest()

    def check(self, schema: pa.Schema) -> None:
        """Refuse data or an index that this step cannot work on, before any work."""
        super().check(schema)
        if isinstance(self.index, str):
            fitting(self.step, Manifest.read(Path(self.index)), f"the index at {self.index}")
        else:
            self.index.fitting(self.step)

    def groups(self, ds: Dataset, splits: Sequence[int] | None = None) -> Groups:
        """Look all rows up, and group those that are not in the index."""
        index = self._opened()
        signer = index.fitting(self.step)
        found = index.look_up(signer, len(ds))
        groups = signer.groups(ds, splits, found) if self.within else signer.alone(ds, found)
        hits = found.hits
        groups.kept[hits], groups.similarity[hits], groups.codes[hits] = hits, found.similarity[hits], INDEXED
        return _Matched(groups.kept, groups.similarity, groups.codes, found.stored, index)

    def _opened(self) -> Index:
        """The index as it is now; what was read of a folder is kept until something is added there."""
        if isinstance(self.index, Index):
            return self.index
        known: Index | None = self.__dict__.get("_known")
        if known is None or known.fingerprint != _content(self.index):
            known = Index.load(self.index)
            self._set(_known=known)
        return known

    def _evidence(self, found: Groups, rows: Rows) -> pa.StructArray:
        """For each of these rows, which are dropped, the row of the data or of the index that stands for it."""
        alone, indexed = found.kept[rows] == rows, found.codes[rows] == INDEXED
        fields = [
            pa.array(found.kept[rows], mask=alone),
            pa.array(found.similarity[rows], mask=alone & ~indexed),
            _names(found, rows),
        ]
        return pa.StructArray.from_arrays(fields, names=["kept_row", "similarity", "indexed"])

    def _marks(self, found: Groups) -> pa.Table:
        """The marks of the step, the similarity to indexed rows among them, and which rows those are."""
        marks, at = super()._marks(found), MARKS.get_field_index("duplicate_similarity")
        similarity = pc.if_else(pa.array(found.codes == INDEXED), pa.array(found.similarity), marks.column(at))
        marks = marks.set_column(at, MARKS.field(at), similarity)
        rows = np.arange(len(found.codes), dtype=np.int64)
        return marks.append_column(self.marks.field("duplicate_of_indexed"), _names(found, rows))

    def __getstate__(self) -> dict[str, Any]:
        # A path alone would bring back results for what was there yesterday.
        return {**super().__getstate__(), "content": _content(self.index)}


@dataclass(frozen=True, eq=False)
class _Matched(Groups):
    """Groups, and for each row the stored row of an index that it equals or is near, or `NOWHERE`."""

    stored: Rows
    index: Index


@identity.register
def _(value: NotIn) -> object:
    """By content: an index is the same wherever it lives, and another one when something was added."""
    return ["tilth.dedup.not_in.NotIn", value.version, identity(value.step), value.within, _content(value.index)]


def _content(index: Index | str) -> str:
    return index.fingerprint if isinstance(index, Index) else Manifest.read(Path(index)).fingerprint


def _names(found: Groups, rows: Rows) -> pa.StructArray:
    assert isinstance(found, _Matched)
    return found.index.named(np.where(found.codes[rows] == INDEXED, found.stored[rows], NOWHERE))
