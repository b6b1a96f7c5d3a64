"""A next hop as Postfix writes it: where mail goes when it leaves.  Pure.

example.org         the mail exchangers of that domain
[mail.example.org]  that host itself, no MX look-up
[192.0.2.1]         that address; IPv6 as [2001:db8::1], or [ipv6:2001:db8::1]
...:587             a port, by number or as submission, submissions, smtps, smtp
one, two            a list: each is tried when those before it cannot be reached
"""

from typing import NamedTuple

PORT = 25
_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}


class NextHop(NamedTuple):
    """One next hop: `host` without brackets; `mx` says whether its mail exchangers are meant."""

    host: str
    port: int = PORT
    mx: bool = True

    @property
    def literal(self) -> bool:
        """Whether the host is an address, not a name."""
        import ipaddress  # noqa: PLC0415 -- start-up

        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def shown(self) -> str:
        """The next hop as Postfix writes it."""
        host = self.host if self.mx else f"[{self.host}]"
        return host if self.port == PORT else f"{host}:{self.port}"


def parse(text: str) -> NextHop:
    """Return the next hop that `text` names.  Raise ValueError where it names none."""
    host, port = text, ""
    mx = not text.startswith("[")
    if not mx:
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _error(text)
        port = rest[1:]
    elif ":" in text:
        host, _, port = text.partition(":")
    if not mx and host.lower().startswith("ipv6:"):
        host = host[len("ipv6:") :]
    if not host or not host.isprintable() or any(c in " []/@,<>" for c in host):
        raise _error(text)
    number = _port(port) if port else PORT
    if not number:
        raise ValueError(f"{_error(text)}: a port is 1 to 65535, {', '.join(_PORTS)}")
    return NextHop(lower(host.rstrip(".")), number, mx)


def parse_all(texts: str) -> tuple[NextHop, ...]:
    """Return the next hops of a list with commas or blanks.  Raise ValueError."""
    return tuple(parse(text) for text in texts.replace(",", " ").split())


def lower(host: str) -> str:
    """Return a host in lower case; a last sigma stays one, not a final sigma, which is another."""
    return host.lower() if host.isascii() else "".join(map(str.lower, host))


def _error(text: str) -> ValueError:
    return ValueError(f'"{text}" is no next hop')


def _port(text: str) -> int:
    """Return the number of a port, 0 for none."""
    number = _PORTS.get(text) or (int(text) if text.isdecimal() and len(text) < 6 else 0)
    return number if number < 1 << 16 else 0
