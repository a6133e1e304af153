"""One form for text that comes from everywhere: Unicode normalisation, repaired encodings, no control characters.

Text that is in order already, which is most text, is only read, 64 bytes at a time. Python sees a row only if it holds
characters that its normalisation form may not have, or that look like UTF-8 read in another encoding.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.clean.rewrite import RewriteStep, Rewritten
from tilth.errors import MissingExtraError
from tilth.step import require
from tilth.text.strings import Strings, strings_of

if TYPE_CHECKING:
    from tilth.clean._normalize_kernel import Tables

Form = Literal["NFC", "NFKC"]

ROUNDS = 16
"""Mending one thing can bring out another: a row is looked at again after it changed, at most so often."""


@dataclass(frozen=True, init=False)
class Normalize(RewriteStep):
    """Write text in one way: the same characters, the same white space, nothing unseen. Doing it twice changes nothing.

    Args:
        *columns: the texts.
        form: the Unicode normalisation form; NFKC also replaces ligatures, full-width letters and the like. None for
            none.
        mojibake: repair UTF-8 that was read in another encoding (`schÃ¶n`), line by line, as `ftfy.fix_encoding` does.
        control: line breaks of all kinds become `\\n`; other control characters (category Cc) go, except the tab, and
            so does the byte order mark U+FEFF.
        white_space: Unicode's spaces (category Zs) become plain ones; spaces and tabs at the end of a line go, and so
            do blank lines at the beginning, line breaks and blanks at the end, and blank lines after two of them.
            Indentation and white space within a line stay.

    Raises:
        ArgumentError: no column, or an unknown form.
        MissingExtraError: `mojibake` is wanted, but ftfy is not installed.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["schÃ¶n  \\r\\n", "x = 1", None]})
        >>> Normalize("text").apply(ds)["text"][:]
        ['schön', 'x = 1', None]
    """

    columns: tuple[str, ...]
    form: Form | None
    mojibake: bool
    control: bool
    white_space: bool

    version: ClassVar[int] = 1

    def __init__(
        self,
        *columns: str,
        form: Form | None = "NFC",
        mojibake: bool = True,
        control: bool = True,
        white_space: bool = True,
    ) -> None:
        self._set(columns=columns, form=form, mojibake=mojibake, control=control, white_space=white_space)
        self._require_columns()
        require(form in ("NFC", "NFKC", None), self, "form", "'NFC', 'NFKC' or None")
        if mojibake and find_spec("ftfy") is None:
            raise MissingExtraError(str(self), "ftfy", "clean")

    def rewrite(self, text: Strings) -> Rewritten | None:
        """The rows that are not in order."""
        made = self._once(text)
        for _ in range(ROUNDS):
            if made is None:
                return None
            now = Strings(made.data, made.offsets, np.ones(len(made.rows), dtype=np.bool_), pa.large_string())
            again = self._once(now)
            if again is None:
                break
            merged = strings_of(again.within(now))
            made = Rewritten(made.rows, merged.data, merged.offsets)
        return made

    def _once(self, text: Strings) -> Rewritten | None:
        from tilth.clean import _normalize_kernel as kernel

        known = kernel.tables(self.form, self.mojibake, self.control, self.white_space)
        flags = kernel.survey(text, known)
        rows = np.flatnonzero(flags)
        if len(rows) == 0:
            return None
        mended = self._mended(text, flags, known)
        return kernel.tidied(mended, rows, known, before=text)

    def _mended(self, text: Strings, flags: npt.NDArray[np.uint8], known: Tables) -> Strings:
        """`text`, its rows that need Python repaired and in the normalisation form."""
        from tilth.clean import _normalize_kernel as kernel

        rows, texts = [], []
        for row in np.flatnonzero(flags & ~np.uint8(kernel.UNTIDY)).tolist():
            found = text.data[text.offsets[row] : text.offsets[row + 1]].tobytes()
            made = kernel.repaired(text, row, known) if flags[row] & kernel.MOJIBAKE else found
            if made == found and not flags[row] & (kernel.FORM | kernel.BROKEN):
                continue
            decoded = made.decode("utf-8", "replace")
            rows.append(row)
            texts.append((unicodedata.normalize(self.form, decoded) if self.form else decoded).encode())
        if not rows:
            return text
        offsets = np.cumsum([0, *(len(made) for made in texts)], dtype=np.int64)
        data = np.frombuffer(b"".join([*texts, b"\0"]), dtype=np.uint8)
        return strings_of(Rewritten(np.array(rows), data, offsets).within(text))
