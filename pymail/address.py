"""RFC 5322 addresses and address lists: parse, quote, qualify.

An address is a str in internal form, as Postfix stores it: the local part without quotes, "@",
the domain ("john doe@example.org"); a bare name has no "@".  The parser is lenient where people
are: names, nested comments, groups, routes, empty elements, and blanks, semicolons or nothing
where a comma should be.  `email.utils` loses half of such lists, and costs 25 ms to import.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SPACE = frozenset(" \t\r\n")
_SPECIAL = frozenset('()<>[]:;@,."\\ \t\r\n')
_ATEXT = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"
)

_CONTROLS = dict.fromkeys(range(32), " ")

_WORD, _QUOTED, _LITERAL, _COMMENT, _BROKEN = "w", "q", "l", "c", "b"


class _Token:
    """One token: a special character itself, a word, quoted string, domain literal, comment.

    `text` is what it means (a quoted string without its quotes); it stands at start:end.
    """

    __slots__ = ("end", "kind", "start", "text")

    def __init__(self, kind: str, text: str, start: int, end: int) -> None:
        self.kind = kind
        self.text = text
        self.start = start
        self.end = end


class Spec:
    """One addr-spec of a list.

    `domain` is None for a bare name; `valid` is false where the text is no address.  The null
    address "<>" has an empty local part and no domain.
    """

    __slots__ = ("domain", "local", "valid")

    def __init__(self, local: str, domain: str | None, *, valid: bool) -> None:
        self.local = local
        self.domain = domain
        self.valid = valid

    @property
    def address(self) -> str:
        """The address in internal form."""
        return self.local if self.domain is None else f"{self.local}@{self.domain}"


def specs(text: str) -> list[Spec]:
    """Return every addr-spec of an address list, in order, the null address included."""
    tokens = _tokens(text)
    found: list[Spec] = []
    run: list[_Token] = []
    opening = ""  # the kind of the first token of the last part of the run
    after_angle = False
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.kind == "<":
            inner, at = _angle(tokens, at)
            found.append(_spec(_without_route(inner)))
            run, after_angle = [], True
        elif token.kind in ",;":
            found += _bare(run, after_angle=after_angle)
            run, after_angle = [], False
        elif token.kind == ":" and (after_angle or (run and opening != ":")):
            found += map(_spec, _parts(run[: _addressed(run)]))
            run, after_angle = [], False
        elif token.kind != ">":
            if not run or not _adjoins(run[-1], token):
                opening = token.kind
            run.append(token)
    return found + _bare(run, after_angle=after_angle)


def mailboxes(text: str) -> list[tuple[str, bool]]:
    """Return every address of a list as (internal form, valid).  The null address is left out."""
    return [(s.address, s.valid) for s in specs(text) if s.local or s.domain]


def split(address: str) -> tuple[str, str]:
    """Return local part and domain ("" where there is none), parted at the last "@"."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (domain, "")


def fold(address: str) -> str:
    """Return the form under which two spellings of an address are the same."""
    return address.lower()


def quote(address: str) -> str:
    """Return the RFC 5321 form of an internal address: the local part quoted where it must be."""
    local, domain = split(address)
    if not _is_dot_atom(local):
        local = _quoted(local)
    return f"{local}@{domain}" if domain else local


def phrase(name: str) -> str:
    """Return a display name as an RFC 5322 phrase, quoted where it has special characters."""
    # Only these: str.split() takes U+00A0 and U+3000 for blanks, too.
    name = " ".join(filter(None, name.translate(_CONTROLS).split(" ")))
    if all(c in _ATEXT or c == " " or c > "\x7f" for c in name):
        return name
    return _quoted(name)


def reverse_path(address: str) -> str:
    """Return an envelope sender; MAILER-DAEMON is a name of the null sender, as in Postfix."""
    return "" if fold(address) == "mailer-daemon" else address


def is_safe(address: str) -> bool:
    """Say whether the address is free of control characters (CR, LF and NUL among them)."""
    return address.isprintable() or not any(c < " " or "\x7f" <= c < "\xa0" for c in address)


def qualify(address: str, origin: str) -> str:
    """Return the address with "@origin" where it is a bare name."""
    return address if "@" in address or not address else f"{address}@{origin}"


def qualify_header(value: bytes, origin: str) -> bytes:
    """Return a header's address list with "@origin" behind every bare name.

    Where no address changes, the value comes back as it was, to the byte.  Otherwise the whole
    list is written anew on one line, as Postfix does: names and comments kept, one blank behind
    each comma, a comma where only a blank or a semicolon stood, routes and needless quotes gone.
    """
    if _is_plain(value):
        return value
    # Most letters of a machine have one of a few senders and recipients.
    known = _qualified.get((value, origin))
    if known is None:
        known = rewrite_header(value, lambda text: qualify(text, origin))
        if len(value) <= _SHORT:
            if len(_qualified) == _MOST_KNOWN:
                _qualified.clear()
            _qualified[value, origin] = known
    return known


_SHORT, _MOST_KNOWN = 256, 1024
_qualified: "dict[tuple[bytes, str], bytes]" = {}


def rewrite_header(value: bytes, rewrite: "Callable[[str], str]") -> bytes:
    """Return a header's address list with each address (internal form) as `rewrite` has it.

    It comes back as it was, or is written anew, as qualify_header() says.
    """
    writer = _Writer(value.decode("utf-8", "surrogateescape"), rewrite)
    return writer.written().encode("utf-8", "surrogateescape") if writer.changed else value


def _is_plain(value: bytes) -> bool:
    """Say whether a value is one qualified address, with or without a simple name."""
    if value.count(b"@") != 1 or b".." in value or value.translate(None, b',;:"(\\[') != value:
        return False
    value = value.strip()
    inner = value[value.find(b"<") + 1 : -1] if value.endswith(b">") else value
    return len(inner.split()) == 1 and inner[:1] != b"@" and not inner.endswith((b".", b"@"))


class _Writer:
    """Writes an address list anew; `changed` says whether an address in it is another now."""

    __slots__ = ("_pieces", "_rewrite", "_text", "changed")

    def __init__(self, text: str, rewrite: "Callable[[str], str]") -> None:
        self._text = text
        self._rewrite = rewrite
        self._pieces: list[str] = []
        self.changed = False
        run: list[_Token] = []
        last: _Token | None = None  # the last word behind a separator
        opening = ""  # the kind of the first token of its part
        tokens = _tokens(text, comments=True)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            at += 1
            if token.kind == "<":
                inner, at = _angle(tokens, at)
                self._named(run, inner)
                run, last, opening = [], None, "<"
            elif token.kind in ",;":
                self._bare(run)
                self._pieces.append(token.kind)
                run, last, opening = [], None, ""
            elif token.kind == ":" and opening not in ("", ":"):
                self._group(run)
                run, last, opening = [], None, ""
            elif token.kind != ">":
                run.append(token)
                if token.kind != _COMMENT:
                    if opening != "<" and not (last and _adjoins(last, token)):
                        opening = token.kind
                    last = token
        self._bare(run)

    def written(self) -> str:
        """Return the list: a blank behind each comma, and one before the first address."""
        out = ""
        for piece in self._pieces:
            glued = piece in (",", ";") and not out.endswith(",")
            out += piece if glued else f" {piece}"
        return out

    def _put(self, piece: str) -> None:
        """Append an address; it is parted by a comma from one before it."""
        if self._pieces and self._pieces[-1][-1:] not in (",", ":"):
            self._pieces.append(",")
        self._pieces.append(piece)

    def _named(self, name: list[_Token], inner: list[_Token]) -> None:
        comments = "".join(self._text[t.start : t.end] for t in inner if t.kind == _COMMENT)
        address = self._address([t for t in inner if t.kind != _COMMENT])
        self._put(f"{self._source(name)} <{address}>{comments}".lstrip())

    def _group(self, run: list[_Token]) -> None:
        """Write what stands before ":": addresses, and the name of a group."""
        words = [t for t in run if t.kind != _COMMENT]
        name = words[_addressed(words) :]
        start = name[0].start if name else len(self._text)
        self._bare([t for t in run if t.start < start])
        if name:
            self._put(f"{self._source([t for t in run if t.start >= start])}:")

    def _bare(self, run: list[_Token]) -> None:
        """Write the addresses of a run; its comments follow the address they are near."""
        words = [t for t in run if t.kind != _COMMENT]
        comments = [self._text[t.start : t.end] for t in run if t.kind == _COMMENT]
        if not words:
            if comments and self._pieces[-1:] and self._pieces[-1].endswith(">"):
                self._pieces[-1] += "".join(comments)
            elif comments:
                self._put(" ".join(comments))
            return
        parts = _parts(words)
        for part in parts[:-1]:
            self._put(self._address(part))
        last = self._address(parts[-1])
        # What has no end goes on to the end of the header: nothing may come behind it.
        endless = parts[-1][-1].kind == _BROKEN
        self._put(" ".join([*comments, last] if endless else [last, *comments]))

    def _source(self, tokens: list[_Token]) -> str:
        """Return the words of a name as they stand, folds and blanks made one blank."""
        if not tokens:
            return ""
        return " ".join(self._text[tokens[0].start : tokens[-1].end].split())

    def _address(self, tokens: list[_Token]) -> str:
        raw = "".join(self._text[t.start : t.end] for t in tokens)
        spec = _spec(_without_route(tokens))
        if not spec.valid or not spec.local:
            return raw
        # An "@" in a quoted local part is no domain, for whoever looks for one.
        bare = spec.domain is None and "@" in spec.local
        new = raw if bare else quote(self._rewrite(spec.address))
        self.changed |= new != raw
        return new


def _tokens(text: str, *, comments: bool = False) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    size = len(text)
    while at < size:
        c = text[at]
        if c in _SPACE or (c == "\\" and text[at + 1 : at + 2] in ("\r", "\n")):
            at += 1
        elif c == "(":
            start, at = at, _comment_end(text, at)
            if comments:
                tokens.append(_Token(_COMMENT, "", start, at))
        elif c in '"[':
            tokens.append(_string(text, at, '"' if c == '"' else "]"))
            at = tokens[-1].end
        elif c in _SPECIAL and c != "\\":
            at += 1
            tokens.append(_Token(c if c not in ")]" else _WORD, c, at - 1, at))
        else:
            tokens.append(_word(text, at))
            at = tokens[-1].end
    return tokens


def _word(text: str, start: int) -> _Token:
    chars: list[str] = []
    at = start
    while at < len(text):
        c = text[at]
        # A line end is never quoted: written anew, it would end the header.
        if c == "\\" and at + 1 < len(text) and text[at + 1] not in "\r\n":
            at += 1
            c = text[at]
        elif c in _SPECIAL:
            break
        chars.append(c)
        at += 1
    return _Token(_WORD, "".join(chars), start, at if chars else len(text))


def _string(text: str, start: int, close: str) -> _Token:
    """Return a quoted string (what it means) or a domain literal (with its brackets)."""
    chars: list[str] = []
    at = start + 1
    while at < len(text):
        c = text[at]
        at += 1
        if c == close:
            if close == '"':
                return _Token(_QUOTED, "".join(chars), start, at)
            literal = text[start:at].replace("\r", "").replace("\n", "")  # folds
            return _Token(_LITERAL, literal, start, at)
        if c == "\\" and at < len(text):
            c = text[at]
            at += 1
        if c not in "\r\n":  # a fold inside the string
            chars.append(c)
    return _Token(_BROKEN, text[start:], start, at)


def _comment_end(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "\\":
            at += 1
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if not depth:
                return at
    return len(text)


def _angle(tokens: list[_Token], at: int) -> tuple[list[_Token], int]:
    """Return the tokens between "<" and ">", and where to go on."""
    inner: list[_Token] = []
    start = at
    while start < len(tokens) and tokens[start].kind == _COMMENT:
        start += 1
    route = start < len(tokens) and tokens[start].kind == "@"
    while at < len(tokens):
        token = tokens[at]
        if token.kind == ">":
            return inner, at + 1
        if token.kind in ",;<" and not route:
            break  # never closed
        route = route and token.kind != ":"
        at += 1
        inner.append(token)
    return inner, at


def _without_route(tokens: list[_Token]) -> list[_Token]:
    """Return an address without the route that RFC 5321 wants ignored: <@a,@b:user@c>."""
    if tokens and tokens[0].kind == "@":
        for at, token in enumerate(tokens):
            if token.kind == ":":
                return tokens[at + 1 :]
    return tokens


def _bare(run: list[_Token], *, after_angle: bool) -> list[Spec]:
    """Return the addr-specs of a run without brackets.

    Behind "<...>" a comma may be missing, but words without "@" are only words.
    """
    if after_angle and all(token.kind != "@" for token in run):
        return []
    return [_spec(part) for part in _parts(run)]


def _addressed(run: list[_Token]) -> int:
    """Return how many tokens of a run before ":" are addresses; a group's name comes then.

    A name has no "@" outside quotes (RFC 5322 3.4), so what goes up to the last one is addresses:
    "To: a@example.org", and "Cc: b@example.org" in a line that was indented.
    """
    if run and run[0].kind == "@":
        return 0  # a route
    size = max((at for at, token in enumerate(run, 1) if token.kind == "@"), default=0)
    while 0 < size < len(run) and _adjoins(run[size - 1], run[size]):
        size += 1
    return size


def _parts(run: list[_Token]) -> list[list[_Token]]:
    """Part a run without brackets into addresses: words with only a blank between are apart."""
    parts: list[list[_Token]] = []
    for token in run:
        last = parts[-1][-1] if parts else token
        if parts and _adjoins(last, token):
            parts[-1].append(token)
        else:
            parts.append([token])
    return parts


def _adjoins(last: _Token, token: _Token) -> bool:
    return token.kind in ".@" or last.kind in ".@" or token.start == last.end


def _spec(tokens: list[_Token]) -> Spec:
    if not tokens:
        return Spec("", None, valid=True)
    # ":include:/file" as a recipient is a local part that nobody has, never an instruction.
    whole = all(t.kind not in (_BROKEN, ",") for t in tokens)
    whole = whole and (tokens[0].kind == ":" or all(t.kind != ":" for t in tokens))
    ats = [i for i, t in enumerate(tokens) if t.kind == "@"]
    if not ats:
        local = "".join(t.text for t in tokens)
        ok = whole and "@" not in local and bool(local) and tokens[0].kind != _LITERAL
        return Spec(local, None, valid=ok)
    local = "".join(t.text for t in tokens[: ats[-1]])
    after = tokens[ats[-1] + 1 :]
    domain = "".join(t.text for t in after).rstrip(".")
    ok = whole and len(ats) == 1 and bool(local and domain) and "@" not in domain
    ok = ok and all(
        t.kind in (".", _LITERAL) or (t.kind == _WORD and _SPECIAL.isdisjoint(t.text))
        for t in after
    )
    return Spec(local, domain, valid=ok)


def _is_dot_atom(local: str) -> bool:
    if local.isalnum():
        return True
    return bool(local) and all(
        part and all(c in _ATEXT or c > "\x7f" for c in part) for part in local.split(".")
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
