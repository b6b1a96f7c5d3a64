"""Where fetched mail goes: into the queue for a user, into a Maildir, or to a program.

A message is made durable under a name that nobody looks at, recorded as fetched, and only then
given its own name: whatever dies in between, the next fetch finds either the record, and gives
the name, or none, and fetches the message again.  So nothing comes twice and nothing is lost.  A
program gets a message at least once: no protocol can do better.
"""

import hashlib
import os
import shlex
import time
from collections.abc import Container
from typing import Protocol

from pymail import address, fetched, message
from pymail.account import Account
from pymail.envelope import Envelope
from pymail.errors import TempError
from pymail.identity import Identity
from pymail.source import Text
from pymail.source.content import content
from pymail.spool import Spool, make_directory
from pymail.transport import Delivery, command, maildir

_DIGEST = 24
_HEADER = 1 << 20


class Destination(Protocol):
    """What takes the messages of one account.  TempError where it cannot."""

    def recover(self, recorded: Container[str]) -> None:
        """Finish what a fetch that died has left; `recorded` are digests of messages."""
        ...

    def take(self, digest: str, text: Text) -> str:
        """Take a message; return "", or why this one cannot be taken."""
        ...

    def settle(self) -> None:
        """Make what was taken durable."""
        ...

    def release(self) -> None:
        """Let everybody see what was taken: it is recorded."""
        ...

    @property
    def certain(self) -> bool:
        """Whether nothing comes twice that was taken and not recorded."""
        ...


def digest(account: str, key: str) -> str:
    """Return a name for a message that can stand in the name of a file."""
    text = f"{account}\0{key}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:_DIGEST]


def destination(account: Account, spool: Spool, user: Identity, time_limit: int) -> Destination:
    """Return where the mail of an account goes; `user` is who runs this.

    time_limit  seconds that a command may take
    """
    if account.mda:
        return Program(account, user, time_limit)
    if account.maildir:
        path = account.maildir
        path = f"{user.home}/{path[2:]}" if path.startswith("~/") else path
        return Folder(path, _tag(account, spool, user))
    return Queue(account, spool, user)


class Queue:
    """The queue: flush delivers by aliases, .forward and what else the user has set."""

    certain = True

    def __init__(self, account: Account, spool: Spool, user: Identity) -> None:
        self._account = account
        self._spool = spool
        self._user = user
        self._prefix = f".fetch-{_tag(account, spool, user)}-"
        self._taken: list[tuple[str, str]] = []

    def recover(self, recorded: Container[str]) -> None:
        """Release what is recorded, remove what is not."""
        found = []
        for name in self._spool.hidden(self._prefix):
            each, _, qid = name.removeprefix(self._prefix).partition("-")
            found.append((name, qid, each in recorded))
        self._spool.release([(name, qid) for name, qid, known in found if known])
        self._spool.withdraw([name for name, _, known in found if not known])

    def take(self, digest: str, text: Text) -> str:
        """Queue a message under a hidden name."""
        envelope = Envelope(self._user.uid, self._recipients(text), sender="", kind="raw")
        draft = self._spool.hide(envelope)
        try:
            for piece in text.pieces():
                draft.write(piece)
        except OSError as error:
            draft.abandon()
            raise TempError(f"cannot read what was fetched: {error.strerror}") from None
        hidden = f"{self._prefix}{digest}-{draft.qid}"
        self._taken.append((hidden, draft.commit(hidden)))
        return ""

    def settle(self) -> None:
        """Sync the directory."""
        self._spool.settle()

    def release(self) -> None:
        """Rename."""
        self._spool.release(self._taken)
        self._taken = []

    def _recipients(self, text: Text) -> list[str]:
        """Return who a message is for: the users that its header names, or the account's."""
        account = self._account
        found: list[str] = []
        if account.envelope_header:
            head = next(text.pieces(), b"")[:_HEADER]
            fields, _ = message.split(head)
            for value in _written_last(fields, account.envelope_header.lower().encode()):
                for spec in address.specs(value.decode("utf-8", "surrogateescape")):
                    ours = (spec.domain or "").lower() in account.domains
                    # A quoted "x@elsewhere" would be an address elsewhere, and we a relay.
                    if spec.valid and ours and "@" not in spec.local and spec.local not in found:
                        found.append(spec.local)
        return found or [account.to or self._user.name]


class Folder:
    """A Maildir."""

    certain = True

    def __init__(self, path: str, tag: str) -> None:
        self._path = path.rstrip("/")
        self._tmp = os.path.join(self._path, "tmp")
        self._tag = tag
        self._taken: list[tuple[str, str]] = []
        try:
            os.close(make_directory(os.path.dirname(self._path)))
            maildir.make(self._path)
        except OSError as error:
            raise self._trouble(error) from None

    def recover(self, recorded: Container[str]) -> None:
        """Release what is recorded, remove what is not."""
        try:
            for name in os.listdir(self._tmp):
                _, mark, rest = name.partition(f".F{self._tag}-")
                each, dot, _ = rest.partition(".")
                if not (mark and dot):
                    continue
                if each in recorded:
                    self._taken.append((f"{self._tmp}/{name}", f"{self._path}/new/{name}"))
                else:
                    os.unlink(f"{self._tmp}/{name}")
        except OSError as error:
            raise self._trouble(error) from None
        self.release()

    def take(self, digest: str, text: Text) -> str:
        """Write a message to tmp/."""
        seconds, micro = divmod(time.time_ns() // 1000, 1_000_000)
        # The digest may come again, of another server; a rename would then write over the letter.
        name = f"{seconds}.M{micro}.F{self._tag}-{digest}.pymail"
        draft = f"{self._tmp}/{name}"
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                for piece in text.pieces():
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._trouble(error) from None
        self._taken.append((draft, f"{self._path}/new/{name}"))
        return ""

    def settle(self) -> None:
        """Sync tmp/."""
        self._sync("tmp")

    def release(self) -> None:
        """Rename to new/, and sync that."""
        try:
            for draft, name in self._taken:
                os.rename(draft, name)
        except OSError as error:
            raise self._trouble(error) from None
        if self._taken:
            self._sync("new")
        self._taken = []

    def _sync(self, name: str) -> None:
        try:
            fd = os.open(f"{self._path}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: OSError) -> TempError:
        return TempError(f"cannot deliver to {self._path}: {error.strerror}")


class Program:
    """A command, which gets each message on its standard input."""

    certain = False

    def __init__(self, account: Account, user: Identity, time_limit: int) -> None:
        self._time_limit = time_limit
        self._command = account.mda
        self._to = account.to or user.name
        self._user = user

    def recover(self, recorded: Container[str]) -> None:
        """Nothing is ever left."""

    def take(self, digest: str, text: Text) -> str:
        """Run the command: its exit status says whether it has the message."""
        argument = self._command.replace("%T", shlex.quote(self._to))
        delivery = Delivery(
            0, "", digest, False, "", self._to, self._to, argument, "",
            self._user, content(text), int(time.time()), time_limit=self._time_limit,
        )  # fmt: skip
        ((_, outcome),) = command.deliver([delivery])
        return "" if outcome.status == "sent" else outcome.words

    def settle(self) -> None:
        """Trust the program."""

    def release(self) -> None:
        """Trust the program."""


def _written_last(fields: list[message.Field], name: bytes) -> list[bytes]:
    """Return what the last server wrote: what stands above its Received, or else the topmost.

    All below was there before, and may be whatever the sender chose.
    """
    end = next((at for at, field in enumerate(fields) if field.name == b"received"), len(fields))
    return message.values(fields[:end], name) or message.values(fields[end:], name)[:1]


def _tag(account: Account, spool: Spool, user: Identity) -> str:
    """Return what marks the unfinished messages of an account, and of one record of it.

    An account of the system and one of the user may have the same name, and the same Maildir.
    """
    return digest(account.name, fetched.place(spool, user.home))[:8]
