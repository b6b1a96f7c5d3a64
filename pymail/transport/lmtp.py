"""Delivery by LMTP (RFC 2033) to a server that keeps the mailboxes: Dovecot, Cyrus.

The destination is "unix:/path", "inet:host:port", "host:port", "[::1]:24" or "host" (port 24).
All messages of a batch for one destination go through one connection.  The recipients of one
message share a transaction; the server answers for each of them behind the final dot, and what
it answered stays, whatever happens to the connection after.

Nothing is sent that the server did not offer.
"""

import os
from collections.abc import Callable, Iterator, Sequence

from pymail.address import quote
from pymail.replies import Reply
from pymail.transport import Content, Delivery, Outcome, bounced, deferred, kept
from pymail.transport.commands import is_speakable
from pymail.transport.connect import dial
from pymail.transport.data import data_lines, tamed
from pymail.transport.wire import LostError

PORT = 24
MOST_RECIPIENTS = 50
"""Of one transaction; with pipelining so few commands and replies never fill both sockets."""

MOST_FAILURES = 2
"""Connections lost one after another before a destination is left alone for this batch."""

# Seconds; RFC 5321 4.5.3.2.
SEND_TIME = 180
DONE_TIME = 600
QUIT_TIME = 2


def deliver(batch: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
    """Hand each message to the LMTP server that is its `argument`."""
    destinations: dict[str, list[Delivery]] = {}
    for delivery in batch:
        destinations.setdefault(delivery.argument, []).append(delivery)
    for argument, deliveries in destinations.items():
        yield from _to(argument, deliveries)


def _to(argument: str, deliveries: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
    peer: _Peer | None = None
    failures = 0
    failure = deferred("4.4.1", "")
    try:
        for group in _transactions(deliveries):
            pending = {delivery.number for delivery in group}
            try:
                if failures < MOST_FAILURES:
                    peer = peer or _Peer(argument)
                    for number, outcome in peer.transact(group):
                        pending.discard(number)
                        yield number, outcome
                    failures = 0
            except LostError as lost:
                # Not even connected: the others need not wait for the same.
                failures = failures + 1 if peer else MOST_FAILURES
                failure = lost.outcome
                peer = None
            yield from ((d.number, failure) for d in group if d.number in pending)
    finally:
        if peer:
            peer.quit()


def _transactions(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Part deliveries into those that can share one transaction: same message, same header."""
    groups: list[list[Delivery]] = []
    for delivery in deliveries:
        last = groups[-1] if groups else []
        if (
            last
            and len(last) < MOST_RECIPIENTS
            and (last[0].qid, last[0].sender) == (delivery.qid, delivery.sender)
            and _same(last[0].content, delivery.content)
        ):
            last.append(delivery)
        else:
            groups.append([delivery])
    yield from groups


def _same(one: Content, other: Content) -> bool:
    """Say whether two contents of one queue id have the same bytes; descriptors may differ."""
    return one._replace(fd=0) == other._replace(fd=0)


class _Peer:
    """A connection to a server that has said LHLO."""

    def __init__(self, argument: str) -> None:
        self._wire = dial(argument, PORT)
        self._name = argument
        self._stale = False
        try:
            self._welcome(self._wire.reply("greeting"))
            self._wire.write(f"LHLO {os.uname().nodename}\r\n".encode(), "LHLO")
            hello = self._wire.reply("LHLO")
            self._welcome(hello)
        except LostError:
            self._wire.close()
            raise
        offers = [text.upper().split() for text in hello.texts[1:]]
        self._offers = {words[0] for words in offers if words}
        self._pipelining = "PIPELINING" in self._offers

    def transact(self, group: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
        """Send one message to the recipients of `group`; yield what becomes of each."""
        fit = []
        for delivery in group:
            refusal = self._refusal(delivery)
            if refusal:
                yield delivery.number, refusal
            else:
                fit.append(delivery)
        try:
            if fit:
                yield from self._transact(fit)
        except LostError:
            self._wire.close()
            raise

    def quit(self) -> None:
        """Part in peace; everything has been answered for."""
        try:
            self._wire.write(b"QUIT\r\n", "QUIT")
            self._wire.reply("QUIT", QUIT_TIME)
        except LostError:
            pass
        finally:
            self._wire.close()

    def _welcome(self, reply: Reply) -> None:
        # Never a bounce: a server that talks to nobody is no verdict on a message.
        if not reply.good:
            dsn = reply.dsn if reply.dsn.startswith("4") else "4.3.5"
            raise LostError(dsn, f"host {self._name} refused to talk to me: {reply.words}")

    def _refusal(self, delivery: Delivery) -> Outcome | None:
        """Return why a message cannot even be offered to this server."""
        if not is_speakable(delivery.sender):
            return bounced("5.1.7", "the sender's address cannot be said in a command")
        if not is_speakable(delivery.recipient):
            return bounced("5.1.3", "the recipient's address cannot be said in a command")
        if _is_foreign(delivery) and "SMTPUTF8" not in self._offers:
            return bounced(
                "5.6.7", f"SMTPUTF8 is required, but host {self._name} does not offer it"
            )
        return None

    def _transact(self, group: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
        try:
            mail = self._mail(group)
        except OSError as error:
            yield from _unreadable(group, error)
            return
        rset = ["RSET"] if self._stale else []
        to = [f"RCPT TO:<{quote(delivery.recipient)}>" for delivery in group]
        ask = self._asking([*rset, mail, *to, "DATA"])
        if rset and not ask("RSET").good:
            raise LostError("4.5.0", f"host {self._name} does not know RSET")
        self._stale = True
        sender = ask("MAIL FROM")
        accepted = []
        for delivery in group:
            if not sender.good:
                if self._pipelining:
                    ask("RCPT TO")
                yield delivery.number, sender.outcome(self._name, "MAIL FROM")
                continue
            verdict = ask("RCPT TO")
            if verdict.good:
                accepted.append(delivery)
            else:
                yield delivery.number, verdict.outcome(self._name, "RCPT TO")
        if accepted or self._pipelining:
            yield from self._data(accepted, ask("DATA"))

    def _data(self, group: Sequence[Delivery], ready: Reply) -> Iterator[tuple[int, Outcome]]:
        """Send the message, once DATA was answered, to the recipients that were accepted."""
        if ready.good or (ready.code == 354 and not group):
            raise LostError("4.5.0", f"host {self._name} said out of turn: {ready.words}")
        if ready.code != 354:
            yield from ((d.number, ready.outcome(self._name, "DATA")) for d in group)
            return
        try:
            for piece in data_lines(tamed(group[0].content).pieces()):
                self._wire.write(piece, "message body", SEND_TIME)
        except OSError as error:
            # Half a message is under way: without its dot the server drops it.
            yield from _unreadable(group, error)
            raise LostError("4.3.0", f"broke off the message to {self._name}") from None
        self._wire.write(b".\r\n", "end of DATA")
        for delivery in group:
            reply = self._wire.reply("end of DATA", DONE_TIME)
            yield delivery.number, reply.outcome(self._name, "end of DATA")
        self._stale = False

    def _mail(self, group: Sequence[Delivery]) -> str:
        """Return the MAIL command, with what the server offers and the message needs."""
        size, ascii_only = 0, True
        for piece in group[0].content.pieces():
            size += len(piece) + piece.count(b"\n")
            ascii_only = ascii_only and piece.isascii()
        command = f"MAIL FROM:<{quote(group[0].sender) if group[0].sender else ''}>"
        if "SIZE" in self._offers:
            command += f" SIZE={size}"
        if "8BITMIME" in self._offers and not ascii_only:
            command += " BODY=8BITMIME"
        if any(_is_foreign(delivery) for delivery in group):
            command += " SMTPUTF8"
        return command

    def _asking(self, commands: Sequence[str]) -> Callable[[str], Reply]:
        """Return a function that returns the next reply; with pipelining all is sent at once."""
        lines = iter([f"{c}\r\n".encode("utf-8", "surrogateescape") for c in commands])
        if self._pipelining:
            self._wire.write(b"".join(lines), "MAIL FROM")

        def ask(name: str) -> Reply:
            for line in lines:
                self._wire.write(line, name)
                break
            return self._wire.reply(name)

        return ask


def _is_foreign(delivery: Delivery) -> bool:
    return not (delivery.sender.isascii() and delivery.recipient.isascii())


def _unreadable(group: Sequence[Delivery], error: OSError) -> Iterator[tuple[int, Outcome]]:
    trouble = kept("4.3.0", f"cannot read queued message: {error.strerror}")
    yield from ((delivery.number, trouble) for delivery in group)
