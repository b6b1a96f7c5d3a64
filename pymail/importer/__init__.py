"""Old configurations as ours: what can be carried over, and what cannot."""

from typing import NamedTuple

__all__ = ["Imported", "named"]


class Imported(NamedTuple):
    """`accounts` are tables [fetch.NAME] by name; `lost` says what is not in them, and why."""

    accounts: dict[str, dict[str, object]]
    lost: list[str]


def named(accounts: dict[str, dict[str, object]], name: str) -> str:
    """Return a name for a further account: `name`, or with a number behind it."""
    plain = "".join(c if c.isalnum() or c in "_.@+-" else "-" for c in name) or "account"
    number = 1
    found = plain
    while found in accounts:
        number += 1
        found = f"{plain}-{number}"
    return found
