"""DMARC: the record that says what becomes of a domain's mail, and where it is.  Pure.

A domain without a record of its own is spoken for by its organization's, which is looked for
label by label (RFC 9989, DNS tree walk): no list of suffixes such as co.uk is needed.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pymail.spf import Ask

MOST_QUESTIONS = 8
_WISHES = ("none", "quarantine", "reject")


class Policy(NamedTuple):
    """What is to become of mail that is not authentic; `domain` has the record."""

    domain: str
    wish: str


def find(domain: str, ask: Ask) -> Policy | None:
    """Return what a domain asks for, or for it a parent; None where nobody says anything."""
    if own := _tags(domain, ask):
        return _policy(domain, own.get("p"))
    found = None
    for parent in _parents(domain):
        tags = _tags(parent, ask)
        if not tags or (found and tags.get("psd") == "y"):  # the organization is below that
            continue
        found = _policy(parent, tags.get("sp") or tags.get("p"))
        if tags.get("psd") in ("y", "n"):
            break
    return found


def _parents(domain: str) -> Iterator[str]:
    labels = domain.split(".")
    for count in range(min(len(labels), MOST_QUESTIONS) - 1, 0, -1):
        yield ".".join(labels[-count:])


def _tags(domain: str, ask: Ask) -> Mapping[str, str]:
    """Return the tags of the record of a domain, none unless there is exactly one."""
    texts = ask(f"_dmarc.{domain}", "TXT")[0]
    records = [text for text in texts if text.lower().replace(" ", "").startswith("v=dmarc1")]
    if len(records) != 1:
        return {}
    pairs = (part.partition("=") for part in records[0].lower().split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _policy(domain: str, wish: str | None) -> Policy:
    return Policy(domain, wish if wish in _WISHES else "none")
