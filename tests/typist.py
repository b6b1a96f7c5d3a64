"""Somebody at a terminal: runs a program on a pseudo-terminal, reads and types."""

import os
import pty
import select
import signal
import time
from pathlib import Path

ENOUGH = 30.0
"""Seconds after which nothing more is to be expected."""


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path) -> None:
        """Start it."""
        self.shown = b""
        self._read = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(argv[0], argv, env)

    def wait(self, text: str) -> bytes:
        """Wait until the terminal shows `text` (again); return what it showed up to there."""
        wanted = text.encode()
        end = time.monotonic() + ENOUGH
        while (at := self.shown.find(wanted, self._read)) < 0:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.shown!r}"
            if not self._more(left):
                raise AssertionError(f"ended without {text!r}: {self.shown!r}")
        before = self.shown[self._read : at + len(wanted)]
        self._read = at + len(wanted)
        return before

    def type(self, text: str | bytes) -> None:
        """Type it; a person presses Enter at the end of each line."""
        if text in ("\x03", b"\x03"):
            # An interrupt between the prompt and the read is seen with the next key only.
            time.sleep(0.3)
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """Wait for the program's end; return its exit status (negative: its signal)."""
        end = time.monotonic() + ENOUGH
        while self._more(end - time.monotonic()):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def hang_up(self) -> int:
        """Take the terminal away; return the exit status."""
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _more(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], max(seconds, 0))[0]:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"nothing happened: {self.shown!r}")
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.shown += data
        return bool(data)
