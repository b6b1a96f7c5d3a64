"""The `if ... else ... endif` that stand around a command of mail.  Pure."""


class Branches:
    """Which of them are open, and whether they let a command be obeyed."""

    def __init__(self) -> None:
        self._holding: list[bool | None] = []

    def __bool__(self) -> bool:
        """Say whether a command is obeyed here."""
        return all(self._holding)

    def begin(self, *, holds: bool | None) -> None:
        """Open one; with None, a condition that nobody knows, neither branch is obeyed."""
        self._holding.append(holds)

    def turn(self) -> bool:
        """Go to the other branch; say whether one is open."""
        if self._holding:
            last = self._holding[-1]
            self._holding[-1] = None if last is None else not last
        return bool(self._holding)

    def end(self) -> bool:
        """Close the innermost; say whether one was open."""
        return bool(self._holding and [self._holding.pop()])
