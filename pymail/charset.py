"""In which character set a person's bytes are: UTF-8, the locale's, or Latin-1.

Bytes from a terminal, a pipe or the command line have no label.  They are UTF-8 when they decode
as such, whatever the locale says: cron runs everything with LC_ALL=C.  Otherwise they are in the
locale's character set, if it has one with more than ASCII; otherwise ISO 8859-1, in which no
byte is wrong.  So reading a text never fails.
"""

import codecs
import locale
import os
from collections.abc import Mapping

_ASCII = bytes(c for c in range(32, 127) if c != 92) + b"\t\n\\u0041+AEE-"
_HIGH = b"\xe1\xe2"  # letters, or one, in everything that people write text in
_MIME = {"euc_jp": "euc-jp", "euc_kr": "euc-kr", "shift_jis": "shift_jis", "big5": "big5"}


def of_locale(env: Mapping[str, str]) -> str:
    """Return the codec of the locale's character set, "" where it is ASCII, UTF-8 or unknown.

    The name after the dot counts (ru_RU.KOI8-R), so a locale that is not installed is
    understood, too.
    """
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    _, dot, codeset = name.partition("@")[0].partition(".")
    if not dot:
        codeset = locale.normalize(name).partition(".")[2]
    return codec(codeset)


def codec(name: str) -> str:
    """Return Python's name of a character set that extends ASCII, "" for any other.

    UTF-8 gives "" too: it is tried in any case.
    """
    try:
        found = codecs.lookup(name).name
        extends = codecs.decode(_ASCII, found) == _ASCII.decode()
        codecs.decode(_HIGH, found)
    except (LookupError, ValueError, TypeError, AttributeError):
        return ""
    return found if extends and found != "utf-8" else ""


def decode(data: bytes, local: str) -> str:
    """Return the text of `data`, by the rule above; `local` is what of_locale() said."""
    return data.decode(_name(data, local), "replace")


def label(data: bytes, local: str) -> str:
    """Return the MIME name of the character set that `data` is in.

    A long UTF-8 text with a damaged character (cut by `head -c`, garbage in a log) is still
    UTF-8: as Latin-1 all the rest would be unreadable.
    """
    return "us-ascii" if data.isascii() else _mime_name(_name(data, local))


def argument(text: str, local: str) -> str:
    """Return what an argument or a variable of the environment says."""
    return decode(os.fsencode(text), local)


def _name(data: bytes, local: str) -> str:
    if _decodes(data, "utf-8"):
        return "utf-8"
    if local and _decodes(data, local):
        return local
    return "utf-8" if _mostly_utf8(data) else "iso8859-1"


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _mostly_utf8(data: bytes) -> bool:
    """Say whether more characters are well-formed UTF-8 than bytes are not."""
    text = data.decode("utf-8", "surrogateescape")
    bad = sum(1 for c in text if "\udc80" <= c <= "\udcff")
    return sum(1 for c in text if c > "\x7f") - bad > bad


def _mime_name(name: str) -> str:
    if name.startswith("cp125"):
        return f"windows-{name[2:]}"
    if name.startswith("iso8859-"):
        return f"iso-{name[3:]}"
    return _MIME.get(name, name.replace("_", "-"))
