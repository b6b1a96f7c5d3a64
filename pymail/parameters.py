"""The parameters of a Content- field (RFC 2045 5.1, RFC 2231), in one pass.  Pure.

    ; name=value                    a token, or a quoted string
    ; name*=charset'language'%41    encoded
    ; name*0*=charset'language'%41  in sections, each encoded or not
    ; name*1="more"

What is malformed is passed over; a quoted string without an end goes to the end of the field.
"""

import re
from urllib.parse import unquote_to_bytes

from pymail import legible

# Nothing in it can be matched in two ways: the time grows with the length.
_PARAMETER = re.compile(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"?|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_SECTION = re.compile(r"(?:(\d{1,4})(\*)?)?")

Sections = dict[int, tuple[str, bool]]
"""The sections of a value by their numbers, each with whether it is encoded."""


def parse(field: str) -> dict[str, str]:
    """Return the parameters in the text of a field, by their names in lower case.

    The first of a name counts, and one that is not encoded before one that is.
    """
    plain: dict[str, str] = {}
    sections: dict[str, Sections] = {}
    for found in _PARAMETER.finditer(f";{field}"):
        name, star, rest = found[1].lower().partition("*")
        text = found[3].strip() if found[2] is None else _ESCAPED.sub(r"\1", found[2])
        section = _SECTION.fullmatch(rest)
        if not star:
            plain.setdefault(name, text)
        elif section:
            encoded = not section[1] or bool(section[2])
            sections.setdefault(name, {}).setdefault(int(section[1] or 0), (text, encoded))
    return {name: _joined(parts) for name, parts in sections.items()} | plain


def _joined(sections: Sections) -> str:
    """Return the value that is in sections; the first names its character set."""
    label = ""
    data = b""
    for at, (_, (text, encoded)) in enumerate(sorted(sections.items())):
        value = text
        if at == 0 and encoded and text.count("'") > 1:
            label, _, value = text.split("'", 2)
        data += unquote_to_bytes(value) if encoded else value.encode()
    return legible.text(data, label)
