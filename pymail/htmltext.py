"""HTML of mail as text: what a person would read, links behind their words.  Pure.

Nothing is fetched, nothing is run; styles, scripts and comments go.
"""

import re
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser

_MOST = 1 << 22
"""Characters of HTML that are read.  A letter takes a fifth of a second for a million of them,
one that is made to be slow a whole second; memory is up to thirty times as much."""

_MOST_LINKS = 500
_WIDTH = 78
_MARK = re.compile(r"(?:> )+")

_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog"),
        *("div", "dl", "dt", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5"),
        *("h6", "header", "hr", "html", "legend", "li", "main", "nav", "ol", "p", "pre", "section"),
        *("summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    )
)
_SPACED = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "pre", "blockquote"))
_BLANK = re.compile(r"[ \t\n\r\f\xa0]+")
_TAG = re.compile(r"<(!--|[!?]|/?[A-Za-z][^\s<>/]*)[^<>]*(?:>|(?=<)|$)", re.ASCII)
_WHOLE = re.compile(r"""<[^<>"']*(?:(?:"[^"<>]*"|'[^'<>]*')[^<>"']*)*>""")
_QUOTES = re.compile("[\"']")
_SILENT = ("script", "style", "title", "template", "noscript", "object", "svg")
_HIDDEN = {
    "!--": re.compile("-->"),
    **{name: re.compile(f"</{name}[^<>]*>", re.IGNORECASE) for name in _SILENT},
}
"""What ends that which a person never sees.  Where it does not end, it is seen: better too much of
a letter than nothing."""

_GAP = re.compile(r"\n{3,}")


def text(html: str) -> str:
    """Return the text of a document, or of what is left of one.

    Of a document that is longer than any letter, "[...]" on a line of its own stands for the rest.
    """
    made = _Text()
    made.feed("".join(_sound(html[:_MOST])))
    made.close()
    more = "\n[...]" if len(html) > _MOST else ""
    rows = _GAP.sub("\n\n", "".join(made.out)).strip("\n").split("\n")
    return "\n".join(map(_filled, rows)) + more


def _filled(row: str) -> str:
    """Return a paragraph in lines that are short enough to be read, quoted as it is."""
    if len(row) <= _WIDTH:
        return row
    mark = _MARK.match(row)
    return textwrap.fill(
        row,
        _WIDTH,
        subsequent_indent=mark[0] if mark else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sound(html: str) -> Iterator[str]:
    """Yield a document with tags that are whole, and without what a person never sees.

    The parser looks to the end of the document for what ends a comment, a declaration or a tag,
    each time again: what has no end must not reach it, or hostile mail takes minutes.
    """
    at = 0
    hopeless: set[str] = set()
    for found in _TAG.finditer(html):
        if found.start() < at:
            continue
        yield html[at : found.start()].replace("<", "&lt;")
        at = found.end()
        name = found[1].lower()
        if name in _HIDDEN and not (name == "svg" and found[0].endswith("/>")):
            end = None if name in hopeless else _HIDDEN[name].search(html, found.start() + 4)
            if end is None:
                hopeless.add(name)
            else:
                at = max(end.end(), at) if name == "!--" else end.end()
        elif name[0] not in "!?":
            tag = found[0] if found[0].endswith(">") else found[0] + ">"
            yield tag if _WHOLE.fullmatch(tag) else _QUOTES.sub("", tag)
    yield html[at:].replace("<", "&lt;")


class _Text(HTMLParser):
    """Takes the tags and words of a document one after the other."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._links: list[tuple[str, int]] = []
        self._counters: list[int] = []
        self._quote = 0
        self._pre = 0
        self._column = 0
        self._left = _MOST_LINKS

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        if tag in _BLOCKS:
            self._block(tag)
        if tag in {"img", "a"}:
            self._reference(tag, dict(attrs))
        elif tag in {"ul", "ol"}:
            self._counters.append(0 if tag == "ol" else -1)
        elif tag in {"br", "hr"}:
            self._put("-" * 40 if tag == "hr" else "")
            self._newline()
        elif tag in {"td", "th"}:
            self._put("  " if self._column else "")
        elif tag == "li":
            self._item()
        self._quote = min(self._quote + (tag == "blockquote"), 9)
        self._pre += tag == "pre"

    def _reference(self, tag: str, values: dict[str, str | None]) -> None:
        if tag == "a":
            self._links.append((values.get("href") or "", len(self.out)))
        elif alt := (values.get("alt") or "").strip():
            self._put(f"[{alt}]")

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        match tag:
            case "a" if self._links:
                self._link(*self._links.pop())
            case "blockquote":
                self._quote = max(self._quote - 1, 0)
            case "pre":
                self._pre = max(self._pre - 1, 0)
            case "ul" | "ol" if self._counters:
                self._counters.pop()
        if tag in _BLOCKS:
            self._block(tag)

    def handle_data(self, data: str) -> None:
        """Take words."""
        if self._pre:
            for number, row in enumerate(data.split("\n")):
                if number:
                    self._newline()
                self._put(row)
            return
        words = _BLANK.sub(" ", data)
        self._put(words if self._column else words.lstrip())

    def _item(self) -> None:
        depth = len(self._counters)
        mark = "- "
        if self._counters and self._counters[-1] >= 0:
            self._counters[-1] += 1
            mark = f"{self._counters[-1]}. "
        self._put("  " * max(min(depth, 9) - 1, 0) + mark)

    def _link(self, target: str, since: int) -> None:
        plain = target.removeprefix("mailto:")
        if target.startswith("#") or not target or self._left <= 0:
            return
        self._left -= 1
        if plain not in "".join(self.out[since:]):
            self._put(f" <{plain[:1000]}>")

    def _block(self, tag: str) -> None:
        if self._column:
            self._newline()
        if tag in _SPACED and self.out:
            self.out.append("\n")

    def _newline(self) -> None:
        self.out.append("\n")
        self._column = 0

    def _put(self, words: str) -> None:
        if not words:
            return
        if not self._column and self._quote:
            self.out.append("> " * self._quote)
        self.out.append(words)
        self._column += len(words)
