"""Delivery to a program: mailbox_command, and |command of an alias or .forward.

The program gets a "From " line and the message on standard input, who it is for in its
environment, and says with its exit status what became of the message.  All of this is as
Postfix's local(8) has it.  Addresses reach it by the environment only: nothing that a sender
wrote is ever part of a command line.

Standard input is a finished file, not a pipe: a program that is fed by a process which then
dies would take half a message for a whole one.  Delivery is at least once: a crash between the
program's exit and our hearing of it has it run again.
"""

import errno
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain

from pymail.address import fold, split
from pymail.errors import printable
from pymail.transport import Delivery, Outcome, bounced, deferred, kept, sent
from pymail.transport.mbox import separator

PATH = "/usr/local/bin:/usr/bin:/bin"
SHELL = "/bin/sh"
OUTPUT = 4096
"""Bytes of a program's output that are kept for log and bounce; the rest is read and dropped."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL for a program that takes too long."""

_IN_MEMORY = 1 << 24
_PIPE = 1 << 16
"""Bytes that a pipe holds: one read takes all that a program had to say when it ended."""
_FOREVER = 3600.0
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HARMLESS = frozenset(f"{_LETTERS}0123456789!@%-_=+:,./")
"""Characters that mean nothing to a shell (Postfix: command_expansion_filter)."""

# sysexits.h: RFC 3463 status and words, as Postfix has them.  4.x.x is tried again.
_STATUSES = {
    64: ("5.3.0", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    71: ("4.3.0", "system resource problem"),
    72: ("5.3.0", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    74: ("5.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "local configuration error"),
}
_STATUS_AND_WORDS = re.compile(r"([45]\.\d{1,3}\.\d{1,3})(?: (.*))?")


def deliver(batch: Sequence[Delivery]) -> Iterator[tuple[int, Outcome]]:
    """Run the command that is the `argument` of each delivery, one after another."""
    for delivery in batch:
        yield delivery.number, _run(delivery)


def environment(delivery: Delivery) -> dict[str, str]:
    """Return the whole environment of the program.

    What comes from an address is harmless to a shell: other characters become "_".  LOCAL,
    DOMAIN and EXTENSION are in lower case, so that scripts can compare them; the addresses are
    as they were written.
    """
    local, domain = split(fold(delivery.recipient))
    foreign = {
        "SENDER": delivery.sender,
        "RECIPIENT": delivery.recipient,
        "ORIGINAL_RECIPIENT": delivery.original,
        "LOCAL": local,
        "DOMAIN": domain,
    }
    if delivery.extension:
        foreign["EXTENSION"] = delivery.extension
    return {
        "PATH": PATH,
        "LANG": "C",
        "HOME": delivery.user.home,
        "SHELL": delivery.user.shell or SHELL,
        "USER": delivery.user.name,
        "LOGNAME": delivery.user.name,
        **{name: _harmless(value) for name, value in foreign.items()},
    }


def judge(command: str, status: int, output: str) -> Outcome:
    """Return what an exit status (negative: a signal) and one line of output mean."""
    said = f". Command output: {output}" if output else ""
    if status == 0:
        return sent(f"delivered to command: {command}")
    if status < 0:
        return deferred("4.3.0", f'Command died with signal {-status}: "{command}"{said}')
    told = _STATUS_AND_WORDS.fullmatch(output)
    if told:
        return _by_class(told[1], told[2] or _STATUSES.get(status, ("", "no reason given"))[1])
    if status in _STATUSES:
        dsn, words = _STATUSES[status]
        return _by_class(dsn, words + said)
    return bounced("5.3.0", f'Command died with status {status}: "{command}"{said}')


def _by_class(dsn: str, words: str) -> Outcome:
    return deferred(dsn, words) if dsn.startswith("4") else bounced(dsn, words)


def _harmless(value: str) -> str:
    return "".join(c if c in _HARMLESS else "_" for c in value)


def _run(delivery: Delivery) -> Outcome:
    command = delivery.argument
    if not command.strip() or "\0" in command:
        return deferred("4.3.5", f'cannot run command: no command line: "{command}"')
    try:
        message = _message(delivery)
    except OSError as error:
        return kept("4.3.0", f"cannot copy message for command: {error.strerror}")
    try:
        program = _Program(command, message, environment(delivery))
    except OSError as error:
        words = f'cannot run command: {error.strerror}: "{command}"'
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            return kept("4.3.0", words)
        return deferred("4.3.0", words)
    finally:
        os.close(message)
    status = program.listen(delivery.time_limit)
    if status is None:
        said = f". Command output: {program.output}" if program.output else ""
        return deferred("4.3.0", f'Command time limit exceeded: "{command}"{said}')
    return judge(command, status, program.output)


def _message(delivery: Delivery) -> int:
    """Return a descriptor of the whole message, at its beginning; the file has no name."""
    content = delivery.content
    if len(content.header) + max(len(content.body), content.size) <= _IN_MEMORY:
        fd = os.memfd_create("message")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        for piece in chain((separator(delivery),), content.pieces()):
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


class _Program:
    """A running program in a session of its own, and what it has said so far."""

    def __init__(self, command: str, message: int, env: dict[str, str]) -> None:
        self._out, out = os.pipe()
        try:
            self._process = _start(command, message, out, env)
        except OSError:
            os.close(self._out)
            raise
        finally:
            os.close(out)
        os.set_blocking(self._out, False)
        self._data = b""
        self._open = True
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._tick = _FOREVER
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
            self._poll.register(self._pidfd, select.POLLIN)
        except OSError:  # a kernel before 5.3, or out of descriptors: look now and then
            self._pidfd, self._tick = -1, 0.05

    @property
    def output(self) -> str:
        """What it wrote to standard output and error, as one printable line."""
        return printable(" ".join(self._data.decode("utf-8", "replace").split()))

    def listen(self, limit: int) -> int | None:
        """Wait for the program; return its exit status, or None where it took too long.

        What it leaves behind in the background is not waited for, even if that holds on to
        the output.
        """
        try:
            ended = self._wait(limit)
            if not ended:
                self._signal(signal.SIGTERM)
                self._wait(GRACE)
                # Dead or not, it is not reaped yet: its number still means this group.
                self._signal(signal.SIGKILL)
                self._wait(GRACE)
            # A set-id program may outlive even that; then init will reap it.
            status = self._process.wait() if self._over() else None
        finally:
            os.close(self._out)
            if self._pidfd >= 0:
                os.close(self._pidfd)
        return status if ended else None

    def _wait(self, limit: float) -> bool:
        deadline = time.monotonic() + limit
        while True:
            over = self._over()
            self._read()
            left = deadline - time.monotonic()
            if over or left <= 0:
                return over
            self._poll.poll(min(left, self._tick) * 1000)

    def _over(self) -> bool:
        return (
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def _read(self) -> None:
        try:
            piece = os.read(self._out, _PIPE)
        except BlockingIOError:
            return
        if not piece and self._open:
            self._poll.unregister(self._out)
            self._open = False
        self._data = (self._data + piece)[:OUTPUT]

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # set-id: not ours to end


def _start(command: str, message: int, out: int, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the program; by a shell only where the line needs one."""
    line = command.encode("utf-8", "surrogateescape")
    if set(command) <= _HARMLESS | {" ", "\t"}:
        argv = line.split()
        try:
            return _spawn(argv, message, out, env)
        except OSError as error:
            missing = error.errno == errno.ENOENT and b"/" not in argv[0]  # maybe the shell's own
            if not missing and error.errno != errno.ENOEXEC:
                raise
    # Its name stands in its complaints, which are read in bounces: "sh: 1: x: not found".
    return _spawn([b"sh", b"-c", line], message, out, env, SHELL)


def _spawn(
    argv: list[bytes], message: int, out: int, env: dict[str, str], file: str | None = None
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        argv,
        executable=file,
        stdin=message,
        stdout=out,
        stderr=out,
        env=env,
        start_new_session=True,
    )
