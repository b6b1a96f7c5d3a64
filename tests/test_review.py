"""What a hostile or unlucky user can do to others' mail: found by reading, kept as tests."""

from pathlib import Path

import pytest
from machine import Machine

LETTER = b"Subject: hello\n\nIt works.\n"


def everything(machine: Machine, user: str) -> bytes:
    """Return all that a user has got."""
    return b"".join(letter.data for letter in machine.mail(user))


def test_a_forward_cannot_have_root_read_a_secret(machine: Machine) -> None:
    """An include file that a .forward names is read with the rights of its owner."""
    secret = Path("/etc/secret.db")
    secret.write_text("root:$6$topsecret:1:2\nhunter2\n")
    secret.chmod(0o600)
    machine.write("alice", ".forward", ":include:/etc/secret.db\n")
    machine.send("bob", LETTER, "alice")
    machine.flush()
    secret.unlink()
    told = machine.run("bob", "mailq").stdout + everything(machine, "bob")
    assert b"topsecret" not in told
    assert b"hunter2" not in told


@pytest.mark.parametrize("path", ["//etc/passwd", "///etc//passwd"])
def test_a_forward_with_two_slashes_does_not_hang_the_run(machine: Machine, path: str) -> None:
    """A path may begin with two slashes."""
    machine.write("alice", ".forward", f":include:{path}\n")
    machine.send("alice", LETTER, "alice")
    machine.send("alice", LETTER, "bob")
    machine.run("root", "flush", timeout=20)
    assert len(machine.mail("bob")) == 1


def test_a_forward_that_multiplies_does_not_hang_the_run(machine: Machine) -> None:
    """An include file that includes itself many times is given up early."""
    path = machine.write("alice", "list", ":include:/home/alice/list\n" * 50)
    machine.write("alice", ".forward", f":include:{path}\n")
    machine.send("alice", LETTER, "alice")
    machine.send("alice", LETTER, "bob")
    machine.run("root", "flush", timeout=20)
    assert len(machine.mail("bob")) == 1
