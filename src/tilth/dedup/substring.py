"""Removal of repeated spans: what stands word for word in another text, or further up in the same one.

Deduplicating training data this way (Lee et al., 2022, "Deduplicating Training Data Makes Language Models Better")
removes what whole-row methods cannot see: notices, licences, quoted threads, pages within pages. The search is exact:
every repeated span of `min_length` units is found, and nothing that is not repeated goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa
from datasets import Dataset

from tilth.frame import Frame, Rows, like, stored
from tilth.step import DatasetStep, Dropped, Outcome, fingerprint_after, require
from tilth.text.strings import Mask, strings

if TYPE_CHECKING:
    from tilth.dedup._pieces import Pieces

Unit = Literal["token", "char", "byte"]


@dataclass(frozen=True)
class Substring(DatasetStep):
    """Remove spans that are repeated in the same text or in another one.

    A window of `min_length` units is repeated when the same units stand at another place that it does not overlap. With
    `keep="first"` all that lies in a window goes when the other place comes before it, in the order of the rows; so the
    first copy stays whole, except for what is in it of something that stands still further up. With `keep="none"` every
    copy goes. No window reaches over the end of a row.

    A row goes when something was removed from it and at most white space is left (with `unit="token"`: no word). Its
    evidence names the row that holds the first copy of its longest span. A null goes for a reason of its own.

    Args:
        column: the text, which is rewritten.
        min_length: units of the shortest span that counts.
        unit: `token`: the words of `tilth.text.words`, equal in lower case, whatever stands between them. Punctuation
            after the last word goes with it, punctuation before the first one unless it touches another word, and the
            white space on one side. `char`: code points; the span goes and nothing else. `byte`: bytes of UTF-8; a span
            that would split a character goes without it.
        keep: `first` or `none`.

    Examples:
        >>> from datasets import Dataset
        >>> notice = "Copying and distribution of this file are permitted in any medium."
        >>> ds = Dataset.from_dict({"text": [f"One. {notice}", f"{notice} Two.", notice.upper()]})
        >>> Substring("text", min_length=8).apply(ds)["text"][:]
        ['One. Copying and distribution of this file are permitted in any medium.', 'Two.']
    """

    column: str
    min_length: int = 50
    unit: Unit = "token"
    keep: Literal["first", "none"] = "first"

    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("null_text", "repeated")
    row_evidence: ClassVar[tuple[str, ...]] = ("kept_row",)

    def __post_init__(self) -> None:
        require(isinstance(self.column, str) and bool(self.column), self, "column", "the name of a column")
        is_number = isinstance(self.min_length, int) and not isinstance(self.min_length, bool)
        require(is_number and 1 <= self.min_length < 2**31, self, "min_length", "a whole number from 1 to 2**31 - 1")
        require(self.unit in ("token", "char", "byte"), self, "unit", "'token', 'char' or 'byte'")
        require(self.keep in ("first", "none"), self, "keep", "'first' or 'none'")

    @property
    def writes(self) -> tuple[str, ...]:
        """The text."""
        return (self.column,)

    def run(self, ds: Dataset) -> Outcome:
        """Find what is repeated, write the texts without it, and drop those of which nothing is left."""
        frame = Frame.of(ds)
        offsets, valid, pieces = self._found(frame)
        spans, empty = self._spans(frame, offsets, pieces)
        # Of a span of bytes nothing may be left when it was cut inwards.
        there = spans.begins < spans.ends
        spans, empty = spans.of(there), empty[there]
        codes = np.zeros(len(ds), dtype=np.uint8)
        codes[spans.rows[empty]] = 2
        codes[~valid] = 1
        rows = np.flatnonzero(codes)
        kept_row = _first_copies(pieces, offsets, np.flatnonzero(codes == 2))
        evidence = pa.StructArray.from_arrays([pa.array(kept_row[rows], mask=kept_row[rows] < 0)], names=["kept_row"])
        dropped = Dropped(rows, codes[rows], evidence)
        spans = spans.of(codes[spans.rows] == 0)
        if len(spans.rows) == 0:
            return Outcome.without(dropped, len(ds))
        return Outcome(np.flatnonzero(codes == 0), dropped, self._written(ds, frame, codes == 0, spans))

    def spans(self, ds: Dataset) -> pa.Table:
        """What would go from each text, to be looked at before it goes.

        Args:
            ds: the dataset that the step would be applied to.

        Returns:
            A row for each stretch that is a copy of one other, in order and disjoint; together they are all that goes.
            `row`, `start`, `end`: where it lies, in bytes of UTF-8. `kept_row`, `kept_start`, `kept_end`: where the
            same stands and stays, or with `keep="none"` stood first; null for the first copy itself. With
            `unit="token"` both hold the same words, and what goes between and beside them belongs to `start` and `end`
            alone. With `unit="byte"` two neighbours may meet within a character.

        Raises:
            MissingColumnError: the column is absent.
            ColumnTypeError: it does not hold text.

        Examples:
            >>> from datasets import Dataset
            >>> ds = Dataset.from_dict({"text": ["to be or not to be", "that is: to be or not to be"]})
            >>> Substring("text", min_length=6).spans(ds).to_pylist()
            [{'row': 1, 'start': 8, 'end': 27, 'kept_row': 0, 'kept_start': 0, 'kept_end': 18}]
        """
        self.check(ds.features.arrow_schema)
        frame = Frame.of(ds)
        offsets, _, pieces = self._found(frame)
        pieces = pieces.settled(offsets)
        spans, _ = self._spans(frame, offsets, pieces)
        of_piece = np.cumsum(_begin_spans(pieces, offsets)) - 1
        has_source = pieces.sources >= 0
        sources = np.where(has_source, pieces.sources, 0)
        last = np.where(has_source, sources + (pieces.ends - pieces.begins) - 1, 0)
        located = self._located(frame, offsets, np.concatenate([pieces.begins, sources, last]))
        begins, kept_begins = located[0].reshape(3, -1)[:2]
        kept_ends = located[1].reshape(3, -1)[2]
        # A piece reaches to the next one of the same span, and the outer ones to where the span is cut.
        first, final = np.diff(of_piece, prepend=-1) > 0, np.diff(of_piece, append=len(spans.rows)) > 0
        starts = np.where(first, spans.begins[of_piece], np.maximum(begins, spans.begins[of_piece]))
        following = np.append(begins[1:], 0)
        ends = np.where(final, spans.ends[of_piece], np.minimum(following, spans.ends[of_piece]))
        if self.unit == "byte":
            kept_begins = kept_begins + (starts - begins)
            kept_ends = kept_begins + (ends - starts)
        there = starts < ends
        nowhere = ~has_source[there]
        columns = {"row": spans.rows[of_piece], "start": starts, "end": ends}
        kept = {"kept_row": _rows_of(offsets, sources), "kept_start": kept_begins, "kept_end": kept_ends}
        return pa.table(
            {name: pa.array(values[there], pa.int64()) for name, values in columns.items()}
            | {name: pa.array(values[there], pa.int64(), mask=nowhere) for name, values in kept.items()}
        )

    def _found(self, frame: Frame) -> tuple[Rows, Mask, Pieces]:
        """Where each row begins in units, which rows are text, and the repeated units."""
        from tilth.dedup._repeats import repeats
        from tilth.dedup._sequence import sequence

        made = sequence(frame, self.column, self.unit, str(self))
        found = repeats(made.units, made.offsets, self.min_length, all_copies=self.keep == "none")
        return made.offsets, made.valid, found

    def _spans(self, frame: Frame, offsets: Rows, pieces: Pieces) -> tuple[_Spans, Mask]:
        """Neighbouring pieces as one span in bytes, cut as the unit wants; and whether nothing is left of its row."""
        from tilth.dedup import _cut
        from tilth.dedup._sequence import places

        fresh = _begin_spans(pieces, offsets)
        first, last = pieces.begins[fresh], pieces.ends[np.append(fresh[1:], True)] - 1 if len(fresh) else pieces.ends
        rows = _rows_of(offsets, first)
        gone = np.bincount(rows, weights=last - first + 1, minlength=len(offsets) - 1)

        def cut(table: pa.Table, row: int) -> tuple[Rows, Rows, Mask, Mask]:
            text = strings(table, self.column, str(self))
            here = slice(*np.searchsorted(rows, [row, row + len(text)]))
            local, base = rows[here] - row, offsets[rows[here]]
            both = np.stack([first[here] - base, last[here] - base], axis=1).ravel()
            begins, ends = places(text, self.unit, np.repeat(local, 2), both)
            begins, ends = begins[::2].copy(), ends[1::2].copy()
            gaps = np.zeros(len(local), dtype=np.bool_)
            if self.unit == "token":
                gaps = _cut.tidied(text, local, begins, ends)
                return begins, ends, gaps, gone[rows[here]] == np.diff(offsets)[rows[here]]
            if self.unit == "byte":
                _cut.inwards(text, local, begins, ends)
            return begins, ends, gaps, _cut.blank(text, local, begins, ends)

        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_))
        parts = [nothing, *frame.map_batches(cut, [self.column])] if len(rows) else [nothing]
        begins, ends, gaps, empty = (np.concatenate(part) for part in zip(*parts, strict=True))
        return _Spans(rows, begins, ends, gaps), empty

    def _located(self, frame: Frame, offsets: Rows, units: Rows) -> tuple[Rows, Rows]:
        """The bytes of a row at which each of these units begins and ends."""
        from tilth.dedup._sequence import places

        order = np.argsort(units, kind="stable")
        ascending = units[order]
        rows = _rows_of(offsets, ascending)
        numbers = ascending - offsets[rows]

        def locate(table: pa.Table, row: int) -> tuple[Rows, Rows]:
            text = strings(table, self.column, str(self))
            here = slice(*np.searchsorted(rows, [row, row + len(text)]))
            return places(text, self.unit, rows[here] - row, numbers[here])

        begins, ends = np.empty_like(units), np.empty_like(units)
        at = 0
        for found in frame.map_batches(locate, [self.column]) if len(units) else ():
            part = order[at : at + len(found[0])]
            begins[part], ends[part] = found
            at += len(part)
        return begins, ends

    def _written(self, ds: Dataset, frame: Frame, kept: Mask, spans: _Spans) -> Dataset:
        """The kept rows with their texts cut: the text laid over the rest where all rows are kept, else all anew."""
        from tilth.dedup import _cut

        fingerprint = fingerprint_after(ds, self)
        beside = bool(kept.all()) and frame.rows is None and frame.dataset._indices is None
        columns = [self.column] if beside else ds.column_names
        schema = pa.schema([ds.data.schema.field(name) for name in columns])

        def cut(table: pa.Table, row: int) -> pa.Table:
            text = strings(table, self.column, str(self))
            stays = kept[row : row + len(text)]
            here = spans.of(slice(*np.searchsorted(spans.rows, [row, row + len(text)])))
            made = _cut.cut(text, stays, here.rows - row, here.begins, here.ends, here.gaps)
            field = schema.field(self.column)
            others = table if stays.all() else table.filter(pa.array(stays))
            return others.set_column(table.column_names.index(self.column), field, made.cast(field.type))

        written = stored(frame.dataset, fingerprint, schema, frame.map_batches(cut, columns))
        return frame.lay_over(written, fingerprint).dataset if beside else like(ds, written, fingerprint)


@dataclass(frozen=True, eq=False)
class _Spans:
    """Spans to cut, ascending and disjoint.

    Attributes:
        rows: the row of each.
        begins: in bytes from the beginning of the row.
        ends: likewise.
        gaps: whether a space takes the place of the span.
    """

    rows: Rows
    begins: Rows
    ends: Rows
    gaps: Mask

    def of(self, chosen: Mask | slice) -> _Spans:
        return _Spans(self.rows[chosen], self.begins[chosen], self.ends[chosen], self.gaps[chosen])


def _rows_of(offsets: Rows, units: Rows) -> Rows:
    return np.searchsorted(offsets, units, side="right") - 1


def _begin_spans(pieces: Pieces, offsets: Rows) -> Mask:
    """Whether each piece does not go on from the one before it in the same row."""
    apart = np.ones(len(pieces), dtype=np.bool_)
    apart[1:] = pieces.begins[1:] != pieces.ends[:-1]
    apart[1:] |= np.diff(_rows_of(offsets, pieces.begins)) > 0
    return apart


def _first_copies(pieces: Pieces, offsets: Rows, rows: Rows) -> Rows:
    """For each of these rows the row in which the first copy of its longest piece stands, or -1; for any other -1."""
    found = np.full(len(offsets) - 1, -1, dtype=np.int64)
    row_of = _rows_of(offsets, pieces.begins)
    wanted = np.flatnonzero(np.isin(row_of, rows) & (pieces.sources >= 0))
    order = wanted[np.lexsort((wanted, (pieces.begins - pieces.ends)[wanted], row_of[wanted]))]
    longest = order[np.diff(row_of[order], prepend=-1) > 0]
    source = _rows_of(offsets, pieces.trace(pieces.begins[longest]))
    found[row_of[longest]] = np.where(source == row_of[longest], -1, source)
    return found
