"""What earlier attempts of a message have recorded in its tail.  Pure.

"sent" "bounced"  one target of a recipient that has several: not done again
"reporting"       the targets that it names are reported together, which has begun
"reported"        the bounces for all targets that it names are durable
"deferred" "kept" "offline" "held" why it waits
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pymail.entry import MOST_DIGITS, Attempt
from pymail.outcome import Outcome
from pymail.route import Target

_AND = "\x1f"
"""Between the targets of one "reported"."""


class Failed(NamedTuple):
    """A target of recipient `number` that can never be delivered."""

    number: int
    target: Target
    outcome: Outcome


class History:
    """The attempts of one message, the oldest first."""

    __slots__ = ("_begun", "_bounced", "_done", "_reported", "attempts")

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self.attempts = attempts
        self._done: set[tuple[int, str]] = set()
        self._bounced: dict[int, list[Attempt]] = {}
        self._reported: dict[int, set[str]] = {}
        self._begun: list[list[tuple[int, str]]] = []
        for attempt in attempts:
            if attempt.status in ("sent", "bounced"):
                self._done.add((attempt.index, attempt.target))
            if attempt.status == "bounced":
                self._bounced.setdefault(attempt.index, []).append(attempt)
            if attempt.status == "reporting":
                self._begun.append(_named(attempt))
            if attempt.status == "reported":
                for index, target in _named(attempt):
                    self._reported.setdefault(index, set()).add(target)

    @property
    def last(self) -> str:
        """The status of the last attempt, "" where there was none."""
        return self.attempts[-1].status if self.attempts else ""

    def done(self, index: int, target: str) -> bool:
        """Say whether nothing more is to be tried for a target of a recipient."""
        return (index, target) in self._done

    def failed(self, index: int) -> bool:
        """Say whether a target of a recipient has failed for good."""
        return index in self._bounced or index in self._reported

    def unreported(self, index: int) -> list[Failed]:
        """Return the failures of a recipient whose report was not begun."""
        known = self._reported.get(index, set()) | {
            target for begun in self._begun for number, target in begun if number == index
        }
        return [_again(a) for a in self._bounced.get(index, ()) if a.target not in known]

    def begun(self) -> Iterator[list[Failed]]:
        """Yield the failures of each report that was begun, and may have been made.

        It must come out the same, so that it is recognised.
        """
        for begun in self._begun:
            if not all(target in self._reported.get(index, ()) for index, target in begun):
                failed = {(a.index, a.target): a for each in self._bounced.values() for a in each}
                yield [_again(failed[each]) for each in begun if each in failed]


def names(failures: Iterable[Failed]) -> str:
    """Return what "reporting" and "reported" call the targets that they are about."""
    return _AND.join(f"{failed.number} {failed.target.name}" for failed in failures)


def _named(attempt: Attempt) -> list[tuple[int, str]]:
    """Return the targets, with the numbers of their recipients, that a line of reports names."""
    parts = [part.partition(" ") for part in attempt.target.split(_AND)]
    # The sender of the message may have written this.
    return [(int(n), t) for n, _, t in parts if n.isdecimal() and len(n) < MOST_DIGITS]


def _again(attempt: Attempt) -> Failed:
    """Return a failure as it was written down by an earlier attempt."""
    recipient, sender, relay, reply = (*attempt.report, "", "", "", "")[:4]
    target = Target("outcome", recipient, attempt.target, sender=sender or None)
    outcome = Outcome("bounced", attempt.dsn, attempt.words, relay, reply)
    return Failed(attempt.index, target, outcome)
