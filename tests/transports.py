"""What the tests of the transports share: deliveries."""

import os
from pathlib import Path
from typing import Any

from pymail.identity import Identity
from pymail.transport import Content, Delivery

ALICE = Identity("alice", 1001, 1001, "/home/alice", "/bin/zsh")
HEADER = b"Subject: s\nTo: alice\n"
BODY = b"From here\nto there\n"

_USUAL = Delivery(
    number=7,
    qid="0YT5y1gYW0w1HfGh1",
    key="abcdefghij",
    doubtful=False,
    sender="joe@example.org",
    recipient="alice+list@example.net",
    original="root@example.net",
    argument="",
    extension="",
    user=ALICE,
    content=Content(HEADER, BODY),
    arrived=1795000000,
    time_limit=60,
)


def delivery(argument: str, **facts: Any) -> Delivery:
    """Return a delivery; what is not said does not matter."""
    return _USUAL._replace(argument=argument, **facts)


def content(header: bytes, body: bytes) -> Content:
    """Return a message that is in memory."""
    return Content(header, body)


def filed(place: Path, header: bytes, body: bytes, *, claim: int = 0) -> Content:
    """Return a message whose body is in a file, behind something else; `claim` lies on its size."""
    path = place / "queue-file"
    path.write_bytes(b"before" + body + (b"" if claim else b"after"))
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # lent until the tests end
    return Content(header, b"", fd, 6, claim or len(body))
