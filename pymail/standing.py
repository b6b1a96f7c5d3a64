"""How an address of the Internet stands with those who take mail: what its names tell.  Pure."""

import ipaddress
import re

BLOCK_LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org")
"""Asked of each address that sends directly."""

_POLICY = ("127.0.0.10", "127.0.0.11")
_REFUSED = ipaddress.ip_network("127.255.255.0/24")
_LISTED = ipaddress.ip_network("127.0.0.0/16")
_WORDS = re.compile(
    r"(?:^|[\d.-])(?:dyn|dynamic|dynip|dip|dsl|adsl|vdsl|xdsl|dhcp|ppp|pppoe|pool|pools|cable|dial"
    r"|dialup|client|clients|customer|cust|broadband|bb|fttx|ftth|catv|lte|mobile|nat|home)"
    r"(?:[\d.-]|$)"
)


def question(address: str, zone: str) -> str:
    """Return the name under which a block list has an address (RFC 5782)."""
    return f"{_reversed(address)}.{zone}"


def reverse(address: str) -> str:
    """Return the name whose PTR record is that of an address."""
    return ipaddress.ip_address(address).reverse_pointer


def listing(answers: tuple[str, ...]) -> str:
    """Return what a block list says: "" not listed, "policy", "listed", or "refused".

    127.255.255.x is an error of the question, never a listing; the policy block list has
    addresses that should send no mail, whoever uses them.
    """
    found = [ipaddress.ip_address(a) for a in answers if _is_address(a)]
    if any(each in _REFUSED for each in found):
        return "refused"
    if any(str(each) in _POLICY for each in found):
        return "policy" if all(str(each) in _POLICY for each in found) else "listed"
    return "listed" if any(each in _LISTED for each in found) else ""


def generic(name: str, address: str) -> str:
    """Say what in a reverse name tells that it is nobody's server, "" for nothing.

    Providers make such names of the address itself: it is given to whoever comes.
    """
    lower = name.lower()
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        numbers = re.findall(r"[0-9]+", lower)
        parts = str(parsed).split(".")
        within = [n for n in parts if n in numbers or n.zfill(3) in lower]
        hexadecimal = f"{int(parsed):08x}"
        if len(within) >= 3 or hexadecimal in lower.replace("-", ""):
            return f"{name} is made of the address"
    elif parsed.exploded.replace(":", "")[-16:] in re.sub(r"[.-]", "", lower):
        return f"{name} is made of the address"
    word = _WORDS.search(lower)
    return f'{name} has "{word[0].strip(".-0123456789")}" in it' if word else ""


def canonical(text: str) -> str:
    """Return an address in the form that DNS answers have.  ValueError where it is none."""
    return str(ipaddress.ip_address(text))


def public(address: str) -> bool:
    """Say whether others can see an address: private ones and those of carriers are not."""
    return ipaddress.ip_address(address).is_global


def _reversed(address: str) -> str:
    pointer = reverse(address)
    return pointer.rpartition(".")[0].rpartition(".")[0]


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False
