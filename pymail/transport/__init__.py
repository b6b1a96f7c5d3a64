"""The last hop of a message: Maildir, mbox, command, LMTP.

A transport is a function that gets a batch of deliveries and yields, for each, its Outcome as
soon as that is certain.  It runs in a child process that has become the user whose mailbox,
file or command it is (see agent.py), knows nothing of the queue, and never raises for what the
other side did.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pymail.identity import Identity
from pymail.outcome import Outcome, bounced, deferred, kept, sent

__all__ = [
    "Content",
    "Delivery",
    "Identity",
    "Login",
    "Outcome",
    "Transport",
    "Wishes",
    "bounced",
    "deferred",
    "failed",
    "kept",
    "sent",
]


class Content(NamedTuple):
    """The message of a delivery: `header` (complete, with its last LF) and the body.

    The body is `body` where it is at hand, else `size` bytes at `offset` of descriptor `fd`.
    `prefix` is what stands before the header for this recipient only: all else is shared.
    """

    header: bytes
    body: bytes
    fd: int = -1
    offset: int = 0
    size: int = 0
    prefix: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        """Yield header, empty line and body, in pieces of at most 1 MiB."""
        if self.fd < 0:
            yield self.prefix + self.header + b"\n" + self.body
            return
        yield self.prefix + self.header + b"\n"
        at, end = self.offset, self.offset + self.size
        while at < end:
            piece = os.pread(self.fd, min(1 << 20, end - at), at)
            if not piece:
                raise OSError(5, "queue file became shorter")
            yield piece
            at += len(piece)


class Login(NamedTuple):
    """What a server is told of who we are; `password` is the token of XOAUTH2 as well.

    `command` prints the password where it is not known before; `source` says where the login is
    from, for people.  The secret is in no repr.
    """

    user: str
    password: str = ""
    command: str = ""
    source: str = ""

    def __repr__(self) -> str:
        """Show everything but the password."""
        return f"Login(user={self.user!r}, command={self.command!r}, source={self.source!r})"


class Wishes(NamedTuple):
    """What the sender asked for (RFC 3461, 6152, 6531), as it goes to the next server.

    notify and orcpt are the recipient's; `utf8` says that SMTPUTF8 was asked for.
    """

    notify: str = ""
    orcpt: str = ""
    ret: str = ""
    envid: str = ""
    utf8: bool = False


class Delivery(NamedTuple):
    """One message to one target.

    number     of the delivery in its batch; comes back with the outcome
    qid        queue id; `key` names the target within the message (10 letters and digits)
    doubtful   an earlier attempt may have succeeded without our hearing of it
    sender     envelope sender, qualified, "" for the null sender
    recipient  the final address, `original` the one the message was queued for
    argument   path of a Maildir or file, command line, LMTP destination, or list of next hops
    extension  of the recipient, behind recipient_delimiter
    arrived    seconds
    time_limit seconds that a command may take
    filter     a command line that the message goes through before, or ""
    logins     for SMTP: next hops, as they are shown, and who to log in as there; `wishes` go
               with the message
    """

    number: int
    qid: str
    key: str
    doubtful: bool
    sender: str
    recipient: str
    original: str
    argument: str
    extension: str
    user: Identity
    content: Content
    arrived: int
    time_limit: int = 1000
    logins: tuple[tuple[str, Login], ...] = ()
    wishes: Wishes = Wishes()
    filter: str = ""


Transport = Callable[[Sequence[Delivery]], Iterator[tuple[int, Outcome]]]

_LOCAL_TROUBLE = {
    errno.ENOSPC: "4.3.1",
    errno.EDQUOT: "4.2.2",
    errno.EFBIG: "4.2.2",
    errno.EIO: "4.3.0",
    errno.EMFILE: "4.3.0",
    errno.ENFILE: "4.3.0",
    errno.ENOMEM: "4.3.0",
    errno.EROFS: "4.3.0",
}


def failed(words: str, error: OSError) -> Outcome:
    """Return the outcome of a delivery to a file: trouble of this machine never bounces."""
    code = _LOCAL_TROUBLE.get(error.errno or 0)
    return kept(code, words) if code else deferred("4.2.0", words)
