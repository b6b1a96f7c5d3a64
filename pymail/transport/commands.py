"""The commands of one SMTP transaction, with what the server offers and the message needs.  Pure.

MAIL FROM:<a@b> SIZE=n BODY=8BITMIME ENVID=xtext RET=HDRS SMTPUTF8
RCPT TO:<c@d> ORCPT=rfc822;xtext NOTIFY=SUCCESS,FAILURE,DELAY

The parameters are in the order in which Postfix writes them.
"""

import functools
import re

from pymail.address import is_safe, quote, split
from pymail.idn import to_ascii
from pymail.transport import Delivery, Wishes
from pymail.transport.hello import Offers
from pymail.transport.letter import Letter

_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
_DOMAIN = re.compile(r'[^\s<>()\[\]\\,;:"@]+|\[[^\s<>()\[\]\\,;"@]+\]')


@functools.lru_cache(maxsize=1024)
def is_speakable(address: str) -> bool:
    """Say whether a command can have the address in it, and nothing but the address.

    A local part is quoted where it must be; a domain has no such form.
    """
    try:
        address.encode()
    except UnicodeEncodeError:
        return False
    domain = split(address)[1]
    return is_safe(address) and (not domain or bool(_DOMAIN.fullmatch(domain)))


def needs_utf8(delivery: Delivery) -> bool:
    """Say whether an address of the envelope cannot be written without SMTPUTF8.

    A domain can: its labels have a form in ASCII.
    """
    return not (_is_plain(delivery.sender) and _is_plain(delivery.recipient))


def mail(sender: str, wishes: Wishes, letter: Letter, offers: Offers, *, utf8: bool) -> bytes:
    """Return the MAIL command (RFC 5321, 1870, 6152, 6531, 3461)."""
    line = b"MAIL FROM:" + (_path(sender, utf8) if sender else b"<>")
    if offers.sized:
        line += b" SIZE=%d" % letter.size
    if offers.eightbit and letter.eightbit:
        line += b" BODY=8BITMIME"
    if offers.dsn and wishes.envid:
        line += b" ENVID=" + _xtext(wishes.envid)
    if offers.dsn and wishes.ret in ("FULL", "HDRS"):
        line += b" RET=" + wishes.ret.encode()
    if utf8:
        line += b" SMTPUTF8"
    return line + b"\r\n"


def rcpt(delivery: Delivery, offers: Offers, *, utf8: bool) -> bytes:
    """Return the RCPT command.  Postfix says ORCPT wherever DSN is offered, and so do we."""
    line = b"RCPT TO:" + _path(delivery.recipient, utf8)
    if offers.dsn:
        original = delivery.wishes.orcpt or f"rfc822;{delivery.original}"
        line += b" ORCPT=" + _orcpt(original, utf8)
        notify = delivery.wishes.notify
        if notify and set(words := notify.split(",")).issubset(_NOTIFY):
            line += b" NOTIFY=" + ",".join(each for each in _NOTIFY if each in words).encode()
    return line + b"\r\n"


def _is_plain(address: str) -> bool:
    if address.isascii():
        return True
    local, domain = split(address)
    return local.isascii() and bool(to_ascii(domain))


@functools.lru_cache(maxsize=1024)
def _path(address: str, utf8: bool) -> bytes:  # noqa: FBT001  (a cache's key)
    """Return the address in brackets, as RFC 5321 writes it."""
    if not utf8 and not address.isascii():
        local, domain = split(address)
        address = f"{local}@{to_ascii(domain)}"
    return b"<" + quote(address).encode() + b">"


@functools.lru_cache(maxsize=1024)
def _orcpt(original: str, utf8: bool) -> bytes:  # noqa: FBT001
    """Return an original recipient, "type;address", for ORCPT (RFC 3461 4.2, RFC 6533 3).

    In an address of type utf-8 a backslash begins the code of a letter already.
    """
    kind, _, address = original.partition(";")
    if kind.lower() != "utf-8" and address.isascii():
        return _xtext(kind) + b";" + _xtext(address)
    special = "+=" if kind.lower() == "utf-8" else "+=\\"
    coded = "".join(
        c
        if ("!" <= c <= "~" and c not in special) or (utf8 and c > "\x9f")
        else f"\\x{{{ord(c):X}}}"
        for c in address
    )
    return b"utf-8;" + coded.encode("utf-8", "replace")


def _xtext(text: str) -> bytes:
    """Return a text as RFC 3461 4 writes it: graphic ASCII, all else as "+" and its number."""
    data = text.encode("utf-8", "surrogateescape")
    return b"".join(
        b"%c" % byte if 0x21 <= byte <= 0x7E and byte not in b"+=" else b"+%02X" % byte
        for byte in data
    )
