"""sendmail -bs: SMTP on standard input and output, for programs that speak nothing else.

RFC 5321 with PIPELINING, SIZE, 8BITMIME, DSN (RFC 3461) and SMTPUTF8, as lenient as the MTAs
that these programs were written for: lines may end in LF, commands may come before the banner,
an address may lack its brackets, EHLO may be missing.  A message is queued by its final dot or
not at all; the 250 means that it survives a power cut.
"""

import errno
import os

from pymail import esmtp
from pymail.address import fold, reverse_path
from pymail.draft import Draft
from pymail.envelope import Envelope
from pymail.errors import (
    EX_OK,
    DataError,
    InputError,
    MailError,
    SealedError,
    TempError,
    TooBigError,
    printable,
)
from pymail.esmtp import RefusalError
from pymail.paths import spool as spool_directory
from pymail.spool import Spool
from pymail.stream import Intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pymail.inlet import Held

MOST_LINE = 4096
"""Bytes of a command line; RFC 5321 4.5.3.1.4 asks for 512, its extensions for some 1,500."""

MOST_RECIPIENTS = 50000
MOST_ERRORS = 20
"""Errors in a row that end the session: a script that talks past us."""

_READ = 1 << 16
_NOT_DONE = {
    "AUTH": "503 5.5.1 Error: authentication not enabled",
    "ETRN": "458 4.3.0 Error: unable to queue messages",
    "STARTTLS": "502 5.5.1 Error: command not implemented",
}
_FORBIDDEN = frozenset((b"CONNECT", b"GET", b"POST"))  # Postfix's smtpd_forbidden_commands
_OK = "250 2.0.0 Ok"
_REPLIES = {DataError.status: "554 5.6.0", TooBigError.status: "552 5.3.4"}


def serve(queued: "Callable[[str], object]") -> int:
    """Hold one session on descriptors 0 and 1; return the exit status.

    `queued` is called with the id of each message that is in the spool, after the client was
    told.  The end of the input without QUIT is no error.  Raise TempError where input or output
    fail.
    """
    return _Session(_Client(), queued).run()


class _GoneError(Exception):
    """The client has nothing more to say."""


class _Client:
    """Descriptors 0 and 1, with the lines of the one normalised to LF."""

    __slots__ = ("_intake", "_replies", "data")

    def __init__(self) -> None:
        self._intake = Intake(dot=False)
        self._replies: list[str] = []
        self.data = b""

    def line(self) -> bytes:
        """Return the next line without its end, one byte more than MOST_LINE at most."""
        # Of a line without end only so much is held that it is seen to be too long.
        line = b""
        while True:
            piece, newline, self.data = self.data.partition(b"\n")
            line = (line + piece)[: MOST_LINE + 1]
            if newline:
                return line
            self.data = self.read()

    def read(self) -> bytes:
        """Send everything said so far; return the next bytes.  Raise _GoneError at the end."""
        self.flush()
        while True:
            try:
                data = os.read(0, _READ)
            except OSError as error:
                text = f"cannot read from standard input: {error.strerror}"
                if error.errno == errno.EBADF:
                    raise InputError(text) from None
                raise TempError(text) from None
            if not data:
                raise _GoneError
            data = self._intake.feed(data)
            if data:
                return data

    def say(self, reply: str) -> None:
        """Reply; it is sent when the next command has to be waited for (RFC 2920)."""
        self._replies.append(reply)

    def flush(self) -> None:
        """Send what was said."""
        data = "".join([f"{reply}\r\n" for reply in self._replies]).encode("utf-8", "replace")
        self._replies = []
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view) :]
            except BrokenPipeError:
                raise _GoneError from None
            except OSError as error:
                raise TempError(f"cannot write to standard output: {error.strerror}") from None


class _Session:
    """One session: its transaction, and a method for each command."""

    __slots__ = ("_client", "_commands", "_envelope", "_host", "_queued", "_seen", "_spool")

    def __init__(self, client: _Client, queued: "Callable[[str], object]") -> None:
        self._client = client
        self._queued = queued
        self._host = os.uname().nodename
        self._spool = Spool(spool_directory())
        self._envelope: Envelope | None = None
        self._seen: set[str] = set()
        self._commands = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
        }

    def run(self) -> int:
        """Answer commands until QUIT, the end of the input, too many errors, or other talk."""
        self._client.say(f"220 {self._host} ESMTP pymail")
        errors = 0
        try:
            while errors < MOST_ERRORS:
                line = self._client.line()
                command, _, rest = line.strip().partition(b" ")
                if command.upper() == b"QUIT":
                    self._client.say("221 2.0.0 Bye")
                    break
                if _breaks_rules(line):
                    self._client.say("221 2.7.0 Error: I can break rules, too. Goodbye.")
                    break
                try:
                    self._answer(line, command, rest)
                    errors = 0
                except RefusalError as reply:
                    self._client.say(str(reply))
                    errors += 1
            else:
                self._client.say(f"421 4.7.0 {self._host} Error: too many errors")
            self._client.flush()
        except _GoneError:
            pass
        return EX_OK

    def _answer(self, line: bytes, command: bytes, rest: bytes) -> None:
        if len(line) > MOST_LINE:
            raise RefusalError("500 5.5.2 Error: line too long")
        if not command or b"\0" in line:
            raise RefusalError("500 5.5.2 Error: bad syntax")
        name = command.decode("ascii", "replace").upper()
        argument = rest.decode("utf-8", "surrogateescape").strip(" ")
        if name in self._commands:
            self._commands[name](argument)
        else:
            raise RefusalError(_NOT_DONE.get(name, "500 5.5.2 Error: command not recognized"))

    def _ehlo(self, argument: str) -> None:
        if not argument:
            raise RefusalError("501 5.5.4 Syntax: EHLO hostname")
        self._envelope = None
        extensions = (
            "PIPELINING",
            f"SIZE {self._spool.size_limit() or ''}".rstrip(),
            "VRFY",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "DSN",
            "SMTPUTF8",
        )
        for text in (self._host, *extensions[:-1]):
            self._client.say(f"250-{text}")
        self._client.say(f"250 {extensions[-1]}")

    def _helo(self, argument: str) -> None:
        if not argument:
            raise RefusalError("501 5.5.4 Syntax: HELO hostname")
        self._envelope = None
        self._client.say(f"250 {self._host}")

    def _mail(self, argument: str) -> None:
        if self._envelope is not None:
            raise RefusalError("503 5.5.1 Error: nested MAIL command")
        text, parameters = esmtp.path(argument, "FROM:", "501 5.5.4 Syntax: MAIL FROM:<address>")
        sender = "" if text == "<>" else esmtp.address(text, "501 5.1.7 Bad sender address syntax")
        # From a dialogue a From field that must be made is the bare address, as in Postfix.
        envelope = Envelope(os.geteuid(), [], sender=reverse_path(sender), full_name="")
        for key, value in parameters.items():
            self._mail_parameter(envelope, key, value)
        self._envelope = envelope
        self._seen = set()
        self._client.say("250 2.1.0 Ok")

    def _mail_parameter(self, envelope: Envelope, key: str, value: str) -> None:
        match key:
            case "SIZE":
                if not (value.isascii() and value.isdecimal() and len(value) <= 20):
                    raise RefusalError("501 5.5.4 Bad message size syntax")
                if 0 < self._spool.size_limit() < int(value):
                    raise RefusalError("552 5.3.4 Message size exceeds fixed limit")
            case "BODY":
                envelope.body = esmtp.one_of(value, ("7BIT", "8BITMIME"), key) + envelope.body
            case "SMTPUTF8" if not value:
                envelope.body += "+UTF8"
            case "RET":
                envelope.ret = esmtp.one_of(value, ("FULL", "HDRS"), key)
            case "ENVID":
                envelope.envid = esmtp.plain(value, "ENVID")
            case "AUTH":
                pass  # RFC 4954 5: who is trusted to say this? nobody
            case _:
                raise RefusalError(f"555 5.5.4 Unsupported option: {printable(key)}")

    def _rcpt(self, argument: str) -> None:
        if self._envelope is None:
            raise RefusalError("503 5.5.1 Error: need MAIL command")
        text, parameters = esmtp.path(argument, "TO:", "501 5.5.4 Syntax: RCPT TO:<address>")
        recipient = esmtp.address(text, "501 5.1.3 Bad recipient address syntax")
        notify = orcpt = ""
        for key, value in parameters.items():
            if key == "NOTIFY":
                notify = esmtp.notify(value)
            elif key == "ORCPT":
                orcpt = esmtp.original(value)
            else:
                raise RefusalError(f"555 5.5.4 Unsupported option: {printable(key)}")
        if len(self._envelope.recipients) >= MOST_RECIPIENTS:
            raise RefusalError("452 4.5.3 Error: too many recipients")
        if fold(recipient) not in self._seen:
            self._seen.add(fold(recipient))
            self._envelope.recipients.append(recipient)
            self._envelope.notify.append(notify)
            self._envelope.orcpt.append(orcpt)
        self._client.say("250 2.1.5 Ok")

    def _data(self, argument: str) -> None:
        if argument:
            raise RefusalError("501 5.5.4 Syntax: DATA")
        if self._envelope is None:
            raise RefusalError("503 5.5.1 Error: need MAIL command")
        if not self._envelope.recipients:
            raise RefusalError("554 5.5.1 Error: no valid recipients")
        envelope, self._envelope = self._envelope, None
        # Also a message that cannot be taken is read: a script that does not wait for the
        # reply would have its text taken for commands.
        self._client.say("354 End data with <CR><LF>.<CR><LF>")
        message = _Message(self._spool, envelope)
        try:
            body = _Body()
            while not body.ended:
                message.write(body.feed(self._client.data or self._client.read()))
                self._client.data = body.rest
            qid = message.commit()
        finally:
            message.abandon()
        self._client.say(f"{_OK}: queued as {qid}")
        self._client.flush()
        if message.is_here:
            self._queued(qid)

    def _rset(self, argument: str) -> None:
        if argument:
            raise RefusalError("501 5.5.4 Syntax: RSET")
        self._envelope = None
        self._client.say(_OK)

    def _noop(self, _: str) -> None:
        self._client.say(_OK)

    def _vrfy(self, argument: str) -> None:
        if not argument:
            raise RefusalError("501 5.5.4 Syntax: VRFY address [SMTPUTF8]")
        self._client.say(f"252 2.0.0 {printable(argument)}")


def _breaks_rules(line: bytes) -> bool:
    """Say whether a command line is the field of a header, or HTTP.

    A script that does not wait for replies sends its message also where DATA was refused, and
    lines in it may look like commands.  Postfix goes by a colon in the first word.
    """
    first = b"".join(line.split(None, 1)[:1])
    return b":" in first or first.upper() in _FORBIDDEN


class _Message:
    """A message on its way into the spool, or the reply that says why it is not.

    is_here  whether it goes into the spool itself, not to another who does that for us
    """

    __slots__ = ("_draft", "_limit", "_refusal", "is_here")

    def __init__(self, spool: Spool, envelope: Envelope) -> None:
        self._limit = spool.size_limit()
        self._draft: Draft | Held | None = None
        self._refusal = ""
        try:
            self._draft = _draft(spool, envelope)
        except MailError as error:
            self._refuse(error)
        self.is_here = isinstance(self._draft, Draft)

    def write(self, data: bytes) -> None:
        if self._draft is None:
            return
        try:
            self._draft.write(data)
        except MailError as error:
            self._refuse(error)
            return
        if 0 < self._limit < self._draft.size:
            self.abandon()
            self._refusal = "552 5.3.4 Error: message file too big"

    def commit(self) -> str:
        """Return the id of the message, which survives a power cut now."""
        if self._draft is None:
            raise RefusalError(self._refusal)
        try:
            return self._draft.commit()
        except MailError as error:
            self._refuse(error)
            raise RefusalError(self._refusal) from None

    def abandon(self) -> None:
        """Forget what was not committed."""
        if self._draft is not None:
            self._draft.abandon()
            self._draft = None

    def _refuse(self, error: MailError) -> None:
        self.abandon()
        code = _REPLIES.get(error.status, "451 4.3.0")
        self._refusal = f"{code} Error: {printable(str(error))}"


def _draft(spool: Spool, envelope: Envelope) -> "Draft | Held":
    try:
        return spool.draft(envelope)
    except SealedError as error:
        from pymail import inlet  # noqa: PLC0415  (costs the usual path nothing)

        return inlet.held(spool, envelope, error)


class _Body:
    """The lines of a message up to a lone dot, each less its leading dot (RFC 5321 4.5.2)."""

    __slots__ = ("_at_line_start", "_held", "ended", "rest")

    def __init__(self) -> None:
        self._at_line_start = True
        self._held = b""
        self.ended = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is certain so far.  What follows the lone dot is then in `rest`."""
        before = b"\n" if self._at_line_start else b""
        text = before + self._held + data
        self._held = b""
        text, dot, self.rest = text.partition(b"\n.\n")
        if dot:
            self.ended = True
            text += b"\n"
        elif text.endswith(b"\n."):
            self._held = b"."
            text = text[:-1]
        self._at_line_start = text.endswith(b"\n")
        return text.replace(b"\n.", b"\n")[len(before) :]
