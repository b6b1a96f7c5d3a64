"""Under which keys an address is looked for in a lookup table.  Pure.

The orders are those of transport(5), canonical(5), generic(5) and of sender-dependent tables.
"""

from collections.abc import Iterator

from pymail.address import split


def address_keys(address: str, delimiters: str) -> Iterator[str]:
    """Yield where an address is looked for: user@domain, user, @domain; first with extension.

    The bare user is for the caller to leave out where the domain is not ours.
    """
    local, domain = split(address)
    base, _ = parted(local, delimiters)
    yield f"{local}@{domain}"
    if base != local:
        yield f"{base}@{domain}"
    yield local
    if base != local:
        yield base
    yield f"@{domain}"


def sender_keys(address: str, delimiters: str) -> Iterator[str]:
    """Yield where a sender is looked for: user+ext@domain, user@domain, @domain."""
    return (key for key in address_keys(address, delimiters) if "@" in key)


def transport_keys(address: str, delimiters: str) -> Iterator[str]:
    """Yield where a recipient is looked for: addresses, domain, .parent domains, "*"."""
    local, domain = split(address)
    base, _ = parted(local, delimiters)
    yield f"{local}@{domain}"
    if base != local:
        yield f"{base}@{domain}"
    yield domain
    parent = domain
    while "." in parent:
        parent = parent.partition(".")[2]
        yield f".{parent}"
    yield "*"


def parted(local: str, delimiters: str) -> tuple[str, str]:
    """Return a local part without its extension, and the extension with its delimiter."""
    places = [at for at in (local.find(d, 1) for d in delimiters) if at > 0]
    at = min(places) if places else len(local)
    return local[:at], local[at:]
