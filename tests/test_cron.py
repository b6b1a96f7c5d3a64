"""The real cron, at, sudo and git send pymail their mail, and it arrives."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import PATH, Letter, needs
from machine import Machine

FLUSH = "* * * * * root /usr/sbin/flush\n"
MINUTES_2 = 135


@contextmanager
def daemon(*command: str) -> Iterator[None]:
    """Run a service in the foreground, with the environment that init gives it."""
    env = {"PATH": PATH, "HOME": "/root", "LANG": "C"}
    with subprocess.Popen(
        command,
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield
            assert process.poll() is None, f"{command[0]} ended by itself"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def scheduled(machine: Machine) -> Machine:
    """A machine whose cron and at have their directories, as Debian's packages make them."""
    needs("cron", "crontab", "atd", "at")
    folders = (
        ("/var/spool/cron", 0o755, "root", "root"),
        ("/var/spool/cron/crontabs", 0o1730, "root", "crontab"),
        ("/var/spool/cron/atjobs", 0o1770, "daemon", "daemon"),
        ("/var/spool/cron/atspool", 0o1770, "daemon", "daemon"),
    )
    for place, mode, user, group in folders:
        path = Path(place)
        path.mkdir(exist_ok=True)
        for old in path.iterdir():
            if not old.is_dir():
                old.unlink()
        subprocess.run(["chown", f"{user}:{group}", place], check=True)
        path.chmod(mode)
    sequence = Path("/var/spool/cron/atjobs/.SEQ")
    sequence.write_text("0\n")
    subprocess.run(["chown", "daemon:daemon", sequence], check=True)
    for table in Path("/etc/cron.d").iterdir():
        table.unlink()
    Path("/etc/crontab").write_text("")
    Path("/etc/cron.d/pymail").write_text(FLUSH)
    return machine


def wait(seconds: int, done: Callable[[], bool]) -> None:
    """Wait until something is so; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.5)


def subject(letter: Letter) -> str:
    return letter.values("subject")[0]


def assert_delivered_to(letter: Letter, user: str, uid: int) -> None:
    """Check the owner, the mode and the fields that delivery adds."""
    assert (letter.uid, letter.gid, letter.mode) == (uid, uid, 0o600)
    assert letter.values("delivered-to") == [f"{user}@example.net"]
    assert len(letter.values("message-id")) == len(letter.values("date")) == 1
    assert re.fullmatch(r"<[^<>@\s]+@[a-z.]+>", letter.values("message-id")[0])


@pytest.mark.timeout(400)
def test_cron_and_at_send_what_jobs_print_and_cron_delivers_it(scheduled: Machine) -> None:
    machine = scheduled
    table = (
        "MAILTO=alice\n"
        "* * * * * echo to alice: привет; id -un\n"
        "MAILTO=bob\n"
        "* * * * * echo to bob; echo err >&2\n"
        'MAILTO=""\n'
        "* * * * * echo to nobody\n"
    )
    done = machine.run("carol", "crontab", "-", stdin=table.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    done = machine.run("dave", "crontab", "-", stdin=b"* * * * * printf 'no newline, owner'\n")
    assert (done.returncode, done.stderr) == (0, b"")
    Path("/etc/crontab").write_text("* * * * * root echo from root\n")

    with daemon("cron", "-f"), daemon("atd", "-f"):
        done = machine.run("erin", "at", "now", stdin=b"echo at speaks\n")
        assert done.returncode == 0, done.stderr
        done = machine.run("erin", "at", "-m", "now", stdin=b"true\n")
        assert done.returncode == 0, done.stderr
        wait(
            MINUTES_2,
            lambda: (
                len(machine.mail("alice")) >= 2
                and all(machine.mail(user) for user in ("bob", "dave"))
                and len(machine.mail("erin")) >= 2
            ),
        )

    by_subject = {subject(letter): letter for letter in machine.mail("alice")}
    letter = by_subject["Cron <carol@box> echo to alice: привет; id -un"]
    assert_delivered_to(letter, "alice", 1001)
    assert letter.body == "to alice: привет\ncarol\n".encode()
    assert letter.values("return-path") == ["<carol@example.net>"]
    assert letter.values("from") == ["root@example.net (Cron Daemon)"]
    assert letter.values("to") == ["alice@example.net"]
    assert "<LOGNAME=carol>" in letter.values("x-cron-env")

    letter = by_subject["Cron <root@box> echo from root"]
    assert_delivered_to(letter, "alice", 1001)
    assert letter.body == b"from root\n"
    assert letter.values("return-path") == ["<root@example.net>"]
    assert letter.values("to") == ["root@example.net"]

    letter = machine.mail("bob")[0]
    assert_delivered_to(letter, "bob", 1002)
    assert letter.body == b"to bob\nerr\n"

    letter = machine.mail("dave")[0]
    assert_delivered_to(letter, "dave", 1004)
    assert letter.body == b"no newline, owner\n"
    assert letter.values("return-path") == ["<dave@example.net>"]

    said, silent = sorted(machine.mail("erin"), key=lambda letter: len(letter.body))[::-1][:2]
    assert_delivered_to(said, "erin", 1005)
    assert_delivered_to(silent, "erin", 1005)
    assert said.body.endswith(b"at speaks\n")
    assert said.values("return-path") == ["<erin@example.net>"]
    assert subject(said).startswith("Output from your job")
    # and nothing that cron had to tell about flush or about itself
    assert not [name for name in by_subject if "flush" in name]
    assert not machine.mail("carol")


def test_sudo_tells_root_what_was_done(machine: Machine) -> None:
    needs("sudo")
    rules = Path("/etc/sudoers.d/trial")
    rules.write_text("Defaults mail_always\nbob ALL=(ALL) NOPASSWD: ALL\n")
    rules.chmod(0o440)
    done = machine.run("bob", "sudo", "-n", "/bin/echo", "done")
    assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr

    def arrived() -> bool:
        machine.flush()
        return len(machine.mail("alice")) == 2

    wait(20, arrived)  # sudo does not wait for its mailer
    for letter in machine.mail("alice"):  # one before the command, one with its exit status
        assert_delivered_to(letter, "alice", 1001)
        assert letter.values("to") == ["root@example.net"]
        assert letter.values("from") == ["bob@example.net"]
        assert letter.values("return-path") == ["<bob@example.net>"]
        assert subject(letter) == "*** SECURITY information for box.example.net ***"
        assert b"COMMAND=/bin/echo done" in letter.body.replace(b"\n    ", b" ")


def test_git_send_email_hands_its_patches_over(machine: Machine) -> None:
    needs("git", "/usr/lib/git-core/git-send-email")
    script = """
        set -e
        cd ~ && git init -q -b main project && cd project
        git config user.name 'Алиса' && git config user.email alice@example.net
        for n in 1 2; do
            printf 'From here\\n.\\nline %s\\n' $n > file
            git add file && git commit -q -m "Изменение $n"
        done
        git send-email --quiet --to=bob --cc='Carol <carol@example.net>' \
            --confirm=never --suppress-cc=all --root HEAD
    """
    done = machine.run("alice", "sh", "-c", script, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    machine.flush()
    for user, uid in (("bob", 1002), ("carol", 1003)):
        patches = sorted(machine.mail(user), key=lambda letter: letter.values("x-mailer"))
        assert len(patches) == 2
        for letter in patches:
            assert_delivered_to(letter, user, uid)
            assert letter.values("return-path") == ["<alice@example.net>"]
            assert letter.values("cc") == ["Carol <carol@example.net>"]
            assert re.search(rb"\n[+ ]\.\n", letter.body)
    applied = machine.mail("bob")
    order = sorted(applied, key=lambda letter: letter.values("date")[0] + subject(letter))
    assert len({subject(letter) for letter in order}) == 2
