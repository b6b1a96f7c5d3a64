"""Delivery of what a filter makes of a message: a transport that stands before another one.

The message of each delivery goes through the delivery's `filter` (filter.py says what that may
do), then the other transport gets it.  Number, queue id and key stay what they were, so a Maildir
recognises a message that came through a filter before.
"""

from collections.abc import Iterator, Sequence

from pymail.filter import through
from pymail.source import Text
from pymail.source.content import content
from pymail.transport import Delivery, Outcome, Transport, sent


def deliver(batch: Sequence[Delivery], transport: Transport) -> Iterator[tuple[int, Outcome]]:
    """Deliver by `transport`, one by one: each may have to wait for its filter."""
    for delivery in batch:
        yield from _deliver(delivery, transport) if delivery.filter else transport([delivery])


def _deliver(delivery: Delivery, transport: Transport) -> Iterator[tuple[int, Outcome]]:
    text = Text()
    try:
        try:
            for piece in delivery.content.pieces():
                text.write(piece)
            whole, words = through(delivery.filter, text, delivery.user)
        except OSError as error:  # a full /tmp; trouble with the queue the transport will meet, too
            whole, words = text, f"cannot run filter: {error.strerror}"
        if whole is None:
            yield delivery.number, sent(f"discarded by filter: {delivery.filter}")
            return
        if whole is not text:
            text = whole
            delivery = delivery._replace(content=content(text))
        for number, outcome in transport([delivery]):
            yield number, _told(outcome, words)
    finally:
        text.close()


def _told(outcome: Outcome, words: str) -> Outcome:
    """Return an outcome that says for the log what was wrong with the filter.

    What goes back to the sender is told nothing of it.
    """
    if not words or outcome.status != "sent":
        return outcome
    return outcome._replace(words=f"{outcome.words}, not filtered: {words}")
