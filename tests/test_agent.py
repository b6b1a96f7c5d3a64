"""The child that becomes a user: whose rights, what it inherits, how it may end."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import needs_root
from transports import ALICE, content, delivery, filed

from pymail import agent, child
from pymail.agent import Agent, wait
from pymail.child import ask
from pymail.identity import Identity, lookup
from pymail.outcome import Outcome, sent
from pymail.transport import Delivery


@pytest.fixture
def alice(machine) -> Identity:
    found = lookup("alice")
    assert found is not None
    return found


def me() -> Identity:
    return Identity("me", os.getuid(), os.getgid(), "/", "/bin/sh")


@contextmanager
def working(user: Identity, transport: Callable[..., Iterator[tuple[int, Outcome]]]):
    """Run an agent whose only transport is a function of the test."""
    before = dict(agent.TRANSPORTS)
    agent.TRANSPORTS["test"] = transport  # type: ignore[assignment]
    try:
        running = Agent(user)
    finally:
        agent.TRANSPORTS.clear()
        agent.TRANSPORTS.update(before)
    try:
        yield running
    finally:
        running.close()


def batch(*numbers: int, **facts) -> list[Delivery]:
    return [delivery("")._replace(number=number, **facts) for number in numbers]


def collect(running: Agent, seconds: float = 10) -> dict[int, Outcome]:
    """Hear everything the agent has to say about its batch."""
    got: dict[int, Outcome] = {}
    end = time.monotonic() + seconds
    while running.alive and running.pending and time.monotonic() < end:
        for each in wait([running], 0.2):
            got.update(each.outcomes())
    return got


def told(user: Identity, question: Callable[[], object]) -> object:
    """Return what a delivery sees, as the agent's words."""

    def transport(deliveries):
        for each in deliveries:
            yield each.number, sent(json.dumps(question()))

    with working(user, transport) as running:
        running.send("test", batch(1), 10)
        return json.loads(collect(running)[1].words)


# Whose rights


def identities() -> dict[str, object]:
    return {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "env": dict(os.environ),
        "umask": os.umask(0),
        "cwd": os.getcwd(),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "session": os.getsid(0) == os.getpid(),
    }


def test_it_has_become_the_user_in_every_way(alice, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert told(alice, identities) == {
        "uids": [1001, 1001, 1001],
        "gids": [1001, 1001, 1001],
        "groups": [1001],
        "env": {},
        "umask": 0o077,
        "cwd": "/home/alice",
        "core": [0, 0],
        "session": True,
    }


def test_it_has_the_users_other_groups(alice):
    os.system("usermod -a -G mail alice")
    try:
        import grp

        groups = told(alice, identities)["groups"]  # type: ignore[index]
        assert sorted(groups) == sorted([1001, grp.getgrnam("mail").gr_gid])
    finally:
        os.system("gpasswd -d alice mail >/dev/null")


def test_a_user_without_a_home_works_in_the_root_directory(alice):
    found = told(alice._replace(home="/no/such/home"), identities)
    assert found["cwd"] == "/"  # type: ignore[index]


def test_it_cannot_become_root_again(alice):
    def attempt() -> list[str]:
        errors = []
        for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            try:
                call()
            except PermissionError as error:
                errors.append(type(error).__name__)
        return errors

    assert told(alice, attempt) == ["PermissionError"] * 3


def test_groups_that_cannot_be_looked_up_are_the_users_own_only(alice, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError(5, "no nss")

    monkeypatch.setattr(child.os, "getgrouplist", broken)
    child.groups.cache_clear()
    assert told(alice, identities)["groups"] == [1001]  # type: ignore[index]


def test_nobody_but_root_can_become_another(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(agent.os, "getuid", lambda: 1)
        with pytest.raises(PermissionError, match="cannot become alice"):
            child.become(ALICE._replace(uid=os.getresuid()[0] + 1))


def test_an_agent_that_cannot_become_the_user_delivers_nothing(alice):
    needs_root()
    done = []
    impossible = alice._replace(uid=2**32 - 2, gid=2**32 - 1)  # gid -1 means "unchanged"

    def transport(deliveries):
        done.append(1)
        yield from ((each.number, sent("delivered")) for each in deliveries)

    with working(impossible, transport) as running:
        running.send("test", batch(1), 10)
        assert collect(running) == {}
    assert not running.alive
    assert "Error" in running.failure


# What it inherits


def test_it_has_no_descriptor_of_ours(alice, tmp_path):
    kept = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
    for fd in kept:
        os.set_inheritable(fd, True)

    def mine() -> dict[str, str]:
        fds = os.listdir("/proc/self/fd")
        links = {}
        for fd in fds:
            try:
                links[fd] = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue  # the descriptor of the listing
        return links

    found = told(alice, mine)
    for fd in kept:
        os.close(fd)
    assert isinstance(found, dict)
    assert {found.pop(fd) for fd in "012"} == {"/dev/null"}
    assert [link.partition(":")[0] for link in found.values()] == ["socket"]


def test_signals_are_as_at_the_start_of_a_program(alice):
    def handlers() -> list[bool]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)
        return [signal.getsignal(number) == signal.SIG_DFL for number in numbers]

    assert told(alice, handlers) == [True] * 4


def test_a_large_message_comes_by_a_descriptor_that_can_only_be_read(alice, tmp_path):
    body = os.urandom(300_000)

    def transport(deliveries):
        for each in deliveries:
            got = b"".join(each.content.pieces())
            try:
                os.pwrite(each.content.fd, b"x", 0)
                wrote = "written"
            except OSError as error:
                wrote = error.strerror
            try:
                os.open(f"/proc/self/fd/{each.content.fd}", os.O_WRONLY)
                wrote += " and opened"
            except PermissionError:
                wrote += " and not opened"
            yield each.number, sent(f"{got == b'H: 1' + bytes([10, 10]) + body} {wrote}")

    big = filed(tmp_path, b"H: 1\n", body)
    os.chmod(tmp_path / "queue-file", 0o600)
    with working(alice, transport) as running:
        running.send("test", batch(1, 2, content=big), 10)
        words = {outcome.words for outcome in collect(running).values()}
    assert words == {"True Bad file descriptor and not opened"}


def test_a_message_in_memory_comes_whole(alice):
    def transport(deliveries):
        for each in deliveries:
            yield each.number, sent(b"".join(each.content.pieces()).hex())

    with working(alice, transport) as running:
        running.send("test", batch(5, content=content(b"A: b\n", b"\0\xff\n")), 10)
        assert bytes.fromhex(collect(running)[5].words) == b"A: b\n\n\0\xff\n"


# What it says


def test_it_takes_one_batch_after_another(alice):
    def transport(deliveries):
        yield from ((each.number, sent(f"by {os.getpid()}")) for each in deliveries)

    with working(alice, transport) as running:
        running.send("test", batch(1, 2, 3), 10)
        first = collect(running)
        running.send("test", batch(4), 10)
        second = collect(running)
    assert sorted(first) == [1, 2, 3]
    assert sorted(second) == [4]
    assert len({o.words for o in [*first.values(), *second.values()]}) == 1


def test_words_are_one_safe_line_of_bounded_length(alice):
    def transport(deliveries):
        yield 1, Outcome("bounced", "5.0.0", "a\n2\tsent\t2.0.0\tx\x1b" + "é\udcff" * 9000)

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        got = collect(running)
    assert list(got) == [1]
    assert got[1].words.startswith("a?2?sent?2.0.0?x?é")
    assert len(got[1].words) == 4096


@pytest.mark.parametrize(
    "lie",
    [
        "99\tsent\t2.0.0\tnot mine\n",
        "1\tdelivered\t2.0.0\tno such word\n",
        "1\tsent\n",
        "x\tsent\t2.0.0\tw\n",
        "\n",
        "\udcff\n",
    ],
)
def test_what_it_says_beside_the_matter_is_not_heard(alice, lie):
    """A user's process may be taken over by its user: what it says is only about its own."""

    def transport(deliveries):
        (out,) = (
            int(fd) for fd in os.listdir("/proc/self/fd") if fd not in "012" and _is_socket(fd)
        )
        os.write(out, lie.encode("utf-8", "surrogateescape"))
        yield 1, sent("true")

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        assert collect(running) == {1: sent("true")}


def _is_socket(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False


def test_an_outcome_said_twice_counts_once(alice):
    def transport(deliveries):
        yield 1, sent("first")
        yield 1, sent("second")
        yield 2, sent("other")

    with working(alice, transport) as running:
        running.send("test", batch(1, 2), 10)
        assert collect(running) == {1: sent("first"), 2: sent("other")}


# How it ends


def test_one_that_dies_leaves_the_rest_unanswered_and_says_why(alice):
    def transport(deliveries):
        yield 1, sent("done")
        os.kill(os.getpid(), signal.SIGKILL)

    with working(alice, transport) as running:
        running.send("test", batch(1, 2), 10)
        assert collect(running) == {1: sent("done")}
    assert (running.alive, running.pending) == (False, {2})
    assert running.failure == "killed by signal 9"


def test_one_that_exits_says_its_status(alice):
    def transport(deliveries):
        os._exit(3)
        yield 1, sent("never")

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        assert collect(running) == {}
    assert running.failure == "exit status 3"


def test_a_bug_in_a_transport_is_told_in_one_line(alice):
    def transport(deliveries):
        raise ZeroDivisionError("over\nnought")
        yield

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        assert collect(running) == {}
    assert running.failure == "ZeroDivisionError: over?nought"


def test_one_that_hangs_can_be_ended(alice):
    def transport(deliveries):
        time.sleep(600)
        yield 1, sent("late")

    with working(alice, transport) as running:
        running.send("test", batch(1), 0)
        assert time.monotonic() >= running.deadline
        running.kill()
    assert (running.alive, running.failure, running.pending) == (False, "took too long", {1})


def test_one_that_hangs_without_work_is_ended_when_it_is_closed(machine):
    running = Agent(me())
    started = time.monotonic()
    running.close()
    running.close()  # twice does no harm
    assert time.monotonic() - started < 5


def test_work_given_to_one_that_died_is_not_lost_silently(alice):
    def transport(deliveries):
        os._exit(0)
        yield 1, sent("never")

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        time.sleep(0.3)
        running.send("test", batch(2, content=content(b"", b"x" * 10_000_000)), 10)
        assert collect(running) == {}
    assert (running.alive, running.pending) == (False, {2})


def test_one_that_its_user_has_stopped_holds_nobody_up(alice, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 0.3)
    running = Agent(alice)
    os.kill(running._pid, signal.SIGSTOP)
    running.send("maildir", batch(1, content=content(b"", b"x" * 10_000_000)), 300)
    assert collect(running) == {}
    assert (running.alive, running.failure) == (False, "cannot be given mail: timed out")


def test_a_parent_that_dies_takes_its_agents_with_it(machine, tmp_path):
    note = tmp_path / "pid"
    if os.fork() == 0:
        running = Agent(me())
        note.write_text(str(running._pid))
        os._exit(0)
    os.wait()
    pid = int(note.read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the agent lives on")


def test_waiting_ends_after_its_time(alice):
    def transport(deliveries):
        time.sleep(0.5)
        yield 1, sent("x")

    with working(alice, transport) as running:
        running.send("test", batch(1), 10)
        assert wait([running], 0) == []
        assert collect(running) == {1: sent("x")}


# Questions


def test_a_question_is_answered_with_the_users_rights(alice):
    answer = ask(alice, lambda: [str(os.getuid()), "два\n\udcff"])
    assert answer == ["1001", "два\n\udcff"]


def test_a_question_to_oneself_needs_no_child():
    assert ask(me(), lambda: [str(os.getpid())]) == [str(os.getpid())]


def test_a_long_answer_comes_whole(alice):
    assert ask(alice, lambda: ["x" * 1_000_000]) == ["x" * 1_000_000]


def test_a_question_that_is_not_answered_in_time_is_an_error(alice, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 0.3)
    with pytest.raises(OSError, match=r"no answer in 0\.3 s"):
        ask(alice, lambda: time.sleep(600))


def test_a_question_that_cannot_be_answered_is_an_error(alice):
    def broken() -> list[str]:
        raise RuntimeError("no answer")

    with pytest.raises(OSError, match="RuntimeError: no answer"):
        ask(alice, broken)

    def dies() -> list[str]:
        os._exit(1)

    with pytest.raises(OSError, match="agent of alice died"):
        ask(alice, dies)
