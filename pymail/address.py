"""RFC 5322 addresses and address lists: parse, quote, qualify.

An address is a str in internal form, as Postfix stores it: the local part without quotes, "@",
the domain ("john doe@example.org"); a bare name has no "@".  The parser is lenient where people
are: names, nested comments, groups, routes, empty elements, and blanks or semicolons where a
comma should be.  `email.utils` loses half of such lists, and costs 25 ms to import.
"""

_SPACE = frozenset(" \t\r\n")
_SPECIAL = frozenset('()<>[]:;@,."\\ \t\r\n')
_ATEXT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~")

_WORD, _QUOTED, _LITERAL, _BROKEN = "w", "q", "l", "b"


class _Token:
    """One token: a special character itself, or a word, quoted string or domain literal."""

    __slots__ = ("end", "kind", "text")

    def __init__(self, kind: str, text: str, end: int) -> None:
        self.kind = kind
        self.text = text
        self.end = end


class Spec:
    """One addr-spec of a list.  `end` is where it ends in the text it was read from.

    `domain` is None for a bare name; `valid` is false where the text is no address.  The null
    address "<>" has an empty local part and no domain.
    """

    __slots__ = ("domain", "end", "local", "valid")

    def __init__(self, local: str, domain: str | None, end: int, *, valid: bool) -> None:
        self.local = local
        self.domain = domain
        self.end = end
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
    after_angle = False
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.kind == "<":
            inner, at = _angle(tokens, at)
            found.append(_spec(inner, token.end))
            run, after_angle = [], True
        elif token.kind in ",;":
            found += _bare(run)
            run, after_angle = [], False
        elif token.kind == ":":
            run = []  # the name of a group
        elif token.kind != ">" and not after_angle:
            run.append(token)
    return found + _bare(run)


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
    name = " ".join(name.split())
    if all(c in _ATEXT or c == " " or c > "\x7f" for c in name):
        return name
    return _quoted(name)


def is_safe(address: str) -> bool:
    """Say whether the address is free of control characters (CR, LF and NUL among them)."""
    return address.isprintable() or not any(c < " " or "\x7f" <= c < "\xa0" for c in address)


def qualify(address: str, origin: str) -> str:
    """Return the address with "@origin" where it is a bare name."""
    return address if "@" in address or not address else f"{address}@{origin}"


def qualify_header(value: bytes, origin: str) -> bytes:
    """Return a header's address list with "@origin" behind every bare name.

    Names, comments and folds stay as they are.  A value without bare names is returned
    unchanged, to the byte; otherwise a blank follows each comma, as Postfix writes it.
    """
    text = value.decode("utf-8", "surrogateescape")
    ends = [s.end for s in specs(text) if s.domain is None and s.valid and s.local]
    if not ends:
        return value
    pieces = []
    last = 0
    for end in ends:
        pieces += [text[last:end], f"@{origin}"]
        last = end
    pieces.append(text[last:])
    return _space_commas("".join(pieces)).encode("utf-8", "surrogateescape")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    size = len(text)
    while at < size:
        c = text[at]
        if c in _SPACE:
            at += 1
        elif c == "(":
            at = _comment_end(text, at)
        elif c == '"':
            at = _string(text, at, '"', tokens)
        elif c == "[":
            at = _string(text, at, "]", tokens)
        elif c in _SPECIAL and c != "\\":
            at += 1
            tokens.append(_Token(c if c not in ")]" else _WORD, c, at))
        else:
            at = _word(text, at, tokens)
    return tokens


def _word(text: str, at: int, tokens: list[_Token]) -> int:
    chars: list[str] = []
    size = len(text)
    while at < size:
        c = text[at]
        if c == "\\" and at + 1 < size:
            at += 1
            c = text[at]
        elif c in _SPECIAL:
            break
        chars.append(c)
        at += 1
    if not chars:  # a backslash at the very end
        at = size
    tokens.append(_Token(_WORD, "".join(chars), at))
    return at


def _string(text: str, at: int, close: str, tokens: list[_Token]) -> int:
    """Read a quoted string (its content) or a domain literal (with its brackets)."""
    chars: list[str] = []
    start = at
    at += 1
    while at < len(text):
        c = text[at]
        at += 1
        if c == close:
            if close == '"':
                tokens.append(_Token(_QUOTED, "".join(chars), at))
            else:
                tokens.append(_Token(_LITERAL, text[start:at], at))
            return at
        if c == "\\" and at < len(text):
            c = text[at]
            at += 1
        if c not in "\r\n":  # a fold inside the string
            chars.append(c)
    tokens.append(_Token(_BROKEN, "".join(chars), at))
    return at


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
    """Return the tokens between "<" and ">", without a route, and where to go on."""
    inner: list[_Token] = []
    route = at < len(tokens) and tokens[at].kind == "@"
    while at < len(tokens):
        token = tokens[at]
        if token.kind == ">":
            return inner, at + 1
        if token.kind in ",;<" and not route:
            break  # never closed
        at += 1
        if route and token.kind == ":":
            route, inner = False, []
        else:
            inner.append(token)
    return inner, at


def _bare(run: list[_Token]) -> list[Spec]:
    """Return the addresses of a run without brackets: words that touch no "." or "@" are apart."""
    found: list[Spec] = []
    part: list[_Token] = []
    for token in run:
        if part and token.kind not in ".@" and part[-1].kind not in ".@":
            found.append(_spec(part, 0))
            part = []
        part.append(token)
    if part:
        found.append(_spec(part, 0))
    return found


def _spec(tokens: list[_Token], end: int) -> Spec:
    if not tokens:
        return Spec("", None, end, valid=True)
    end = tokens[-1].end
    whole = all(t.kind != _BROKEN and t.kind != ":" for t in tokens)
    ats = [i for i, t in enumerate(tokens) if t.kind == "@"]
    if not ats:
        local = "".join(t.text for t in tokens)
        ok = whole and "@" not in local and bool(local) and tokens[0].kind != _LITERAL
        return Spec(local, None, end, valid=ok)
    local = "".join(t.text for t in tokens[: ats[-1]])
    after = tokens[ats[-1] + 1 :]
    domain = "".join(t.text for t in after).rstrip(".")
    ok = whole and len(ats) == 1 and bool(local and domain)
    ok = ok and all(t.kind != _QUOTED for t in after)
    return Spec(local, domain, end, valid=ok)


def _is_dot_atom(local: str) -> bool:
    return bool(local) and all(
        part and all(c in _ATEXT or c > "\x7f" for c in part) for part in local.split(".")
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _space_commas(text: str) -> str:
    """Put a blank behind every comma that separates addresses."""
    at = 0
    out: list[str] = []
    while at < len(text):
        c = text[at]
        if c == "(":
            end = _comment_end(text, at)
        elif c in '"[':
            end = _string(text, at, '"' if c == '"' else "]", [])
        else:
            end = at + 1
        out.append(text[at:end])
        at = end
        if c == "," and at < len(text) and text[at] not in _SPACE:
            out.append(" ")
    return "".join(out)
