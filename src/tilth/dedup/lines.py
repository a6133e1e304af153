"""Repeated lines, paragraphs and sentences removed from texts: menus, notices and headers that come with every page.

CCNet (Wenzek et al., 2020, arXiv:1911.00359) drops each paragraph that came before; C4 (Raffel et al., 2020,
arXiv:1910.10683) drops all but one of each span of three sentences that comes more than once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import Hasher

from tilth.frame import Frame, Rows, materialised, select_rows, stored
from tilth.step import Column, DatasetStep, Dropped, Outcome, require
from tilth.text.strings import Strings, strings, strings_of
from tilth.text.threads import ordered_map

if TYPE_CHECKING:
    from tilth.dedup._lines import Numbers, Units
    from tilth.dedup._tally import Repeats

Unit = Literal["line", "paragraph", "sentence"]

_REMEMBERED = 256 * 2**20
"""So many bytes of what the first pass found are kept for the second, which then need not look again."""


@dataclass(frozen=True)
class Lines(DatasetStep):
    """Take out of texts each unit that is repeated in the dataset, beyond its first `max_repeats` copies.

    Copies are counted over all rows and within a row, in the order of the rows. What is left of a text is written
    anew: between two units that come together the strongest separator that stood between them stays, so no sentences
    are joined and no blank lines are added; everything else keeps its bytes. A row of which nothing is left is dropped
    for the reason `nothing_left`; the evidence says how many units went and in which row the first of them stays. A
    text without a repeated unit, a blank one too, stays as it is. A null is dropped for a reason of its own,
    `null_text`.

    Units are known by 128-bit hashes; a unit goes only where both halves are those of the copies that stay. The count
    takes about 20 bytes of memory for each different unit of `min_chars` or more; the texts are read twice, in batches.

    Args:
        column: the text.
        min_chars: shorter units never count and never go: characters, as they are compared.
        max_repeats: how many copies of a unit stay, one or more.
        unit: `line`, up to a line break (`\\n` or `\\r\\n`); `paragraph`, up to a blank line; or `sentence`, by rules
            that rather take two for one than cut one in two. Blank lines are no units: they part them.
        span: how many neighbours are compared together; `unit="sentence", span=3` is the rule of C4. A unit goes with
            any span that goes, unless it is in one that stays.
        normalize: compare after folding, as `Exact` does: each character in its simple lower case, each run of white
            space as one space, none at the ends. When false, units are equal when their bytes are.

    Examples:
        >>> from datasets import Dataset
        >>> menu = "Home | Products | About us"
        >>> ds = Dataset.from_dict({"text": [f"{menu}\\nFirst page.", f"{menu}\\nSecond page.", menu.upper()]})
        >>> Lines("text").apply(ds)["text"][:] == [f"{menu}\\nFirst page.", "Second page."]
        True
        >>> Lines("text").repeated(ds)[0]
        {'text': 'Home | Products | About us', 'count': 3, 'row': 0}
    """

    column: str
    min_chars: int = 20
    max_repeats: int = 1
    unit: Unit = "line"
    span: int = 1
    normalize: bool = True

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "nothing_left")
    row_evidence: ClassVar[tuple[str, ...]] = ("kept_row",)

    def __post_init__(self) -> None:
        require(self.min_chars >= 1, self, "min_chars", "one or more")
        require(self.max_repeats >= 1, self, "max_repeats", "one or more")
        require(self.unit in ("line", "paragraph", "sentence"), self, "unit", "'line', 'paragraph' or 'sentence'")
        require(1 <= self.span <= 100, self, "span", "from 1 to 100")
        require(isinstance(self.normalize, bool), self, "normalize", "True or False")

    @property
    def writes(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    def repeated(self, ds: Dataset, top: int = 50) -> Dataset:
        """The units that this step would take out, the most frequent first: to look at before it does.

        Args:
            ds: the data.
            top: how many to give at most.

        Returns:
            A dataset of `text`, the unit as it stands where it came first; `count`, how often it is there; and `row`,
            the first row that has it.

        Raises:
            MissingColumnError: there is no such column.
            ColumnTypeError: it does not hold text.
        """
        require(top >= 1, self, "top", "one or more", top)
        self.check(ds.features.arrow_schema)
        frame = Frame.of(ds)
        counted = self._counted(frame, top)
        for _ in self._decided(frame, counted):
            pass
        repeats = counted.repeats
        found = np.flatnonzero(repeats.counts > self.max_repeats)
        order = np.lexsort((repeats.starts[found], repeats.rows[found], -repeats.counts[found]))
        chosen = found[order[:top]]
        return Dataset(
            pa.table(
                {
                    "text": pa.array(self._texts(frame, repeats, chosen), pa.large_string()),
                    "count": pa.array(repeats.counts[chosen]),
                    "row": pa.array(repeats.rows[chosen]),
                }
            )
        )

    def run(self, ds: Dataset) -> Outcome:
        """Count the units, then write the texts without those that come too often."""
        frame = Frame.of(ds)
        if frame.dataset._indices is not None:
            frame = Frame(materialised(ds))
        counted = self._counted(frame)
        if counted.repeats.empty:
            nulls = counted.null_rows
            return Outcome.without(Dropped(nulls, np.ones(len(nulls), dtype=np.uint8)), len(ds))
        gone: list[_Gone] = []
        schema = pa.schema([frame.dataset.data.schema.field(self.column)])
        fingerprint = str(Hasher.hash([frame.dataset._fingerprint, ds._fingerprint, self.fingerprint, "lines"]))
        batches = self._rewritten(frame, counted, gone)
        written = stored(frame.dataset, fingerprint, schema, batches)
        # Where the texts were on disk already, it must still be found out which rows go.
        for _ in batches:
            pass
        changed = frame.lay_over(written, fingerprint)
        rows = np.concatenate([part.rows for part in gone])
        codes = np.concatenate([part.codes for part in gone])
        first_gone = np.concatenate([part.places for part in gone])
        evidence = pa.StructArray.from_arrays(
            [
                pa.array(np.concatenate([part.units for part in gone]), mask=codes == 1),
                pa.array(counted.repeats.rows[np.maximum(first_gone, 0)], mask=codes == 1),
            ],
            names=["units", "kept_row"],
        )
        outcome = Outcome.without(Dropped(rows, codes, evidence), len(ds))
        alive = outcome.origin if frame.rows is None else frame.rows[outcome.origin]
        if len(alive) == len(changed.dataset):
            return Outcome(outcome.origin, outcome.dropped, changed.dataset)
        return Outcome(outcome.origin, outcome.dropped, select_rows(changed.dataset, alive, fingerprint + "-rows"))

    def _counted(self, frame: Frame, top: int | None = None) -> _Counted:
        """The first pass; with `top` only for the most frequent units, with all that tie with the last of them."""
        from tilth.dedup._tally import Repeats, Tally

        tally = Tally()
        remembered: dict[int, Units] = {}
        left = [_REMEMBERED]

        def counted(table: pa.Table, first_row: int) -> Rows:
            text = strings(table, self.column, str(self))
            found = self._units(text)
            tally.add(found.keys)
            left[0] -= found.nbytes
            if left[0] >= 0:
                remembered[first_row] = found
            return np.flatnonzero(~text.valid) + first_row

        null_rows = [np.zeros(0, dtype=np.int64), *frame.map_batches(counted, [self.column])]
        keys, counts = tally.above(self.max_repeats)
        if top is not None and top < len(counts):
            keys = keys[counts >= np.partition(counts, -top)[-top]]
        return _Counted(Repeats(keys, self.max_repeats), np.concatenate(null_rows), remembered)

    def _units(self, text: Strings) -> Units:
        from tilth.dedup._lines import units

        return units(text, self.unit, self.min_chars, self.span, self.normalize)

    def _decided(self, frame: Frame, counted: _Counted) -> Iterator[_Decided]:
        """The second pass: each batch with what is said of its units, in order."""
        repeats = counted.repeats

        def matched(table: pa.Table, first_row: int) -> tuple[pa.Table, int, Strings, Units, Numbers]:
            text = strings(table, self.column, str(self))
            found = counted.remembered.pop(first_row, None) or self._units(text)
            return table, first_row, text, found, repeats.places(found)

        for table, first_row, text, found, places in frame.map_batches(matched, [self.column]):
            said = repeats.decide(found, places, text.offsets, first_row, self.span)
            yield _Decided(table, first_row, text, found, places, said)

    def _rewritten(self, frame: Frame, counted: _Counted, gone: list[_Gone]) -> Iterator[pa.Table]:
        """The column of each batch anew; `gone` is told which rows are dropped."""
        for part, column in ordered_map(self._written, self._decided(frame, counted)):
            gone.append(part)
            table = pa.table({self.column: column})
            yield frame.spread(table, part.first_row, part.first_row + table.num_rows)

    def _written(self, batch: _Decided) -> tuple[_Gone, Column]:
        from tilth.dedup._lines import GOES, without

        text, column = batch.text, batch.table.column(self.column)
        units, places = np.zeros(len(text), dtype=np.int64), np.full(len(text), -1, dtype=np.int64)
        codes = np.where(text.valid, np.uint8(0), np.uint8(1))
        if (batch.said == GOES).any():
            data, offsets, units, places = without(text, batch.found, batch.places, batch.said, self.span)
            codes[(units > 0) & (np.diff(offsets) == 0)] = 2
            column = text.rebuild(data, offsets).cast(column.type)
        rows = np.flatnonzero(codes)
        return _Gone(batch.first_row, rows + batch.first_row, codes[rows], units[rows], places[rows]), column

    def _texts(self, frame: Frame, repeats: Repeats, chosen: Numbers) -> list[str]:
        """The units at these places as they stand where they came first."""
        rows, whose = np.unique(repeats.rows[chosen], return_inverse=True)
        texts = strings_of(frame.take(self.column, rows), self.column, str(self))
        begins = texts.offsets[whose]
        return [
            texts.data[begin + start : begin + stop].tobytes().decode("utf-8", "replace")
            for begin, start, stop in zip(begins, repeats.starts[chosen], repeats.stops[chosen], strict=True)
        ]


@dataclass(frozen=True, eq=False)
class _Counted:
    """What the first pass found: the units that come too often, the rows without text, and some batches' units."""

    repeats: Repeats
    null_rows: Rows
    remembered: dict[int, Units]


@dataclass(frozen=True, eq=False)
class _Decided:
    """A batch, its units, and what is said of them."""

    table: pa.Table
    first_row: int
    text: Strings
    found: Units
    places: Numbers
    said: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Gone:
    """The rows of a batch that are dropped: why, how many units went from each, and the place of the first's key."""

    first_row: int
    rows: Rows
    codes: npt.NDArray[np.uint8]
    units: Numbers
    places: Numbers
