"""What a look at the machine has found, and what to do about it."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at.

    level   ok, note, warning, or error where mail does not move or is refused because of it
    remedy  a command or a DNS record, "" for nothing
    """

    part: str
    level: str
    text: str
    remedy: str = ""

    @property
    def fatal(self) -> bool:
        """Whether mail does not move because of it."""
        return self.level == "error"

    def __str__(self) -> str:
        return f"{self.level}: {self.part}: {self.text}" + (
            f": {self.remedy}" if self.remedy else ""
        )
