"""What is left in a spool when pymail goes: whatever may be a letter that nobody got.

The names are those of spool.py.
"""

from pymail import peek


def letters(spool: str) -> int:
    """Return how many letters may wait in the directories of a spool."""
    places = ["queue", *(f"drop/{name}" for name in peek.names(f"{spool}/drop"))]
    found = (name for place in places for name in peek.names(f"{spool}/{place}"))
    return sum(map(may_be_letter, found))


def may_be_letter(name: str) -> bool:
    """Say whether a file of a spool may be a letter, or the only copy of one.

    Half adopted and fetched letters have hidden names; so have flush's own notes, and what was
    never accepted.
    """
    return not name.startswith(".") or name.startswith(".fetch-") or "," in name
