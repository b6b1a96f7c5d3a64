"""Looks at files that may not be there, or not be ours to see."""

import os

LIMIT = 1 << 20


def names(folder: str) -> list[str]:
    """Return the names in a directory; none where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def status(place: str) -> os.stat_result | None:
    """Return the status of what is there, links not followed; None where nothing can be seen."""
    try:
        return os.lstat(place)
    except OSError:
        return None


def text(file: str) -> str:
    """Return the start of a file as text, "" where it cannot be read."""
    try:
        with open(file, encoding="utf-8", errors="replace") as handle:
            return handle.read(LIMIT)
    except OSError:
        return ""


def data(file: str) -> bytes:
    """Return the start of a file as it is, nothing where it cannot be read."""
    try:
        with open(file, "rb") as handle:
            return handle.read(LIMIT)
    except OSError:
        return b""
