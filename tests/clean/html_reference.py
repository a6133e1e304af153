"""What `StripHtml` does, in slow plain Python: the grammar as regular expressions, the layout as strings."""

from __future__ import annotations

import re
from html.entities import html5

from tilth.clean import _html_names as names
from tilth.clean._html_names import ELEMENTS

WS = " \t\n\f\r"
NAME = re.compile(rf"([a-zA-Z][a-zA-Z0-9]*)(?=[{WS}/>])")
PIECE = re.compile(
    rf"(?P<space>[{WS}]+)|(?P<slash>/)|[^{WS}/>=<&|+;!?~^][^{WS}/>=<]*"
    rf"(?P<value>[{WS}]*=[{WS}]*(?:\"[^\"]*\"|'[^']*'|[^\"'={WS}><][^{WS}><]*(?!<)|(?=>)))?+"
)
LOOSE = re.compile(
    rf"(?P<space>[{WS}]+)|(?P<slash>/)|[^{WS}/>=<&|+;!?~^][^{WS}/>=<]*"
    rf"(?P<value>[{WS}]*=[{WS}]*(?:[^={WS}><][^{WS}><]*(?!<)|(?=>)))?+"
)
UNFINISHED = re.compile(rf"[{WS}]*=[{WS}]*(?:\"[^\"]*|'[^']*)?\Z")
REFERENCE = re.compile("&(?:#([0-9]+|[xX][0-9a-fA-F]+)|([a-zA-Z][a-zA-Z0-9]*));")


def element(text, at):
    match = NAME.match(text, at)
    name = match[1].lower() if match else None
    return (name, match.end()) if name in ELEMENTS else (None, at)


def attributes(text, at, quotes):
    """The end of the tag, whether it has a value, whether it is closed; or why it is none."""
    valued = closed = False
    piece = PIECE if quotes else LOOSE
    while match := piece.match(text, at):
        at = match.end()
        if match["slash"]:
            closed = True
        elif not match["space"]:
            closed = False
            valued = valued or match["value"] is not None
    if text.startswith(">", at):
        return at + 1, valued, closed
    unfinished = at == len(text) or (
        UNFINISHED.match(text, at) if quotes else re.match(rf"[{WS}]*=[{WS}]*\Z", text[at:])
    )
    return ("ran out" if unfinished else "refused"), valued, closed


def hidden_end(text, at, name):
    depth = 1
    nests = ELEMENTS[name] & names.NESTED
    for match in re.finditer("<(/?)", text[at:]):
        start = at + match.end()
        if at + match.start() < hidden_end.skip or not (match[1] or nests) or element(text, start)[0] != name:
            continue
        close = text.find(">", start)
        if close < 0:
            return -1
        hidden_end.skip = close
        if match[1]:
            depth -= 1
        elif text[close - 1] != "/":
            depth += 1
        if depth == 0:
            return close + 1
    return -1


def code(text, at):
    """Where the code that begins here ends, or -1; and where its backticks end."""
    ticks = re.match("`+", text[at:])[0]
    after = at + len(ticks)
    line = text[text.rfind("\n", 0, at) + 1 : at]
    if len(ticks) >= 3 and not line.strip(" ") and "`" not in text[after:].split("\n")[0]:
        close = re.compile(rf"\n *`{{{len(ticks)},}}").search(text, at)
        return (close.end() if close else len(text)), after
    if len(ticks) <= 8:
        paragraph = text[after:].split("\n\n")[0]
        close = re.search(rf"(?<!`)`{{{len(ticks)}}}(?!`)", paragraph)
        if close:
            return after + close.end(), after
    return -1, after


def tokens(text):
    found = []
    quotes, at = True, 0
    missing = set()
    markdown = not text.lstrip(WS).startswith("<")
    while at < len(text):
        stop, name, kind = -1, None, "nothing"
        if text[at] == "`" and markdown and at + 2 < len(text):
            kind = "code"
            stop, after = code(text, at)
            if stop < 0:
                at = after
                continue
        elif text.startswith("</", at):
            name, after = element(text, at + 2)
            close = re.compile("[^<>]*>").match(text, after)
            if name and close:
                kind, stop = "end", close.end()
        elif text.startswith("<!--", at):
            close = text.find("-->", at + 2)
            stop = close + 3 if close >= 0 else -1
        elif text[at : at + 9].lower() == "<![cdata[":
            kind, close = "cdata", text.find("]]>", at + 9)
            stop = close + 3 if close >= 0 else -1
        elif text[at : at + 9].lower() == "<!doctype" or text[at : at + 5].lower() == "<?xml":
            close = re.compile("[^<>]*>").match(text, at + (9 if text[at + 1] == "!" else 5))
            stop = close.end() if close else -1
        elif text[at] == "<":
            name, after = element(text, at + 1)
            if name:
                stop, valued, closed = attributes(text, after, quotes)
                if stop == "ran out" and quotes:
                    quotes = False
                    continue
                if isinstance(stop, str):
                    stop = -1
                else:
                    kind = "start" if valued or closed or ELEMENTS[name] & names.ALONE else "bare"
                    if ELEMENTS[name] & names.HIDDEN and not closed and name not in missing:
                        hidden_end.skip = 0
                        close = hidden_end(text, stop, name)
                        if close < 0:
                            missing.add(name)
                        else:
                            kind, stop = "nothing", close
        if stop < 0:
            at += 1
            continue
        found.append((at, stop, name, kind))
        at = stop
    return found


def settled(text):
    found = tokens(text)
    ended = {name for _, _, name, kind in found if kind == "end"}
    markup = any(kind not in ("bare", "code") for *_, kind in found)
    if found and not markup and found[0][3] == "bare":
        start, _, name, _ = found[0]
        markup = not text[:start].strip(WS) and bool(ELEMENTS[name] & (names.OPTIONAL | names.PARAGRAPH))
    kept = []
    for start, stop, name, kind in found:
        if kind == "bare":
            if name not in ended and not (markup and ELEMENTS[name]):
                continue
            kind = "start"
        kept.append((start, stop, name, kind))
    return kept


def decoded(match):
    number, name = match.groups()
    if name:
        return html5.get(name + ";", match[0])
    code = int(number[1:], 16) if number[0] in "xX" else int(number)
    if 0x80 <= code < 0xA0:
        code = names.WINDOWS_1252[code - 0x80]
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "\ufffd"
    return chr(code)


class Page:
    def __init__(self):
        self.out, self.floor = "", 0
        self.breaks = self.tabs = self.cells = self.lines = self.lists = self.pres = self.depth = 0
        self.spaced = self.bullet = self.fresh = self.short = False

    def flush(self):
        if self.breaks:
            self.trim()
            if self.out:
                have = len(self.out) - len(self.out.rstrip("\n"))
                self.out += "\n" * (self.breaks - have)
            self.lines, self.spaced = min(2, self.lines + 1), False
        if self.tabs:
            self.out, self.spaced = self.out + "\t" * self.tabs, False
        if self.spaced and self.out and self.out[-1] not in WS:
            self.out += " "
        if self.bullet:
            self.out += "- "
        self.lines = max(1, self.lines)
        self.breaks = self.tabs = 0
        self.spaced = self.bullet = self.fresh = False

    def trim(self):
        self.out = self.out[: self.floor] + self.out[self.floor :].rstrip(WS)

    def verbatim(self, text):
        if text:
            self.flush()
            self.out += text

    def write(self, text, decoding):
        parts = []
        last = 0
        for match in REFERENCE.finditer(text) if decoding else ():
            if decoded(match) != match[0]:
                parts += [(text[last : match.start()], False), (decoded(match), True)]
                last = match.end()
        for part, reference in [*parts, (text[last:], False)]:
            if self.pres:
                self.verbatim(part)
                self.floor = len(self.out) if part else self.floor
            elif self.depth or self.short:
                if reference and (len(part) > 1 or part not in WS):
                    self.verbatim(part)
                    continue
                for word in re.findall(rf"[{WS}]+|[^{WS}]+", part):
                    if word[0] in WS:
                        self.spaced = True
                    else:
                        self.verbatim(word)
            else:
                rest = part
                if self.breaks and not reference:
                    rest = part.lstrip(WS)
                    skipped = part[: len(part) - len(rest)]
                    self.breaks = max(self.breaks, min(2, skipped.count("\n")))
                self.verbatim(rest)

    def tag(self, name, opening):
        traits = ELEMENTS[name]

        def has(bits):
            return bool(traits & bits)

        if has(names.BREAK):
            if self.pres:
                self.verbatim("\n")
                self.floor = len(self.out)
            elif not self.fresh:
                self.breaks = min(2, self.breaks + 1)
            return
        if has(names.PARAGRAPH | names.LINE | names.CELL):
            self.short = opening and has(names.SHORT_FLOW)
        if has(names.ITEM | names.ROW | names.CELL) or (not opening and has(names.LIST | names.TABLE)):
            self.fresh = False
        if has(names.CELL):
            if opening:
                if self.cells and self.lines == 2:
                    self.breaks = 2
                elif self.cells:
                    self.breaks, self.tabs = 0 if self.lines == 1 else self.breaks, self.tabs + 1
                self.cells, self.fresh = self.cells + 1, True
            return
        if has(names.ROW | names.TABLE):
            self.breaks = 1 if has(names.ROW) and self.lines == 1 else self.breaks
            self.cells = self.tabs = self.lines = 0
        elif has(names.ITEM):
            self.bullet = False
            self.breaks = 1 if not opening and self.lines == 1 else self.breaks
            self.lines = 0 if opening else self.lines
        if not self.fresh:
            inner = has(names.LIST) and self.lists > (0 if opening else 1)
            if has(names.PARAGRAPH) and not inner:
                self.breaks = 2
            elif has(names.PARAGRAPH | names.LINE):
                self.breaks = max(1, self.breaks)
        step = 1 if opening else -1
        if has(names.LIST):
            self.lists = max(0, self.lists + step)
        if not opening and has(names.LIST | names.TABLE | names.PRE):
            self.lines = 2
            self.bullet = self.bullet and not has(names.LIST)
        if opening and has(names.ITEM):
            self.bullet = self.fresh = True
        if has(names.PRE):
            self.pres = max(0, self.pres + step)
            if not opening and not self.pres:
                self.out = self.out.rstrip("\r\n")
                self.floor = len(self.out)
        if has(names.FLOW):
            self.depth = max(0, self.depth + step)


def strip_html(text):
    found = settled(text)
    page, at = Page(), 0
    for start, stop, name, kind in found:
        page.write(text[at:start], True)
        at = stop
        if kind == "cdata":
            page.write(text[start + 9 : stop - 3], False)
        elif kind == "code":
            page.verbatim(text[start:stop])
            page.floor = len(page.out)
        elif name:
            page.tag(name, kind == "start")
            if kind == "start" and ELEMENTS[name] & names.PRE:
                at += len(re.match("(?:\r?\n)?", text[at:])[0])
    page.write(text[at:], True)
    if page.breaks:
        page.trim()
    return page.out
