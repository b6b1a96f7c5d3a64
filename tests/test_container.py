"""In a container: the environment configures, sendmail -odi delivers, nothing else is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from authority import Authority
from harness import BIN, PATH, Box, measured, missing
from machine import Machine
from relays import free_port, relay

LETTER = b"From: app@shop.example\nTo: joe@example.org\nSubject: s\n\ntext\n"


def submit(box: Box, *args: str, **env: str) -> "subprocess.CompletedProcess[bytes]":
    return box.run("sendmail", "-odi", *args, stdin=LETTER, env={**box.env, **env})


def test_every_setting_can_be_in_the_environment(box: Box) -> None:
    box.config("relayhost = '[file.example]'\nmyhostname = 'box.example'\n")
    env = {
        "PYMAIL_RELAYHOST": "[one.example]:587, [two.example]",
        "PYMAIL_SMTP_TLS_CAFILE": "/ca.pem",
        "PYMAIL_MESSAGE_SIZE_LIMIT": "1000000",
        "PYMAIL_MAXIMAL_QUEUE_LIFETIME": "1h",
        "PYMAIL_APPEND_DOT_MYDOMAIN": "yes",
        "PYMAIL_SMTP_GENERIC_MAPS": '{ "@box" = "app@shop.example" }',
    }
    done = box.run("pymail", "config", env={**box.env, **env})
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    for line in (
        'relayhost = ["[one.example]:587", "[two.example]"]  # PYMAIL_RELAYHOST of the environment',
        'smtp_tls_CAfile = "/ca.pem"',
        "message_size_limit = 1000000",
        "maximal_queue_lifetime = 3600",
        "append_dot_mydomain = true",
        'smtp_generic_maps = { "@box" = "app@shop.example" }',
        'myhostname = "box.example"',
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PYMAIL_RELAYHOTS", "x", "unknown setting (did you mean relayhost?)"),
        ("PYMAIL_MESSAGE_SIZE_LIMIT", "big", "must be a number"),
        ("PYMAIL_APPEND_DOT_MYDOMAIN", "perhaps", "must be true or false"),
        ("PYMAIL_SMTP_GENERIC_MAPS", "{", "cannot understand {"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    box: Box, name: str, value: str, words: str
) -> None:
    done = box.run("pymail", "config", env={**box.env, name: value})
    assert done.returncode == 78
    assert name in done.stderr.decode()
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    # What is wrong with the configuration is never a reason to refuse a letter.
    assert box.run("sendmail", "joe", stdin=LETTER, env={**box.env, name: value}).returncode == 0


def test_odi_delivers_before_it_returns_and_logs_where_it_is_told(box: Box) -> None:
    with relay() as server:
        done = submit(box, "-t", PYMAIL_RELAYHOST=server.hop, PYMAIL_LOG="-")
        assert (done.returncode, done.stdout) == (0, b"")
        assert b"to=<joe@example.org>" in done.stderr
        assert b"status=sent" in done.stderr
        done = submit(box, "ann@example.org", PYMAIL_RELAYHOST=server.hop)
        assert (done.returncode, done.stderr) == (0, b"")
    assert [each.recipients for each in server.taken] == [["joe@example.org"], ["ann@example.org"]]
    assert box.queue() == []


def test_odi_fails_where_nobody_would_try_again(box: Box) -> None:
    hop = f"[127.0.0.1]:{free_port()}"
    done = submit(box, "-t", PYMAIL_RELAYHOST=hop)
    assert done.returncode == 75
    assert done.stderr.count(b"\n") == 1
    assert b"sendmail: cannot deliver to joe@example.org now: connect to 127.0.0.1" in done.stderr
    assert box.queue() == []


def test_odi_fails_where_flush_does(box: Box) -> None:
    done = submit(box, "-t", PYMAIL_RELAYHOTS="[127.0.0.1]:25")
    assert done.returncode == 75
    first, second = done.stderr.decode().splitlines()
    assert "PYMAIL_RELAYHOTS of the environment: unknown setting" in first
    assert second == "sendmail: cannot deliver now: flush ended with status 78"
    assert box.queue() == []


def test_odi_leaves_it_to_flush_where_something_starts_that(box: Box) -> None:
    table = Path("/etc/cron.d/pymail-test")
    if os.getuid() != 0:
        missing("root, for a file in /etc/cron.d")
    table.write_text(f"* * * * * {box.user} /usr/bin/flush\n")
    try:
        done = submit(box, "-t", PYMAIL_RELAYHOST=f"[127.0.0.1]:{free_port()}")
    finally:
        table.unlink()
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(box.queue()) == 1


def test_odi_takes_nothing_back_on_a_machine_that_was_set_up(machine: Machine) -> None:
    machine.config(f"relayhost = '[127.0.0.1]:{free_port()}'\n")
    machine.send("root", LETTER, "-odi", "joe@example.org")
    (line,) = machine.run("root", "mailq", "-j").stdout.splitlines()
    assert json.loads(line)["recipients"][0]["address"] == "joe@example.org"


def test_odi_fails_where_the_message_comes_back(box: Box) -> None:
    with relay(refuse={"joe@example.org": "550 5.1.1 nobody"}) as server:
        done = submit(box, "-t", PYMAIL_RELAYHOST=server.hop)
    assert done.returncode == 69
    assert b"sendmail: cannot deliver to joe@example.org: host 127.0.0.1" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_odi_does_not_take_back_what_others_have_got(box: Box) -> None:
    with relay(refuse={"joe@example.org": "450 4.2.0 later"}) as server:
        done = submit(box, "joe@example.org", "ann@example.org", PYMAIL_RELAYHOST=server.hop)
    assert done.returncode == 0
    assert b"nothing starts flush here" in done.stderr
    (line,) = box.run("mailq", "-j").stdout.splitlines()
    assert [each["address"] for each in json.loads(line)["recipients"]] == ["joe@example.org"]


CONTAINER = """
mount -t tmpfs none /run && mkdir /run/secrets && printf 'me:pass word\\r\\n' > /run/secrets/pymail
chmod 444 /run/secrets/pymail; cp "$1" /run/ca.pem; chmod 444 /run/ca.pem
mount -t tmpfs -o mode=1777 none /mnt
mount -o remount,bind,ro / 2>/dev/null
mount --bind /etc /etc; mount -o remount,bind,ro /etc
shift
exec setpriv --reuid=12345 --regid=12345 --clear-groups sh -c '
    python=$1 bin=$2; shift 2
    for command; do
        eval "set -- $command"
        program=$1; shift
        "$python" -I "$bin/$program" "$@" 2>&1 </mnt/letter; echo "status $?"
    done' sh "$@"
"""


@pytest.fixture
def container(machine: Machine, tmp_path: Path) -> "Container":
    del machine
    return Container(Authority(tmp_path))


class Container:
    """Nothing but a place for the spool can be written to, and nobody is in /etc/passwd."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority

    def run(self, hop: str, *commands: str) -> list[str]:
        """Run commands in one container; return what they print, and "status N" behind each."""
        script = CONTAINER.replace(
            "shift\n", f"printf '%s' '{LETTER.decode()}' >/mnt/letter; shift\n", 1
        )
        env = {
            "PATH": PATH,
            "PYMAIL_RELAYHOST": hop,
            "PYMAIL_SMTP_TLS_CAFILE": "/run/ca.pem",
            "PYMAIL_SPOOL": "/mnt/spool",
        }
        done = subprocess.run(
            [
                *("unshare", "-m", "sh", "-c", script, "sh", str(self.authority.file)),
                *(sys.executable, str(BIN), *commands),
            ],
            capture_output=True,
            env=measured(env),
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().splitlines()


def test_one_variable_and_a_secret_file_do_on_a_read_only_root(container: Container) -> None:
    tls = container.authority.context("good", "127.0.0.1")
    with relay(tls, users={"me": "pass word"}) as server:
        assert container.run(server.hop, "sendmail -odi -t") == ["status 0"]
    (letter,) = server.taken
    assert (letter.user, letter.recipients) == ("me", ["joe@example.org"])


def test_a_user_without_a_name_is_told_that_nobody_would_try_again(container: Container) -> None:
    hop = f"[127.0.0.1]:{free_port()}"
    words, *rest = container.run(hop, "sendmail -odi -t", "mailq")
    assert words.startswith("sendmail: cannot deliver to joe@example.org now: connect to 127.0.0.1")
    assert rest == ["status 75", "Mail queue is empty", "status 0"]


def test_a_container_can_be_asked_what_it_would_do(container: Container) -> None:
    hop = f"[127.0.0.1]:{free_port()}"
    said = container.run(hop, "pymail explain joe@example.org", "pymail check", "pymail doctor")
    explained, checked = said[: said.index("status 0")], said[said.index("status 0") + 1 :]
    (way,) = (line.strip() for line in explained if "login" in line)
    assert way.startswith(f"{hop}: login me (/run/secrets/pymail); always TLS, with a certificate")
    assert not [line for line in said if "Traceback" in line]
    assert sum("nothing starts flush" in line for line in checked) == 2
    assert [line for line in checked if line.startswith("status")] == ["status 78"] * 2
