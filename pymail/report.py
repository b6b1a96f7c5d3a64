"""What the child that speaks SMTP tells its parent, one JSON array a line.

[number, status, dsn, words, relay, reply, passed]     what became of a delivery
["failed", key, why, dsn, words]                       a destination is left alone
"""

import json
import os
import select
import socket
import threading
from collections.abc import Sequence

from pymail.errors import printable
from pymail.outcome import Outcome
from pymail.transport import Delivery


class Report:
    """The child's end of the channel; every thread may speak."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # Who takes mail in must never wait for who talks: the parent hears nothing while it gives.
        self._voice = threading.Lock()
        self._files = threading.Lock()
        self._uses: dict[int, int] = {}

    def hold(self, batch: Sequence[Delivery]) -> None:
        """Keep the files of deliveries open until each was told of."""
        with self._files:
            for delivery in batch:
                file = delivery.content.fd
                self._uses[file] = self._uses.get(file, 0) + 1

    def outcomes(self, told: Sequence[tuple[Delivery, Outcome]]) -> None:
        """Tell what became of deliveries; their files are of no more use."""
        with self._files:
            for delivery, _ in told:
                self._let_go(delivery.content.fd)
        lines = [[d.number, o.status, o.dsn, o.words, o.relay, o.reply, o.passed] for d, o in told]
        self._say("".join(f"{json.dumps(line)}\n" for line in lines))

    def _let_go(self, file: int) -> None:
        self._uses[file] -= 1
        if not self._uses[file]:
            del self._uses[file]
            if file >= 0:
                os.close(file)

    def failed(self, key: str, why: str, outcome: Outcome) -> None:
        """Tell that a destination is left alone."""
        self._say(f"{json.dumps(['failed', key, why, outcome.dsn, outcome.words])}\n")

    def check(self) -> None:
        """Die where the parent is dead, and with it the locks of what is under way.

        The next run may have those messages in hand.
        """
        poll = select.poll()
        poll.register(self._channel, 0)
        if poll.poll(0):
            os._exit(0)

    def last_words(self, error: BaseException) -> None:
        """Tell of a bug, and die of it: the parent takes everything as in doubt."""
        text = printable(f"{type(error).__name__}: {error}")
        self._say(f"!\t{text.encode('ascii', 'replace').decode()}\n")
        os._exit(70)

    def _say(self, text: str) -> None:
        with self._voice:
            try:
                self._channel.sendall(text.encode("ascii"))
            except OSError:
                os._exit(0)  # the parent is gone: what it has not heard is in doubt
