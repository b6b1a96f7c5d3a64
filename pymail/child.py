"""A child of flush: how it is made, becomes a user for good, answers one question, ends."""

import errno
import functools
import gc
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

from pymail.errors import printable
from pymail.identity import Identity

PATIENCE = 20
"""Seconds that a question to a user's home may take, or that a child may not listen."""

DESCRIPTORS = 1024
"""What programs are used to."""

_REAPS = 100

_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)
"""What Python, nohup(1) or a shell's `&` may have us ignore."""


@functools.lru_cache(maxsize=1024)
def groups(user: Identity) -> list[int]:
    """Return the groups of a user.

    Who makes children asks first: to load what looks groups up costs more than a child does.
    """
    try:
        return os.getgrouplist(user.name, user.gid)
    except OSError:
        return [user.gid]


def become(user: Identity, descriptors: int = DESCRIPTORS) -> None:
    """Become `user` for good, with few `descriptors`.  PermissionError where that cannot be.

    Nothing of the caller stays: groups, environment, umask, working directory, core dumps.
    """
    if os.getuid() == 0 and user.uid != 0:
        os.setgroups(groups(user))
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    if os.getresuid() != (user.uid,) * 3:
        raise PermissionError(1, f"cannot become {user.name}")
    os.umask(0o077)
    os.environ.clear()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = descriptors if most == resource.RLIM_INFINITY else min(descriptors, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))  # flush has more
    try:
        os.chdir(user.home)
    except OSError:
        os.chdir("/")


def ask(user: Identity, question: Callable[[], list[str]], patience: float = 0) -> list[str]:
    """Return what `question` returns when it is asked with the rights of `user`.

    Raise OSError where the child could not become the user, or died.  The answer is the user's
    word.
    """
    if os.getuid() == user.uid:
        return question()

    patience = patience or PATIENCE
    if os.getuid() == 0:
        groups(user)
    readable, writable = os.pipe()

    def serve() -> None:
        become(user)
        with open(writable, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(question()).encode())

    pid = fork(writable, serve)
    os.close(writable)
    data, whole = hear(readable, time.monotonic() + patience)
    if not whole:
        os.kill(pid, signal.SIGKILL)
        reap(pid)
        raise OSError(errno.ETIMEDOUT, f"no answer in {patience:.3g} s (a hanging mount?)")
    status = reap(pid)
    if status or not data.startswith(b"["):
        text = printable(data.decode("utf-8", "replace").partition("\t")[2].strip())
        raise OSError(errno.EIO, text or f"agent of {user.name} died")
    return [str(word) for word in json.loads(data)]


def hear(fd: int, deadline: float) -> tuple[bytes, bool]:
    """Return what comes through a pipe, and whether that was all of it; close the pipe."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    data = b""
    try:
        while left := max(deadline - time.monotonic(), 0):
            if poll.poll(int(left * 1000)):
                piece = os.read(fd, 1 << 16)
                if not piece:
                    return data, True
                data += piece
        return data, False
    finally:
        os.close(fd)


def ended(pid: int) -> int | None:
    """Return how a child ended, None while it has not; its pid may be another's from then on."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def reap(pid: int, asked: Callable[[int], int | None] = ended) -> int:
    """Return how a child ended; one that hangs in the kernel is left to hang."""
    pause = 0.0005
    for _ in range(_REAPS):
        code = asked(pid)
        if code is not None:
            return code
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return -signal.SIGKILL


def fork(out: int, serve: Callable[[], None]) -> int:
    """Start a child that runs serve() with no descriptor of ours but `out`; return its pid."""
    sys.stdout.flush()
    # A collection in the child would touch, and so copy, every object of the parent.
    gc.freeze()
    pid = os.fork()
    if pid:
        return pid
    gc.disable()
    status = 70
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _close_all_but(out)
        serve()
        status = 0
    except BaseException as error:  # noqa: BLE001  (the child must never return into the parent)
        text = printable(f"{type(error).__name__}: {error}")
        os.write(out, f"!\t{text}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _close_all_but(keep: int) -> None:
    """Close every descriptor but `keep`; 0 to 2 become /dev/null."""
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
