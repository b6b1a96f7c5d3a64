"""Internationalised domain names: the form that DNS, SMTP and certificates have.  Pure.

faß.de -> xn--fa-hia.de

Python's codec follows RFC 3490, where some letters are others in disguise: ß is ss, a final sigma
is a sigma, and joiners are nothing.  Since RFC 5892 they are letters of their own, as in UTS 46
without transitional processing: fass.de may be somebody else's.
"""

import re
import unicodedata

_OWN = {"ß": "ß", "ẞ": "ß", "ς": "ς", "\u200c": "\u200c", "\u200d": "\u200d"}
_DOTS = re.compile("([.\u3002\uff0e\uff61])")
_is_plain = re.compile(r"[A-Za-z0-9_.-]+").fullmatch


def to_ascii(domain: str) -> str:
    """Return a domain with its labels in ASCII (RFC 5890), "" where it has no such form.

    What is ASCII already stays as it is.
    """
    try:
        if domain.isascii():
            return domain.encode("idna").decode()
        coded = "".join(map(_coded, _DOTS.split(domain))).encode("idna").decode()
    except UnicodeError:
        return ""
    return coded if _is_plain(coded) else ""  # a full-width ">" would be one


def _coded(label: str) -> str:
    """Return a label, as its code if it has such a letter.  Raise UnicodeError for no label."""
    if _OWN.keys().isdisjoint(label):
        return label
    from encodings.idna import nameprep  # noqa: PLC0415  (tables that most mail does not need)

    nameprep(label)  # it raises for what no label may have
    letters = "".join(_OWN.get(c) or nameprep(c) for c in label)
    return f"xn--{unicodedata.normalize('NFKC', letters).encode('punycode').decode()}"
