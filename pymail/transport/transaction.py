"""The transactions of one SMTP connection: MAIL, RCPT, DATA, and what becomes of recipients.

With PIPELINING (RFC 2920) MAIL, every RCPT and DATA are one write, and the message with its
dot is the other.  The commands for the next message go along with the dot, as section 3.1
allows: one round trip a message.  Its text waits for the reply to the dot: where the connection
breaks, at most one message is in doubt.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

from pymail.config import Config
from pymail.dkim import Signer
from pymail.errors import MailError
from pymail.replies import Reply
from pymail.transport import Delivery, Outcome, bounced, deferred, kept
from pymail.transport.commands import is_speakable, mail, needs_utf8, rcpt
from pymail.transport.hello import Offers
from pymail.transport.letter import END, Letter, letter
from pymail.transport.wire import LostError, Wire

_TOO_MANY = ("4.5.3", "5.5.3")

Outcomes = Iterator[tuple[Delivery, Outcome]]
Following = Callable[[], list[Delivery]]


class _Offer(NamedTuple):
    """A message, the recipients for whom it can be offered, and what becomes of the others."""

    group: list[Delivery]
    text: Letter | None
    fit: list[Delivery]
    others: list[tuple[Delivery, Outcome]]


class Transactions:
    """What goes over `wire` once the server, `relay`, is ready for messages."""

    def __init__(
        self,
        wire: Wire,
        offers: Offers,
        config: Config,
        relay: str,
        signer: Signer | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Take up the conversation; `before` is called before each message is sent."""
        self._wire = wire
        self._offers = offers
        self._config = config
        self._relay = relay
        self._signer = signer
        self._before = before
        self._stale = False  # the server may be in the middle of a transaction
        self._following: Following = list
        self._ahead: _Offer | None = None  # the commands for it have been sent

    @property
    def ahead(self) -> bool:
        """Whether the server waits for the message of the next run()."""
        return self._ahead is not None

    def run(self, group: Sequence[Delivery], following: Following = list) -> Outcomes:
        """Send one message to the recipients of `group`; yield what becomes of each.

        Recipients that are too many for the server get a transaction of their own.  `following`
        may be asked for the group of the next run(), which then has to be that.
        """
        self._following = following
        offer, said = self._ahead, self._ahead is not None
        self._ahead = None
        if offer is None:
            offer = self._offer(list(group))
        elif offer.group != list(group):
            raise ValueError("another message was announced to the server")
        yield from offer.others
        fit = offer.fit
        while fit and offer.text:
            fit = yield from self._transact(fit, offer.text, said=said)
            said = False

    def _offer(self, group: list[Delivery]) -> _Offer:
        """Make a message ready."""
        limit = self._config.smtp_line_length_limit
        try:
            text = letter(group[0].content, self._offers, limit, self._signer)
        except OSError as error:
            return _Offer(group, None, [], list(self._unreadable(group, error)))
        except MailError as error:
            return _Offer(group, None, [], list(self._kept(group, kept("4.3.5", str(error)))))
        offer = _Offer(group, text, [], [])
        for delivery in group:
            refusal = self._refusal(delivery, text)
            if refusal:
                offer.others.append((delivery, refusal._replace(relay=self._relay)))
            else:
                offer.fit.append(delivery)
        return offer

    def _refusal(self, delivery: Delivery, text: Letter) -> Outcome | None:
        """Return why a message cannot even be offered to this server."""
        host, offers = self._wire.name, self._offers
        if not is_speakable(delivery.sender):
            return bounced("5.1.7", "the sender's address cannot be said in a command")
        if not delivery.recipient or not is_speakable(delivery.recipient):
            return bounced("5.1.3", "the recipient's address cannot be said in a command")
        if not offers.utf8 and (needs_utf8(delivery) or (delivery.wishes.utf8 and text.foreign)):
            return bounced("5.6.7", f"SMTPUTF8 is required, but was not offered by host {host}")
        if 0 < offers.size < text.size:
            words = f"message size {text.size} exceeds size limit {offers.size} of server {host}"
            return bounced("5.3.4", words)
        return None

    def _transact(
        self, group: list[Delivery], text: Letter, *, said: bool
    ) -> Generator[tuple[Delivery, Outcome], None, list[Delivery]]:
        """Go through one transaction; return who is left for a further one.

        What is `said` already is only listened for.
        """
        ask = self._wire.reply if said else self._asking(self._commands(group, text))
        if self._stale and not ask("RSET", self._config.smtp_rset_timeout).good:
            raise LostError("4.5.0", f"host {self._wire.name} does not know RSET")
        self._stale = True
        sender = ask("MAIL FROM", self._config.smtp_mail_timeout)
        accepted, spare, mad = [], [], False
        for delivery in group:
            if not sender.good:
                if self._offers.pipelining:
                    mad |= ask("RCPT TO", self._config.smtp_rcpt_timeout).good
                yield delivery, self._said(sender, "MAIL FROM")
                continue
            verdict = ask("RCPT TO", self._config.smtp_rcpt_timeout)
            if verdict.good:
                accepted.append(delivery)
            elif _is_too_many(verdict):
                spare.append((delivery, self._said(verdict, "RCPT TO")))
            else:
                yield delivery, self._said(verdict, "RCPT TO")
        taken = False
        if accepted or self._offers.pipelining:
            ready = ask("DATA", self._config.smtp_data_init_timeout)
            if ready.good or (mad and ready.code == 354):
                # Recipients without a sender: a dot could send them an empty message.
                words = f"host {self._wire.name} said out of turn: {ready.words}"
                raise LostError("4.5.0", words)
            taken = yield from self._data(accepted, text, ready, last=not spare)
        if taken:
            return [delivery for delivery, _ in spare]
        yield from spare
        return []

    def _commands(self, group: list[Delivery], text: Letter) -> list[bytes]:
        offers, first = self._offers, group[0]
        utf8 = offers.utf8 and (text.foreign or any(map(needs_utf8, group)))
        commands = [b"RSET\r\n"] if self._stale else []
        commands.append(mail(first.sender, first.wishes, text, offers, utf8=utf8))
        commands += [rcpt(delivery, offers, utf8=utf8) for delivery in group]
        commands.append(b"DATA\r\n")
        return commands

    def _asking(self, commands: list[bytes]) -> Callable[[str, float], Reply]:
        """Return a function that returns the next reply; with pipelining all is sent at once."""
        wire = self._wire
        if not wire.quiet():
            said = wire.reply("MAIL FROM", self._config.smtp_mail_timeout).words  # or it was 421
            raise LostError("4.5.0", f"host {wire.name} said without being asked: {said}")
        if self._offers.pipelining:
            wire.write(b"".join(commands), "MAIL FROM", self._config.smtp_mail_timeout)
            return wire.reply
        lines = iter(commands)

        def ask(name: str, limit: float) -> Reply:
            wire.write(next(lines), name, limit)
            return wire.reply(name, limit)

        return ask

    def _data(
        self, group: list[Delivery], text: Letter, ready: Reply, *, last: bool
    ) -> Generator[tuple[Delivery, Outcome], None, bool]:
        """Send the message, once DATA was answered; say whether it was taken.

        The next message follows the `last` transaction of one.
        """
        if ready.code != 354:
            for delivery in group:
                yield delivery, self._said(ready, "DATA")
            return False
        if not group:
            # RFC 2920 3.1: nobody was accepted, so this is a message for nobody.
            self._wire.write(END, "end of DATA")
            self._wire.reply("end of DATA", self._config.smtp_data_done_timeout)
            return False
        if not last:
            self._following = list
        yield from self._body(group, text)
        reply = self._done()
        self._stale = False
        outcome = self._said(reply, "end of DATA")
        for delivery in group:
            yield delivery, outcome
        return reply.good

    def _body(self, group: list[Delivery], text: Letter) -> Outcomes:
        """Send the message and its dot; where that fails, yield what is known, and raise."""
        self._before()
        limit, last = self._config.smtp_data_xfer_timeout, b""
        try:
            for piece in text.pieces():
                if last:
                    self._wire.write(last, "message body", limit)
                last = piece
            self._wire.write(last + self._announced(), "message body", limit)
        except OSError as error:
            # Half a message is under way: without its dot the server drops it.
            yield from self._unreadable(group, error)
            raise LostError("4.3.0", f"broke off the message to {self._wire.name}") from None
        except LostError as lost:
            # Some say what they dislike as soon as they see it, and hang up.
            early = self._wire.last_words("end of DATA")
            if early and (self.ahead or not early.good):
                for delivery in group:
                    yield delivery, self._said(early, "end of DATA")
            if self.ahead:  # the dot before the commands may have got through
                _doubt(lost)
            raise

    def _announced(self) -> bytes:
        """Return the commands for the next message, where there is one and they can go ahead."""
        # What is said before the dot would be taken for the reply to it, and so on.
        if not self._offers.pipelining or self._wire.strange or not self._wire.quiet():
            return b""
        group = self._following()
        if not group:
            return b""
        offer = self._offer(group)
        if not offer.text or not offer.fit:
            return b""
        self._ahead, self._stale = offer, False
        return b"".join(self._commands(offer.fit, offer.text))

    def _done(self) -> Reply:
        """Return the reply to the final dot.  Without one, nobody knows who has the message."""
        try:
            reply = self._wire.reply("end of DATA", self._config.smtp_data_done_timeout)
        except LostError as lost:
            if not lost.outcome.reply:
                _doubt(lost)
            raise
        if self.ahead and self._wire.strange:
            # It may be the reply to MAIL, behind one to the dot that cannot be understood.
            astray = LostError("4.5.0", f"host {self._wire.name} is out of step: {reply.words}")
            _doubt(astray)
            raise astray
        return reply

    def _said(self, reply: Reply, command: str) -> Outcome:
        """Return what a reply means for a recipient."""
        words = reply.words
        if reply.good:
            return Outcome("sent", reply.dsn, words, self._relay, words, self._offers.dsn)
        outcome = reply.outcome(self._wire.name, command)
        if outcome.status == "bounced" and _is_too_many(reply):  # RFC 5321 4.5.3.1.10: for now
            outcome = deferred("4.5.3", outcome.words)
        return outcome._replace(relay=self._relay, reply=words)

    def _unreadable(self, group: Sequence[Delivery], error: OSError) -> Outcomes:
        words = f"cannot read queued message: {error.strerror}"
        return self._kept(group, kept("4.3.0", words))

    def _kept(self, group: Sequence[Delivery], trouble: Outcome) -> Outcomes:
        for delivery in group:
            yield delivery, trouble._replace(relay=self._relay)


def _doubt(lost: LostError) -> None:
    words = f"{lost.outcome.words} -- message may be sent more than once"
    lost.outcome = lost.outcome._replace(words=words)
    lost.doubtful = True


def _is_too_many(reply: Reply) -> bool:
    """Say whether a recipient was refused because there are others (RFC 5321 4.5.3.1.10).

    With a status of its own, 452 speaks of that mailbox: "4.2.2 over quota".  552 does so without
    one too, unless it says what it means; a client is to take it for 452 then.
    """
    if reply.code == 552 and reply.dsn == "5.0.0":
        return "too many recipients" in reply.words.lower()
    return reply.dsn in _TOO_MANY or (reply.code == 452 and not reply.dsn.startswith("4.2."))
