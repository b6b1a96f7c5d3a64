"""The nursery: it makes children of flush, tells how they ended, and may itself be killed."""

import os
import signal
import socket
import time

import pytest

from pymail.identity import Identity
from pymail.nursery import Nursery

ME = Identity("me", os.getuid(), os.getgid(), "/", "/bin/sh")


def serve(channel: socket.socket, user: Identity) -> None:
    """Be a child of a test: say who and what it is, then end as it is told."""
    channel.send(f"{user.name} {os.getppid()}".encode())
    word = channel.recv(100)
    if word == b"hang":
        time.sleep(60)
    os._exit(int(word or b"0"))


@pytest.fixture
def nursery():
    made = Nursery(lambda _: None, serve)
    yield made
    made.close()


def child_of(nursery: Nursery) -> tuple[socket.socket, int]:
    """Return the channel and the pid of a new child."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with theirs:
        try:
            return ours, nursery.start(theirs.fileno(), ME, "maildir")
        except OSError:
            ours.close()
            raise


def test_a_child_is_the_nurserys_and_its_end_is_told(nursery):
    channel, pid = child_of(nursery)
    with channel:
        name, parent = channel.recv(100).split()
        assert (name, int(parent)) == (b"me", nursery._pid)
        channel.send(b"7")
        assert nursery.reap(pid) == 7
        assert not os.path.exists(f"/proc/{pid}")


def test_a_child_that_hangs_can_be_killed(nursery):
    channel, pid = child_of(nursery)
    with channel:
        channel.recv(100)
        channel.send(b"hang")
        nursery.kill(pid)
        assert nursery.reap(pid) == -signal.SIGKILL


def test_a_child_ends_with_its_channel_though_the_nursery_was_killed(nursery):
    channel, pid = child_of(nursery)
    with channel:
        channel.recv(100)
        os.kill(nursery._pid, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            child_of(nursery)
        assert not nursery.alive
        nursery.kill(pid)  # may be another's pid by now: left alone
        assert nursery.reap(pid) == 0
        channel.send(b"0")
        assert channel.recv(100) == b""


def test_a_nursery_that_failed_is_no_more():
    def fails(_: str) -> None:
        raise OSError(5, "Input/output error")

    nursery = Nursery(fails, serve)
    with pytest.raises(ConnectionError):
        child_of(nursery)
    assert not nursery.alive
    nursery.close()
