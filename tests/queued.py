"""What lies in a spool, as tests of the programs that take mail look at it."""

from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from pymail.entry import Head
from pymail.envelope import Envelope


@dataclass(frozen=True)
class Queued:
    """One message as it was submitted: nothing completed, qualified or rewritten."""

    envelope: Envelope
    data: bytes

    @property
    def mime(self) -> EmailMessage:
        """The message as Python's parser sees it."""
        parsed = message_from_bytes(self.data, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def head(self) -> str:
        """The header, each field with its line end."""
        return self.data.partition(b"\n\n")[0].decode("ascii") + "\n"

    @property
    def body(self) -> bytes:
        """The body as it stands in the message."""
        return self.data.partition(b"\n\n")[2]

    @property
    def text(self) -> str:
        """The text as a reader shows it."""
        part = self.mime.get_body(("plain", "html"))
        assert part is not None
        return part.get_content()


def queued(spool: Path) -> list[Queued]:
    """Return the messages in a spool's drop and queue, oldest first."""
    places = [*(spool / "drop").glob("*/*"), *(spool / "queue").glob("*")]
    found = []
    for path in sorted(places, key=lambda p: p.name[-9:]):
        if not path.name.startswith("."):
            data = path.read_bytes()
            head = Head(data)
            found.append((path.stat().st_ctime_ns, head.envelope, data[head.body : head.tail]))
    return [Queued(envelope, data) for _, envelope, data in sorted(found, key=lambda f: f[0])]


def only(spool: Path) -> Queued:
    """Return the one message in a spool."""
    (message,) = queued(spool)
    return message
