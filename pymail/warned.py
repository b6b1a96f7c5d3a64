"""What the log has been warned of: every minute the same is no news."""

import os

MOST = 1000
"""Warnings that are remembered from one run to the next."""


class Warned:
    """The warnings of this run and of the one before, which a file keeps.

    Where that file cannot be read or written the log is told once more, and nothing else happens.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._now: set[str] = set()
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                self._before = set(file.read().split("\0")) - {""}
        except OSError:
            self._before = set()

    def is_new(self, text: str) -> bool:
        """Say whether the log has still to be told."""
        new = text not in self._now | self._before
        if len(self._now) < MOST:
            self._now.add(text)
        return new

    def keep(self) -> None:
        """Remember for the next run what this one was told."""
        if self._now == self._before:
            return
        try:
            if not self._now:
                os.unlink(self._path)
                return
            with open(self._path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("\0".join(sorted(self._now)))
        except OSError:
            return
