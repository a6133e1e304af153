"""Text out of HTML, and plain text left alone.

A kernel finds the tags (`_html_tokens`) and writes what is between them (`_html_text`) without making a tree, so broken
mark-up is no special case. A text in which there is no tag and no character reference stays as it is, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from tilth.clean.rewrite import RewriteStep, Rewritten
from tilth.step import require
from tilth.text.strings import Strings

Mode = Literal["text"]


@dataclass(frozen=True, init=False)
class StripHtml(RewriteStep):
    """Take the text out of HTML: tags and what is hidden go, blocks become paragraphs, references become characters.

    What is no HTML stays: `a < b`, `List<int>`, `x<y`, `#include <map>`. `docs/clean.md` says what counts as a tag.

    Args:
        *columns: the texts.
        mode: what becomes of mark-up; `text` drops it.

    Raises:
        ArgumentError: no column, or an unknown mode.

    Examples:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["<p>Salt &amp; <b>pepper</b></p><ul><li>one<li>two</ul>", "if a <b: x"]})
        >>> StripHtml("text").apply(ds)["text"][:]
        ['Salt & pepper\\n\\n- one\\n- two', 'if a <b: x']
    """

    columns: tuple[str, ...]
    mode: Mode

    version: ClassVar[int] = 1

    def __init__(self, *columns: str, mode: Mode = "text") -> None:
        self._set(columns=columns, mode=mode)
        self._require_columns()
        require(mode in get_args(Mode), self, "mode", f"one of {list(get_args(Mode))}")

    def rewrite(self, text: Strings) -> Rewritten | None:
        """The rows that hold tags or character references."""
        from tilth.clean._html_text import strip

        return strip(text)
