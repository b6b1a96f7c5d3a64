"""One message of mail, from the command line or a reader's answer to the spool."""

import contextlib
import errno
import os
import secrets
import signal
import time

from pymail import (
    address,
    charset,
    compose,
    errors,
    inlet,
    keep,
    message,
    paths,
    recipients,
    recode,
    session,
    words,
)
from pymail.caller import Caller
from pymail.compose import Draft
from pymail.envelope import Envelope
from pymail.errors import (
    DataError,
    InputError,
    MailError,
    OutputError,
    TempError,
    UnheardError,
    UsageError,
)
from pymail.escapes import Quote, Writing
from pymail.mailargs import Options
from pymail.recipients import Book
from pymail.screen import Screen
from pymail.spool import Spool

STOPPED = 1
"""The exit status of a message given up."""


class Sending:
    """One message, from the command line to the spool."""

    def __init__(
        self,
        options: Options,
        user: Caller,
        draft: Draft | None = None,
        screen: Screen | None = None,
        quote: Quote | None = None,
    ) -> None:
        """Begin with an empty draft, or with one that answers a message.

        `screen` is where a person types; `quote` gives the messages that are being read; `copy`
        may be set to the mailbox that gets a copy instead of `record`.
        """
        self.options = options
        self.user = user
        metoo = "metoo" in user.mailrc.variables
        self.book = Book(user.mailrc.aliases, "" if metoo else user.name)
        self.draft = draft or Draft()
        self.screen = screen
        self.quote = quote
        self.sender: str | None = None
        self.copy = ""
        self.spool = Spool(paths.spool())
        self.limit = self.spool.size_limit()

    def send(self) -> int:
        """Take the message and queue it; return the exit status.

        What is wrong with the command line is said before anything is read.  Whatever stops
        the message later, dead.letter has it.
        """
        self._recipients()
        self._fields()
        if not self.options.template and not self.draft.recipients():
            raise UsageError("no recipients: name them on the command line, or use -t")
        self._files()
        if self.options.ignore or "ignore" in self.user.mailrc.variables:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._read()
            qid, data = self._queue()
        except session.Abandoned as abandoned:
            if abandoned.keep:
                self._keep()
            return STOPPED
        except MailError as error:
            kept = self._keep()
            raise type(error)(f"{error}; the letter is in {kept}" if kept else error) from None
        except UnheardError:  # of what -d shows, which was not to be sent
            raise
        except BaseException:  # an interrupt, or a bug: the letter must not go with the program
            self._keep()
            raise
        if qid:
            self._sent(qid, data)
        return errors.EX_OK

    def _recipients(self) -> None:
        value = self.user.value
        for name, texts in (
            ("to", self.options.operands),
            ("cc", [*self.options.cc, value("autocc")]),
            ("bcc", [*self.options.bcc, value("autobcc")]),
        ):
            for text in texts:
                self._add(name, self.user.text(text))

    def _add(self, name: str, text: str) -> None:
        boxes = [*getattr(self.draft, name), *recipients.resolve(text, self.book)]
        setattr(self.draft, name, recipients.unique(boxes))

    def _fields(self) -> None:
        user, draft = self.user, self.draft
        if self.options.subject is not None:
            draft.set("Subject", user.text(self.options.subject))
        if self.options.content_type:
            draft.set("Content-Type", user.text(self.options.content_type))
        self._author()
        reply = user.value("reply-to", "replyto") or user.text(os.environ.get("REPLYTO", ""))
        if reply:
            draft.set("Reply-To", reply)
        for name, value in self.options.headers:
            if name.lower() in {"to", "cc", "bcc"}:
                self._add(name.lower(), user.text(value))
            else:
                draft.set(name, user.text(value))

    def _author(self) -> None:
        """Set From and the envelope sender, where somebody named them."""
        given = self.user.text(self.options.sender or "") or words.one_line(self.user.value("from"))
        if given == "<>":
            self.sender = ""
        elif given:
            boxes = []
            with contextlib.suppress(DataError):  # it speaks of a recipient
                boxes = recipients.parse(given)
            if not boxes:
                raise DataError(f"cannot send as {given}: not an address")
            self.sender = boxes[0].address
            self.draft.set("From", given)

    def _files(self) -> None:
        attached = 0
        for path in self.options.attachments:
            try:
                each = compose.attachment(path, self.user.local, self.limit)
            except OSError as error:
                raise InputError(f"cannot attach {path}: {error.strerror}") from None
            attached += len(each.data)
            if 0 < self.limit < attached:
                raise compose.too_big(path, self.limit)
            self.draft.attachments.append(each)
        for path in self.options.bodies:
            try:
                self.draft.body += compose.contents(path, self.limit)
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from None

    def _read(self) -> None:
        """Read the message from standard input."""
        options = self.options
        person = options.interactive or os.isatty(0)
        if (person or options.escapes) and not options.template:
            screen = self.screen or Screen(self.user.local)
            writing = Writing(self.draft, screen, self.user.mailrc, self.book, os.environ)
            writing.quote, writing.limit = self.quote, self.limit
            stubborn = options.ignore or "ignore" in self.user.mailrc.variables
            try:
                session.run(writing, person=person, stubborn=stubborn)
            except UnheardError:  # the end of a program, but no end of a letter
                raise OutputError("cannot write output: nobody reads it") from None
            return
        begun, self.draft.body = self.draft.body, b""  # half a letter is not kept
        data = _standard_input(self.limit)
        self.draft.body = begun
        if options.template:
            self._template(data)
        else:
            self.draft.body += data

    def _template(self, data: bytes) -> None:
        """Take a message with a header (-t); where the command line says the same, that counts."""
        fields, start = message.split(data.replace(b"\r\n", b"\n"))
        draft = self.draft
        draft.body += data.replace(b"\r\n", b"\n")[start:]
        given = {name.lower() for name, _ in draft.fields}
        given |= {"subject"} if draft.subject else set()
        for field in fields:
            key = field.name.decode("ascii")
            name = field.raw[: len(key)].decode("ascii")
            value = charset.decode(field.value, self.user.local)
            if key in {"to", "cc", "bcc"}:
                self._add(key, words.one_line(value))
            elif key not in given:
                draft.set(name, value)

    def _queue(self) -> tuple[str, bytes]:
        """Put the message into the spool; return it behind its queue id, "" where none is sent."""
        draft, options = self.draft, self.options
        if options.not_empty and not draft.body and not draft.attachments:
            return "", b""
        named = draft.recipients()
        if not named:
            raise UsageError("no recipients")
        data = self._data()
        envelope = self._envelope(named, data)
        if options.debug:
            self._show(envelope, data)
            return "", b""
        if 0 < self.limit < len(data):
            raise compose.too_big("message", self.limit)
        # An interrupt from here on must not say "not sent" of what was sent.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return inlet.queue(self.spool, envelope, data), data

    def _sent(self, qid: str, data: bytes) -> None:
        """Keep a copy of what was sent, and say its queue id (-v)."""
        self._record(self.draft.recipients()[0], data)
        if self.options.verbose:
            # The message is safe, whether anybody hears it or not.
            with contextlib.suppress(OutputError, UnheardError):
                errors.write(f"{qid}: queued\n".encode())

    def _data(self) -> bytes:
        return compose.message(self.draft, self.user.local, f"=_{secrets.token_hex(12)}")

    def _envelope(self, named: list[str], data: bytes) -> Envelope:
        # A domain has a form in ASCII, what is before it has none.
        local = "".join(address.split(each)[0] for each in (*named, self.sender or ""))
        head = recode.ascii_header(data.partition(b"\n\n")[0] + b"\n\n")
        utf8 = not (local.isascii() and head.isascii())
        return Envelope(
            os.geteuid(),
            named,
            sender=self.sender,
            full_name=self.user.text(os.environ.get("NAME", "")) or None,
            body=("" if data.isascii() else "8BITMIME") + ("+UTF8" if utf8 else ""),
        )

    def _show(self, envelope: Envelope, data: bytes) -> None:
        screen = Screen(self.user.local)
        sender = self.user.name if envelope.sender is None else f"<{envelope.sender}>"
        screen.say(f"from {sender} to {', '.join(envelope.recipients)}; not sent (-d)\n")
        screen.say(charset.decode(data, self.user.local).removesuffix("\n"))

    def _record(self, first: str, data: bytes) -> None:
        """Keep a copy of what was sent; a copy that fails is said, and the message is sent."""
        path = self.copy or self.user.mailrc.expand(self.user.value("record"))
        if self.options.record:
            path = os.path.join(".", os.path.basename(address.split(first)[0]))
        if not path:
            return
        now = int(time.time())
        data = f"Date: {message.date(now)}\n".encode() + compose.saved(self.draft, data)
        follow = not (self.options.record or self.copy)
        try:
            keep.append(path, data, self.user.name, now, follow=follow)
        except OSError as error:
            errors.complain("mail", f"sent, but cannot keep a copy in {path}: {error.strerror}")

    def _keep(self) -> str:
        """Add the message to dead.letter; return its path, "" where it was not kept."""
        if not self.draft.body or "save" not in self.user.mailrc.variables:
            return ""
        path = self.user.path("DEAD", "~/dead.letter")
        try:
            data = compose.saved(self.draft, self._data())
            keep.append(path, data, self.user.name, int(time.time()))
        except OSError as error:
            errors.complain("mail", f"cannot keep the letter in {path}: {error.strerror}")
            return ""
        return path


def _standard_input(limit: int) -> bytes:
    """Return all that is piped in.  A read that fails is an error, not the end."""
    try:
        return compose.read(0, "message", limit)
    except OSError as error:
        text = f"cannot read message from standard input: {error.strerror}"
        if error.errno == errno.EBADF:
            raise InputError(text) from None
        raise TempError(text) from None
