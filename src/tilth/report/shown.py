"""How numbers, times and foreign text are shown to people: in a terminal, in a notebook and on a page.

Text from a dataset can hold anything. What a reader could not see, or what would reorder or break its surroundings, is
shown as an escape such as `\\u202e`; the rest is shown as it is.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import cache
from itertools import groupby
from math import isfinite

THIN = "\u202f"
"""Between groups of three digits: a narrow space at which no line breaks."""
FIXED = "\u00a0"
"""Between a number and its unit: a space at which no line breaks."""

MARKS = 8
"""No script stacks more marks than this on a letter; more are counted instead of drawn over other lines."""
_DRAWN = 2
_MANY_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MARKS + 1},}}")
_JOINERS = "\u200c\u200d"
"""Invisible, but Persian spelling and most emoji are made with them."""
_SHOWN_SIGNS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Format characters by category that do have a glyph."""

CONTEXT = 60
"""How many unchanged characters a diff shows on each side of a change."""
_COMPARED = 4_000
_RUN = 600
_CHANGES = 12
_PAIRS = 60_000
_WORD = 200
_NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(
    rf"\n|[^\S\n]+|[^\s!-/:-@\[-^`{{-~\u2000-\u200b\u2010-\u206f\u3000-\u3004\u3008-\u303f\uff00-\uff0f{_NO_SPACES}]+|.",
    re.DOTALL,
)
_WHITE = str.maketrans({" ": "␣", "\n": "↵\n", "\t": "⇥\t"})


def number(value: float) -> str:
    """A count with a thin space between thousands; what is not whole has one decimal below a hundred, none above.

    Examples:
        >>> number(26000).replace(THIN, " "), number(3.14159)
        ('26 000', '3.1')
    """
    if not isfinite(value):
        return "–"
    if value != int(value):
        value = round(value, 1) if abs(value) < 100 else round(value)
    return f"{value:,}".replace(",", THIN)


def short_number(value: float, exact: int = 100_000) -> str:
    """A count in at most five characters, for where there is no room; below `exact` all its digits.

    Examples:
        >>> short_number(26_000), short_number(26_000, exact=1000), short_number(9_999_999_999)
        ('26000', '26.0k', '10.0G')
    """
    if not isfinite(value):
        return "–"
    size = abs(value)
    if size < min(exact, 99_999.5):
        return f"{value:.0f}"
    for unit, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if size < 99.95 * unit:
            return f"{value / unit:.1f}{letter}"
        if size < 999.5 * unit:
            return f"{value / unit:.0f}{letter}"
    return f"{value / 1e12:.1f}T"


def seconds(value: float, *, short: bool = False) -> str:
    """A span of time, to two or three digits; `short` has one unit.

    Examples:
        >>> [seconds(s).replace(FIXED, " ") for s in (0.34, 1.2, 75, 11_520)]
        ['340 ms', '1.2 s', '1 min 15 s', '3 h 12 min']
    """
    if not isfinite(value):
        return "–"
    if value <= 0:
        return f"0{FIXED}s"
    if value < 0.001:
        return f"<1{FIXED}ms"
    if value < 0.9995:
        return f"{value * 1000:.0f}{FIXED}ms"
    if value < 59.95:
        return f"{value:.1f}{FIXED}s"
    if short:
        for unit, length, most in (("min", 60, 59.95), ("h", 3_600, 23.95)):
            if value / length < most:
                return f"{value / length:.1f}{FIXED}{unit}"
        return f"{short_number(value / 86_400)}{FIXED}d"
    for large, in_large, small, in_small in (("min", 60, "s", 1), ("h", 3_600, "min", 60), ("d", 86_400, "h", 3_600)):
        whole, rest = divmod(round(value / in_small), in_large // in_small)
        if large == "d" or whole < (60 if large == "min" else 24):
            return f"{number(whole)}{FIXED}{large}" + (f"{FIXED}{rest}{FIXED}{small}" if rest else "")
    raise AssertionError("days have no upper bound")


def percent(share: float) -> str:
    """A share in percent. Only nothing is 0% and only all is 100%.

    Examples:
        >>> [percent(share) for share in (0, 0.0001, 0.5, 0.99999, 1)]
        ['0%', '<0.1%', '50.0%', '>99.9%', '100%']
    """
    if not isfinite(share):
        return "–"
    if share in (0, 1):
        return f"{share:.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def visible(text: str, *, lines: bool = False) -> str:
    """Text in which nothing hides: control characters, bidirectional overrides and lone surrogates become escapes.

    Args:
        text: any text.
        lines: leave line ends and tabs as they are.

    Examples:
        >>> visible("a\\u202eb\\x1b[31m")
        'a\\\\u202eb\\\\x1b[31m'
    """
    return _MANY_MARKS.sub(lambda run: _few_marks(run[0], str), text).translate(_escapes(False, lines))


def escaped(text: str, *, lines: bool = False) -> str:
    """`visible` text for HTML, in an element or an attribute in quotes, with no markup of its own."""
    return html.escape(visible(text, lines=lines))


def visible_html(text: str, *, lines: bool = False) -> str:
    """`visible` text for HTML, its escapes in `<i>`, so that they cannot be mistaken for the text itself."""
    text = _MANY_MARKS.sub(lambda run: _few_marks(run[0], _in_i), html.escape(text))
    return text.translate(_escapes(True, lines))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of a text: its beginning, or beginning and end where there is room for both."""
    if len(text) <= limit:
        return text
    tail = limit // 4 if limit >= 200 else 0
    return text[: limit - tail - 1] + "…" + (text[-tail:] if tail else "")


def excerpt_html(text: str, limit: int) -> str:
    """`visible_html` of at most about `limit` characters of a text: its beginning and its end, and what is between."""
    return _ends(text, limit - limit // 4, limit // 4) if len(text) > limit else visible_html(text, lines=True)


def diff_html(before: str, after: str) -> str:
    """What changed in a text, word by word, as HTML: `<del>` and `<ins>` among some of the words around them.

    Work and output are bounded whatever the texts are. What is left out is said in `<small>`.

    Args:
        before: the text as it was.
        after: the text as it is.

    Examples:
        >>> diff_html("the cat sat", "the dog sat")
        'the <del>cat</del><ins>dog</ins> sat'
    """
    head, tail = _common(before, after)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    skipped = max(len(old), len(new)) - _COMPARED
    if skipped > 0:
        old, new = old[:_COMPARED], new[:_COMPARED]
    pieces = [("=", before[:head], before[:head]), *_changes(old, new)]
    if skipped <= 0:
        pieces.append(("=", before[len(before) - tail :], before[len(before) - tail :]))
    shown: list[str] = []
    changes = 0
    for place, (kind, was, now) in enumerate(pieces):
        if kind == "=":
            shown.append(_context(was, first=place == 0, last=place == len(pieces) - 1))
            continue
        changes += 1
        if changes > _CHANGES:
            shown.append(f"<small>… and {number(sum(p[0] != '=' for p in pieces[place:]))} more changes</small>")
            break
        shown.append(_change(was, now))
    if skipped > 0:
        shown.append(f"<small>… {number(skipped)} more characters are not compared</small>")
    return "".join(shown)


class _Escapes(dict[int, "str | int"]):
    """For `str.translate`: what to show for each character, found out when it first comes up."""

    def __init__(self, wrap: Callable[[str], str], lines: bool) -> None:
        super().__init__({10: "\n", 9: "\t"} if lines else {10: wrap("\\n"), 9: wrap("\\t")})
        self.wrap = wrap

    def __missing__(self, code: int) -> str | int:
        char = chr(code)
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or code & 0xFFFE == 0xFFFE
        shows = hidden and char not in _JOINERS and char not in _SHOWN_SIGNS
        self[code] = self.wrap(_escape(code)) if shows else code
        return self[code]


@cache
def _escapes(marked: bool, lines: bool) -> _Escapes:
    return _Escapes(_in_i if marked else str, lines)


def _in_i(escape: str) -> str:
    return f"<i>{escape}</i>"


def _escape(code: int) -> str:
    if code == 13:
        return "\\r"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _few_marks(run: str, wrap: Callable[[str], str]) -> str:
    """A run of signs in which more than `MARKS` marks on one of them are counted, by kind."""
    shown = []
    for is_mark, group in groupby(run, lambda char: unicodedata.category(char) in ("Mn", "Me")):
        signs = "".join(group)
        many = is_mark and len(signs) > MARKS
        shown.append(signs[:_DRAWN] if many else signs)
        if many:
            counts = Counter(signs[_DRAWN:]).most_common(3)
            others = len(signs) - _DRAWN - sum(count for _, count in counts)
            said = [f"{_escape(ord(mark))}×{count}" for mark, count in counts] + ([f"+{others}"] if others else [])
            shown.append(wrap(" ".join(said)))
    return "".join(shown)


def _common(one: str, other: str) -> tuple[int, int]:
    """How many characters two texts share at their beginning and at their end, cut where words end."""
    size = min(len(one), len(other))
    head = _longest(size, lambda n: one[:n] == other[:n])
    head -= _overlap(lambda back: _inside_word(one, head - back) or _inside_word(other, head - back), head)
    size -= head
    tail = _longest(size, lambda n: one[len(one) - n :] == other[len(other) - n :])
    tail -= _overlap(
        lambda back: _inside_word(one, len(one) - tail + back) or _inside_word(other, len(other) - tail + back), tail
    )
    return head, tail


def _overlap(inside: Callable[[int], bool], most: int) -> int:
    """How far to go back until no word is cut; 0 where the word is too long to show whole."""
    return next((back for back in range(min(most, _WORD) + 1) if not inside(back)), 0)


def _longest(size: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to `size` for which `holds`, which holds for all smaller ones."""
    step, most = 1, 0
    while most + step <= size and holds(most + step):
        most, step = most + step, step * 2
    while step:
        if most + step <= size and holds(most + step):
            most += step
        step //= 2
    return most


def _inside_word(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return False
    pair = text[at - 1 : at + 1]
    token = _TOKEN.match(pair)
    return token is not None and token.end() == 2


def _changes(old: str, new: str) -> Iterator[tuple[str, str, str]]:
    """Runs of words that are equal (`=`) or not (`~`), as they were and as they are."""
    was, now = _TOKEN.findall(old), _TOKEN.findall(new)
    counts = Counter(now)
    if sum(counts[token] for token in was if not token.isspace()) > _PAIRS:
        # So repetitive that matching would take long, and tell little.
        yield "~", old, new
        return
    # White space is no anchor: a sentence rewritten is one change, not one for each space that happens to match.
    matcher = SequenceMatcher(str.isspace, was, now, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        yield "=" if kind == "equal" else "~", "".join(was[a:b]), "".join(now[c:d])


def _context(text: str, first: bool, last: bool) -> str:
    """The unchanged words next to changes; all of a text without any change."""
    if first and last:
        return excerpt_html(text, 4 * _RUN)
    return _ends(text, 0 if first else CONTEXT, 0 if last else CONTEXT)


def _ends(text: str, left: int, right: int) -> str:
    """So many characters of both ends of a text, a little less where a word would be cut, and how many lie between."""
    if len(text) <= left + right + CONTEXT // 2:
        return visible_html(text, lines=True)
    head, tail = text[:left], text[len(text) - right :]
    cut = head.rstrip().rfind(" ")
    head = head[: cut + 1] if cut >= left - 20 else head
    cut = tail.find(" ")
    tail = tail[cut:] if 0 <= cut <= 20 else tail
    said = f"<small>… {number(len(text) - len(head) - len(tail))} characters …</small>"
    return visible_html(head, lines=True) + said + visible_html(tail, lines=True)


def _change(was: str, now: str) -> str:
    # Texts that look the same, a letter with its accent in one piece or in two, are told apart by their codes.
    alike = was != now and unicodedata.normalize("NFC", was) == unicodedata.normalize("NFC", now)
    return "".join(f"<{tag}>{_run(text, codes=alike)}</{tag}>" for tag, text in (("del", was), ("ins", now)) if text)


def _run(text: str, codes: bool) -> str:
    text = shortened(text, _RUN)
    if text.isspace():
        return "".join(
            _in_i(_escape(ord(char))) if ord(char) > 126 or char in "\r\v\f" else char.translate(_WHITE)
            for char in text
        )
    if codes:
        return "".join(visible_html(char) if char.isascii() else _in_i(_escape(ord(char))) for char in text)
    return visible_html(text, lines=True).replace("\n", "↵\n")
