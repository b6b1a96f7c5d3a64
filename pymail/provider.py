"""Where a provider takes mail from its customers: a table, and what providers say themselves.

Autoconfig is the XML of Thunderbird's; SRV records are those of RFC 6186 and RFC 8314.  Pure.
"""

from typing import NamedTuple
from xml.etree import ElementTree as ET

LIMIT = 1 << 16
"""Bytes of an autoconfig file."""

_APP = "the password is an app password, made in the settings of the account"
_OAUTH = "it takes OAuth2 only: see password_command in pymail.toml(5)"


class Submission(NamedTuple):
    """Where and as whom mail is handed in; `wrapped` is TLS from the first byte.

    note  what a person has to know of it
    """

    host: str
    port: int
    user: str
    source: str
    note: str = ""

    @property
    def hop(self) -> str:
        """The next hop, as relayhost has it."""
        return f"[{self.host}]:{self.port}"


_TABLE = (
    ("smtp.yandex.ru", 465, _APP, "yandex.ru yandex.com yandex.by yandex.kz ya.ru narod.ru"),
    ("smtp.mail.ru", 465, _APP, "mail.ru inbox.ru list.ru bk.ru internet.ru xmail.ru"),
    ("smtp.rambler.ru", 465, "", "rambler.ru lenta.ru autorambler.ru myrambler.ru ro.ru"),
    ("smtp.gmail.com", 465, _APP, "gmail.com googlemail.com"),
    ("smtp-mail.outlook.com", 587, _OAUTH, "outlook.com hotmail.com live.com msn.com live.ru"),
    ("smtp.office365.com", 587, _OAUTH, "office365.com"),
    ("smtp.mail.yahoo.com", 465, _APP, "yahoo.com yahoo.co.uk yahoo.de yahoo.fr ymail.com"),
    ("smtp.aol.com", 465, _APP, "aol.com"),
    ("smtp.mail.me.com", 587, _APP, "icloud.com me.com mac.com"),
    ("mail.gmx.net", 465, "", "gmx.net gmx.de gmx.at gmx.ch"),
    ("mail.gmx.com", 465, "", "gmx.com gmx.us"),
    ("smtp.web.de", 465, "", "web.de"),
    ("securesmtp.t-online.de", 465, "", "t-online.de magenta.de"),
    ("posteo.de", 465, "", "posteo.de posteo.net"),
    ("smtp.mailbox.org", 465, "", "mailbox.org"),
    ("smtp.fastmail.com", 465, _APP, "fastmail.com fastmail.fm"),
    ("smtp.zoho.com", 465, "", "zoho.com zohomail.com"),
    ("smtp.zoho.eu", 465, "", "zoho.eu"),
    ("smtp.orange.fr", 465, "", "orange.fr wanadoo.fr"),
    ("smtp.free.fr", 465, "", "free.fr"),
    ("smtp.ukr.net", 465, _APP, "ukr.net"),
    ("smtp.seznam.cz", 465, "", "seznam.cz email.cz"),
    ("smtp.wp.pl", 465, "", "wp.pl"),
    ("poczta.o2.pl", 465, "", "o2.pl tlen.pl"),
    ("smtp.qq.com", 465, _APP, "qq.com foxmail.com"),
    ("smtp.163.com", 465, _APP, "163.com"),
)  # fmt: skip
_EXCHANGERS = (
    ("google.com", "gmail.com"),
    ("googlemail.com", "gmail.com"),
    ("yandex.net", "yandex.ru"),
    ("yandex.ru", "yandex.ru"),
    ("mail.ru", "mail.ru"),
    ("outlook.com", "office365.com"),
    ("mailbox.org", "mailbox.org"),
    ("messagingengine.com", "fastmail.com"),
    ("zoho.com", "zoho.com"),
    ("zoho.eu", "zoho.eu"),
)
"""Whose mail exchangers serve domains of customers."""


def known(domain: str, address: str) -> Submission | None:
    """Return what the table has for a domain."""
    for host, port, note, domains in _TABLE:
        if domain.lower() in domains.split():
            return Submission(host, port, address, "the table of providers", note)
    return None


def exchanged(exchanger: str, address: str) -> Submission | None:
    """Return what the table has for the provider whose host takes the mail of a domain."""
    name = exchanger.lower().rstrip(".")
    for suffix, domain in _EXCHANGERS:
        if name == suffix or name.endswith(f".{suffix}"):
            found = known(domain, address)
            return found and found._replace(source=f"the mail exchanger {name}")
    return None


def places(domain: str, address: str) -> tuple[str, ...]:
    """Return the addresses of autoconfig files; only over TLS, since a login will follow."""
    return (
        f"https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={address}",
        f"https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
        f"https://autoconfig.thunderbird.net/v1.1/{domain}",
    )


def autoconfigured(data: bytes, address: str, source: str) -> Submission | None:
    """Return the first server in an autoconfig file that takes mail over TLS."""
    if b"<!" in data.replace(b"<!--", b"") or b"\0" in data:
        return None  # none has a DOCTYPE, and entities can be made to grow without end
    try:
        root = ET.fromstring(data)  # noqa: S314  (no entities, and not much of it)
    except (ET.ParseError, ValueError, LookupError):
        return None
    local, _, domain = address.rpartition("@")
    for server in root.iter("outgoingServer"):
        facts = {child.tag: (child.text or "").strip() for child in server}
        host, port = facts.get("hostname", ""), facts.get("port", "")
        if facts.get("socketType") not in ("SSL", "STARTTLS") or not _is_host(host):
            continue
        if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16:
            continue
        user = facts.get("username", "%EMAILADDRESS%")
        for name, value in (("ADDRESS", address), ("LOCALPART", local), ("DOMAIN", domain)):
            user = user.replace(f"%EMAIL{name}%", value)
        return Submission(host, int(port), user if user.isprintable() else address, source)
    return None


def served(host: str, port: int, address: str, name: str) -> Submission | None:
    """Return what an SRV record says; a dot means that there is no such service."""
    plain = host.rstrip(".")
    if not _is_host(plain) or not 0 < port < 1 << 16:
        return None
    return Submission(plain, port, address, f"the SRV record {name}")


def _is_host(name: str) -> bool:
    labels = name.split(".")
    return name.isascii() and all(
        label and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )
