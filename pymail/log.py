"""One event, one line, in the shape that Postfix writes and pflogsumm, logwatch and fail2ban read.

`pymail/local[123]: QID: to=<a@b>, relay=local, delay=0.3, dsn=2.0.0, status=sent (...)`

In system mode the line goes to syslog, facility mail.  In user mode and in containers it goes
to a file or to standard error, with the time and the host before it.
"""

import os
import syslog
import time

from pymail.errors import printable

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SOCKET = "/dev/log"
_NOWHERE = -2

FILE_LIMIT = 1 << 20
"""Bytes; a larger log file is moved to `FILE.1` when it is opened."""


class Log:
    """Where events go: `path` is None for syslog, "-" for standard error, else a file.

    `trouble` says why that file cannot be written; "" where it can.
    """

    __slots__ = ("_fd", "_host", "_ident", "_second", "_stamp", "trouble")

    def __init__(self, path: str | None) -> None:
        self._fd = -1
        self._ident = self.trouble = ""
        self._second, self._stamp = -1, ""
        self._host = os.uname().nodename
        if path == "-":
            self._fd = 2
            return
        if path is not None:
            try:
                self._fd = _open(path)
            except OSError as error:  # the system's log is what is left
                self.trouble = f"cannot open the log {path}: {error.strerror}"
        if self._fd < 0 and not os.path.exists(SOCKET):
            self._fd = _NOWHERE  # a container without syslog: do not knock five times a message

    def event(self, part: str, text: str) -> None:
        """Write one line for `part` of pymail (pickup, qmgr, local, bounce ...).

        A log that cannot be written is no reason to stop moving mail.
        """
        if self._fd == _NOWHERE:
            return
        text = printable(text)
        if self._fd < 0:
            if self._ident != part:
                self._ident = part
                syslog.openlog(f"pymail/{part}", syslog.LOG_PID, syslog.LOG_MAIL)
            syslog.syslog(syslog.LOG_INFO, text)
            return
        line = f"{self._now()} {self._host} pymail/{part}[{os.getpid()}]: {text}\n"
        try:
            os.write(self._fd, line.encode("utf-8", "replace"))
        except OSError:
            self._fd = self._fd if self._fd == 2 else -1

    def _now(self) -> str:
        """Return the time as syslog writes it, made anew each second."""
        second = int(time.time())
        if second != self._second:
            now = time.localtime(second)
            clock = time.strftime("%H:%M:%S", now)
            self._stamp = f"{MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {clock}"
            self._second = second
        return self._stamp


def _open(path: str) -> int:
    try:
        if os.stat(path).st_size > FILE_LIMIT:
            os.replace(path, f"{path}.1")
    except OSError:
        pass  # not there yet
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
