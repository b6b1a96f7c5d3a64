"""sendmail in a sandbox: what cannot be written to the spool goes through a socket."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness import measured, needs
from machine import SPOOL, Machine
from queued import queued

from pymail import inlet, paths

LETTER = b"Subject: hello\n\ntext\n"
READ_ONLY = f"mount --bind {SPOOL} {SPOOL} && mount -o remount,ro,bind {SPOOL}"
HIDDEN = "mount -t tmpfs none /var/spool"
BOX = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@contextmanager
def listening() -> Iterator[list[int]]:
    """Be systemd: start one process for each connection, as root; yield their statuses."""
    place = Path(paths.INLET)
    place.parent.mkdir(exist_ok=True)
    statuses: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        place.chmod(0o666)
        server.listen()

        def serve(connection: socket.socket) -> None:
            with connection:
                code = "from pymail.cli.receive import main; raise SystemExit(main())"
                done = subprocess.run(
                    [sys.executable, "-I", "-c", code],
                    stdin=connection, env=measured(BOX), check=False, timeout=60,
                )  # fmt: skip
            statuses.append(done.returncode)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    thread = threading.Thread(target=serve, args=(server.accept()[0],))
                    thread.start()
                    threads.append(thread)

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield statuses
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            place.unlink()


@pytest.fixture
def server(machine: Machine) -> Iterator[list[int]]:
    needs("unshare", "setpriv")
    assert machine.spool == SPOOL
    with listening() as statuses:
        yield statuses


def sealed(
    seal: str,
    *args: str,
    letter: bytes = LETTER,
    uid: int = 1002,
    program: str = "/usr/sbin/sendmail",
    **env: str,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program as a user who can gain no right, after `seal` was done to the mounts."""
    drop = f"setpriv --no-new-privs --reuid {uid} --regid {uid} --clear-groups"
    script = f'{seal} && exec {drop} {program} "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *args],
        input=letter, capture_output=True, env=measured({**BOX, **env}), check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("seal", [READ_ONLY, HIDDEN])
@pytest.mark.parametrize("args", [("alice",), ("-t", "-i"), ("-oi", "-v", "alice")])
def test_a_sealed_service_submits(
    machine: Machine, server: list[int], seal: str, args: tuple[str, ...]
) -> None:
    letter = b"To: alice\n" + LETTER
    done = sealed(seal, *args, letter=letter)
    told = done.stdout if "-v" in args else b"" + done.stdout
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b": queued\n" in told) == ("-v" in args)
    (waiting,) = (SPOOL / "drop" / "u1002").glob("[0-9A-Za-z]*")
    assert waiting.stat().st_uid == 1002
    machine.flush()
    (got,) = machine.mail("alice")
    assert got.body == b"text\n"
    assert got.values("return-path") == ["<bob@example.net>"]
    assert got.values("from") == ['"Bob (the) Builder" <bob@example.net>']
    assert server == [0]


@pytest.mark.parametrize("seal", [READ_ONLY, HIDDEN])
def test_a_dialogue_in_a_sandbox_goes_the_same_way(
    machine: Machine, server: list[int], seal: str
) -> None:
    wishes = ("RET=HDRS ENVID=a+2Bb", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@example.org")
    script = (
        "EHLO box\r\n"
        f"MAIL FROM:<bob@example.net> BODY=8BITMIME {wishes[0]}\r\n"
        f"RCPT TO:<alice> {wishes[1]}\r\nRCPT TO:<bob> {wishes[1]}\r\nDATA\r\n"
        "Subject: hello\r\n\r\nтекст\r\n..dot\r\n.\r\n"
        "MAIL FROM:<>\r\nRCPT TO:<alice> NOTIFY=NEVER\r\nRCPT TO:<bob>\r\nDATA\r\n"
        "\r\nsecond\r\n.\r\nQUIT\r\n"
    )
    done = sealed(seal, "-bs", letter=script.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"queued as") == 2
    first, second = [message.envelope for message in queued(SPOOL)]
    assert (first.ret, first.envid, first.body) == ("HDRS", "a+b", "8BITMIME")
    assert first.notify == ["SUCCESS,FAILURE"] * 2
    assert (second.sender, second.notify) == ("", ["", ""])
    machine.flush()
    assert {each.body for each in machine.mail("alice")} == {
        "текст\n.dot\n".encode(), b"second\n",
    }  # fmt: skip
    assert server == [0, 0]


def test_a_dialogue_in_a_sandbox_is_told_what_is_refused(
    machine: Machine, server: list[int]
) -> None:
    begin = "MAIL FROM:<bob@example.net>\r\nRCPT TO:<alice>\r\nDATA\r\n"
    script = f"{begin}short\r\n.\r\nQUIT\r\n".encode()
    (SPOOL / "message_size_limit").write_text("10\n")
    done = sealed(HIDDEN, "-bs", letter=script.replace(b"short", b"x" * 20))
    assert b"\r\n552 5.3.4 Error: " in done.stdout
    Path(paths.INLET).rename(f"{paths.INLET}.away")
    done = sealed(READ_ONLY, "-bs", letter=script)
    Path(f"{paths.INLET}.away").rename(paths.INLET)
    assert b"\r\n451 4.3.0 Error: cannot queue message: " in done.stdout
    assert done.stdout.endswith(b"\r\n221 2.0.0 Bye\r\n")
    assert not list((SPOOL / "drop").glob("*/[0-9A-Za-z]*"))


def test_mail_in_a_sandbox_goes_the_same_way(machine: Machine, server: list[int]) -> None:
    machine.aliases('root: alice\n"a b": bob\n')
    for seal in (READ_ONLY, HIDDEN):
        done = sealed(
            seal, "-s", "заголовок", "-r", "o'b@example.net", '"a b"@example.net', "alice",
            letter="текст\n".encode(), program="/usr/bin/mail", HOME="/nonexistent",
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    machine.flush()
    got = machine.mail("alice")
    assert len(machine.mail("bob")) == 2
    assert [each.values("return-path") for each in got] == [["<o'b@example.net>"]] * 2
    assert {each.body for each in got} == {"текст\n".encode()}
    assert server == [0, 0]


def test_a_slow_program_holds_no_connection(machine: Machine, server: list[int]) -> None:
    drop = "setpriv --no-new-privs --reuid 1002 --regid 1002 --clear-groups"
    script = f"{READ_ONLY} && {drop} /usr/sbin/sendmail alice"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, env=measured(BOX)
    ) as slow:
        assert slow.stdin
        slow.stdin.write(LETTER)
        slow.stdin.flush()
        assert sealed(READ_ONLY, "alice").returncode == 0  # meanwhile
        slow.stdin.close()
        assert slow.wait(60) == 0
    machine.flush()
    assert len(machine.mail("alice")) == 2


def test_who_can_write_needs_no_socket(machine: Machine, server: list[int]) -> None:
    machine.send("bob", LETTER, "alice")
    machine.flush()
    assert len(machine.mail("alice")) == 1
    assert server == []


def test_root_in_a_sandbox_is_root(machine: Machine, server: list[int]) -> None:
    assert sealed(READ_ONLY, "alice", uid=0).returncode == 0
    machine.flush()
    assert machine.mail("alice")[0].values("return-path") == ["<root@example.net>"]
    assert server == [0]


def test_a_user_without_a_name_is_a_number(machine: Machine, server: list[int]) -> None:
    assert sealed(HIDDEN, "alice", uid=61234).returncode == 0
    machine.flush()
    assert machine.mail("alice")[0].values("return-path") == ["<uid61234@example.net>"]
    assert server == [0]


def test_nobody_is_another_by_the_socket(machine: Machine, server: list[int]) -> None:
    done = sealed(READ_ONLY, "-f", "root", "-F", "The Boss", "alice", NAME="x")
    assert done.returncode == 0
    machine.flush()
    (got,) = machine.mail("alice")
    assert "from userid 1002" in got.values("received")[0]
    assert got.values("from") == ["The Boss <root@example.net>"]
    assert server == [0]


def test_a_large_letter_comes_as_it_is(machine: Machine, server: list[int]) -> None:
    body = os.urandom(3_000_000).replace(b"\r", b" ").replace(b"\0", b" ") + b"no final line end"
    done = sealed(READ_ONLY, "-i", "alice", letter=b"Subject: large\n\n" + body)
    assert done.returncode == 0
    machine.flush()
    assert machine.mail("alice")[0].body == body + b"\n"
    assert server == [0]


def test_many_at_once(machine: Machine, server: list[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: sealed(READ_ONLY, "alice").returncode, range(16)))
    assert done == [0] * 16
    machine.flush()
    assert len(machine.mail("alice")) == 16
    assert server == [0] * 16


def test_what_is_refused_is_told_as_ever(machine: Machine, server: list[int]) -> None:
    (SPOOL / "message_size_limit").write_text("1000\n")
    done = sealed(READ_ONLY, "alice", letter=LETTER + b"x" * 2_000_000)
    assert done.returncode == 69
    assert done.stderr.startswith(b"sendmail: cannot queue message: too big, over 1000 bytes")
    assert done.stderr.count(b"\n") == 1
    assert machine.queue() == []
    assert server == [69]


@pytest.mark.parametrize("seal", [READ_ONLY, HIDDEN])
def test_without_the_socket_it_is_an_error(machine: Machine, seal: str) -> None:
    needs("unshare", "setpriv")
    if seal == HIDDEN:  # nothing says that there ever was a spool: this is user mode
        seal += " && mount -t tmpfs -o mode=755 none /home"
    done = sealed(seal, "alice")
    assert done.returncode == 75
    assert done.stderr.startswith(b"sendmail: cannot queue message: ")
    assert done.stderr.count(b"\n") == 1
    if seal == READ_ONLY:
        assert b"/run/pymail/submit cannot be reached" in done.stderr
    assert machine.queue() == []


def test_who_has_a_configuration_stays_in_user_mode(machine: Machine, server: list[int]) -> None:
    machine.write("bob", ".config/pymail/config.toml", "")
    assert sealed(READ_ONLY, "bob", HOME=str(machine.home("bob"))).returncode == 0
    assert server == []
    assert len(list((machine.home("bob") / ".local/state/pymail/spool/queue").iterdir())) == 1


def said(data: bytes, *, half: bool = True) -> bytes:
    """Say something to the socket, hang up where `half` is false; return the answer."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(paths.INLET)
        caller.sendall(data)
        if not half:
            return b""
        caller.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := caller.recv(1000):
                answer += piece
        return answer


COMMAND = b"7\n\0alice\0"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", b"75 the caller has gone"),
        (b"x", b"75 the caller has gone"),
        (b"GET / HTTP/1.1\r\n\r\n", b"75 the caller talks nonsense"),
        (b"-1\n", b"75 the caller talks nonsense"),
        (b"9999999\nx", b"75 the caller talks nonsense"),
        (b"0\n", b"75 the caller has said nothing"),
        (COMMAND, b"75 the caller has gone"),
        (COMMAND + b"5\nSubje", b"75 the caller has gone"),
        (COMMAND + b"99999\n", b"75 the caller talks nonsense"),
        (b"5\n\0-bp\0" + b"0\n", b"64 -bp is nothing for"),
        (b"5\n\0-bs\0" + b"0\n", b"64 -bs is nothing for"),
        (b"6\n\0-XVx\0", b"64 option -XVx (VERP) not supported"),
        (b"1\n\0" + b"0\n", b"64 no recipients"),
        (b"8\n\0a\nb\xff\0x" + b"0\n", b"65 cannot use recipient a?b?: control character"),
    ],
)
def test_a_caller_who_talks_nonsense_queues_nothing(
    machine: Machine, server: list[int], data: bytes, words: bytes
) -> None:
    assert said(data).startswith(words)
    said(data, half=False)
    assert machine.queue() == []
    assert not list((SPOOL / "drop").glob("*/[0-9A-Za-z]*"))


def test_who_hangs_up_after_the_end_has_sent_it(machine: Machine, server: list[int]) -> None:
    said(COMMAND + b"3\nx\n\n0\n", half=False)
    said(COMMAND + b"3\nx\n\n0\n")
    machine.flush()
    assert len(machine.mail("alice")) in (1, 2)


def test_a_caller_who_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inlet, "_PATIENCE", 0.05)
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(inlet.os, "dup", lambda _: theirs.detach())
    with ours:
        caller = inlet.Caller()
        assert (caller.uid, caller.gid) == (os.getuid(), os.getgid())
        with pytest.raises(inlet.TempError, match="the caller is silent"):
            caller.command()
        caller.close()
