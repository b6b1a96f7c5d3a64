"""Commands: environment, status, time, output; procmail and maildrop for real."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import needs
from transports import content, delivery, filed

from pymail.outcome import Outcome, bounced, deferred, sent
from pymail.transport import command


def run(line: str, **facts) -> Outcome:
    ((number, outcome),) = command.deliver([delivery(line, **facts)])
    assert number == 7
    return outcome


def vanishes(look: Callable[[], None]) -> bool:
    """Wait until init has reaped what looks for a process find."""
    for _ in range(50):
        try:
            look()
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_the_program_gets_a_separator_header_and_body(tmp_path):
    assert run(f"cat > {tmp_path}/got") == sent(f"delivered to command: cat > {tmp_path}/got")
    got = (tmp_path / "got").read_bytes()
    separator, _, rest = got.partition(b"\n")
    assert separator.startswith(b"From joe@example.org  ")
    assert rest == b"Subject: s\nTo: alice\n\nFrom here\nto there\n"


def test_the_null_sender_is_shown_as_mailer_daemon(tmp_path):
    run(f"head -n 1 > {tmp_path}/got", sender="")
    assert (tmp_path / "got").read_bytes().startswith(b"From MAILER-DAEMON  ")


def test_a_sender_cannot_forge_lines_of_the_separator(tmp_path):
    run(f"cat > {tmp_path}/got", sender="a\nFrom b\x1b@example.org")
    assert (tmp_path / "got").read_bytes().count(b"\nSubject: s\n") == 1
    assert (tmp_path / "got").read_bytes().startswith(b'From "a?From b?"@example.org  ')


def test_the_environment_is_made_from_scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    run(f"/usr/bin/env -0 > {tmp_path}/env", extension="list")
    pairs = (tmp_path / "env").read_text().rstrip("\0").split("\0")
    environment = dict(pair.split("=", 1) for pair in pairs)
    environment.pop("PWD", None)  # the shell's
    assert environment == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C",
        "HOME": "/home/alice",
        "SHELL": "/bin/zsh",
        "USER": "alice",
        "LOGNAME": "alice",
        "SENDER": "joe@example.org",
        "RECIPIENT": "alice+list@example.net",
        "ORIGINAL_RECIPIENT": "root@example.net",
        "LOCAL": "alice+list",
        "DOMAIN": "example.net",
        "EXTENSION": "list",
    }


def test_the_shell_complains_by_its_short_name_as_under_postfix():
    words = run("no-such-command").words
    assert words.startswith('Command died with status 127: "no-such-command". Command output: sh: ')


def test_local_and_domain_are_in_lower_case_and_addresses_as_written():
    written = "Alice+List@Box.Example.NET"
    env = command.environment(delivery("cat", recipient=written, original=written))
    assert (env["LOCAL"], env["DOMAIN"]) == ("alice+list", "box.example.net")
    assert env["RECIPIENT"] == env["ORIGINAL_RECIPIENT"] == written


@pytest.mark.parametrize(
    "evil", ["$(touch x)", "`touch x`", "a;touch x", "a b\tc\nd", "ü|&<>'\"\\"]
)
def test_what_a_sender_wrote_is_harmless_to_a_shell(tmp_path, monkeypatch, evil):
    monkeypatch.chdir(tmp_path)
    run(
        'eval "echo $SENDER $RECIPIENT $ORIGINAL_RECIPIENT $LOCAL $EXTENSION" > out',
        sender=f"{evil}@example.org",
        recipient=f"{evil}@example.net",
        original=evil,
        extension=evil,
    )
    assert os.listdir(tmp_path) == ["out"]
    assert not set("$`;\n|&<>'\"\\") & set((tmp_path / "out").read_text().rstrip("\n"))


def test_a_plain_line_runs_without_a_shell(tmp_path):
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s|" "$PPID" "$@" > "$1"\n')
    program.chmod(0o755)
    assert run(f"{program} {tmp_path}/a  b").status == "sent"
    assert (tmp_path / "a").read_text() == f"{os.getpid()}|{tmp_path}/a|b|"


def test_words_of_the_shell_itself_are_run_by_a_shell():
    assert run("exit 75") == deferred("4.3.0", "temporary failure")


def test_a_script_without_an_interpreter_line_is_run_by_a_shell(tmp_path):
    program = tmp_path / "program"
    program.write_text("exit 67\n")
    program.chmod(0o755)
    assert run(str(program)) == bounced("5.1.1", "user unknown")


# What Postfix 3.7.11 does with each, observed.
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("echo out; exit 0", sent("delivered to command: echo out; exit 0")),
        ("echo 4.7.1 no; exit 0", sent("delivered to command: echo 4.7.1 no; exit 0")),
        ("exit 1", bounced("5.3.0", 'Command died with status 1: "exit 1"')),
        ("exit 64", bounced("5.3.0", "command line usage error")),
        ("exit 65", bounced("5.6.0", "data format error")),
        ("exit 67", bounced("5.1.1", "user unknown")),
        ("exit 69", bounced("5.3.0", "service unavailable")),
        ("exit 71", deferred("4.3.0", "system resource problem")),
        ("exit 73", bounced("5.2.0", "can't create user output file")),
        ("exit 75", deferred("4.3.0", "temporary failure")),
        ("echo a; echo b; exit 75", deferred("4.3.0", "temporary failure. Command output: a b")),
        ("exit 76", bounced("5.5.0", "remote error in protocol")),
        ("exit 77", bounced("5.7.0", "permission denied")),
        ("exit 78", bounced("5.3.5", "local configuration error")),
        ("exit 99", bounced("5.3.0", 'Command died with status 99: "exit 99"')),
        ("kill -15 $$", deferred("4.3.0", 'Command died with signal 15: "kill -15 $$"')),
        ("echo 4.7.1 Come back; exit 1", deferred("4.7.1", "Come back")),
        ("echo 5.7.1 Go away; exit 75", bounced("5.7.1", "Go away")),
        ("echo 5.7.1; exit 77", bounced("5.7.1", "permission denied")),
        ("echo 2.0.0 fine; exit 67", bounced("5.1.1", "user unknown. Command output: 2.0.0 fine")),
    ],
)
def test_the_exit_status_decides(line, expected):
    assert run(line) == expected


def test_every_status_of_sysexits_is_known():
    assert sorted(command._STATUSES) == list(range(64, 79))


@pytest.mark.parametrize("line", ["/no/such/program", "/etc/passwd", "/"])
def test_a_program_that_cannot_be_run_defers(line):
    outcome = run(line)
    assert (outcome.status, outcome.dsn) == ("deferred", "4.3.0")
    assert line in outcome.words


def test_an_unknown_name_bounces_as_the_shell_says():
    outcome = run("nosuchprogram")
    assert (outcome.status, outcome.dsn) == ("bounced", "5.3.0")
    assert "status 127" in outcome.words and "not found" in outcome.words


@pytest.mark.parametrize("line", ["", "   ", "a\0b"])
def test_no_command_line_defers(line):
    assert (run(line).status, run(line).dsn) == ("deferred", "4.3.5")


@pytest.mark.parametrize(
    ("error", "status"), [(11, "kept"), (12, "kept"), (24, "kept"), (40, "deferred")]
)
def test_a_machine_that_cannot_start_programs_keeps_the_message(monkeypatch, error, status):
    def fail(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(command.subprocess, "Popen", fail)
    before = len(os.listdir("/proc/self/fd"))
    assert run("true").status == status
    assert len(os.listdir("/proc/self/fd")) == before


def test_output_is_one_line_capped_and_printable():
    outcome = run(r"printf 'a\033[1mb\tc\303\244\n\nd\377'; exit 67")
    assert outcome.words == "user unknown. Command output: a?[1mb cä d\ufffd"
    outcome = run("yes xxx | head -c 1000000; exit 67")
    assert len(outcome.words) < command.OUTPUT + 100
    assert outcome.words.startswith("user unknown. Command output: xxx xxx")


def test_a_program_may_leave_its_input_unread():
    big = content(b"Subject: s\n", b"x" * 100 + b"\n" * 3_000_000)
    assert run("exec 0<&-; exit 0", content=big).status == "sent"
    assert run("true", content=big).status == "sent"


def test_a_message_too_big_for_memory_goes_through_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_IN_MEMORY", 10)
    body = b"y" * 70 + b"\n" * 300_000
    assert run(f"cat > {tmp_path}/got", content=filed(tmp_path, b"A: b\n", body)).status == "sent"
    assert (tmp_path / "got").read_bytes().partition(b"\n")[2] == b"A: b\n\n" + body


def test_a_queue_file_that_cannot_be_read_starts_nothing(tmp_path):
    broken = filed(tmp_path, b"A: b\n", b"short\n", claim=1000)
    assert run(f"touch {tmp_path}/ran", content=broken).status == "kept"
    assert not (tmp_path / "ran").exists()


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path):
    start = time.monotonic()
    line = f"echo $$ > {tmp_path}/pid; sleep 1000 & echo hello; wait"
    outcome = run(line, time_limit=1)
    expected = f'Command time limit exceeded: "{line}". Command output: hello'
    assert outcome == deferred("4.3.0", expected)
    assert time.monotonic() - start < 1 + command.GRACE
    group = int((tmp_path / "pid").read_text())
    assert vanishes(lambda: os.killpg(group, 0))


def test_a_program_that_ignores_the_first_signal_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "GRACE", 0.3)
    line = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    assert run(line, time_limit=1).status == "deferred"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_cannot_be_signalled_is_left_behind(monkeypatch):
    monkeypatch.setattr(command, "GRACE", 0.1)
    refused = []

    def killpg(group, number):
        refused.append(group)
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(command.os, "killpg", killpg)
        with pytest.warns(ResourceWarning, match="still running"):
            assert run("sleep 30", time_limit=0).status == "deferred"
    os.killpg(refused[0], signal.SIGKILL)
    os.waitpid(refused[0], 0)


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_program_left_in_the_background_is_not_waited_for(monkeypatch, tmp_path, pidfd):
    if not pidfd:

        def none(pid):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(command.os, "pidfd_open", none)
    start = time.monotonic()
    line = f"sleep 60 & echo $! > {tmp_path}/pid; echo done; exit 67"
    assert run(line) == bounced("5.1.1", "user unknown. Command output: done")
    assert time.monotonic() - start < 10
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_program_that_talks_without_end_in_the_background_holds_nothing_up(tmp_path):
    assert run(f"yes & echo $! > {tmp_path}/pid; exit 0").status == "sent"
    # its output is closed
    assert vanishes(lambda: os.kill(int((tmp_path / "pid").read_text()), 0))


def test_a_program_that_closes_its_output_is_still_waited_for(tmp_path):
    assert run(f"exec >&- 2>&-; sleep 0.3; touch {tmp_path}/end; exit 0").status == "sent"
    assert (tmp_path / "end").exists()


def test_the_program_has_three_descriptors_and_a_session_of_its_own(tmp_path):
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    # dash's own: 0, 1, 2 and what ls itself opens
    run(f"ls /proc/self/fd > {tmp_path}/fds; ps -o pid=,pgid=,sid= $$ > {tmp_path}/ids; exit 0")
    os.close(leak)
    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2", "3"]
    assert len(set((tmp_path / "ids").read_text().split())) == 1


def test_signals_are_at_their_defaults(tmp_path):
    run(f"grep -E '^Sig(Ign|Blk)' /proc/self/status > {tmp_path}/signals; exit 0")
    ignored = [int(line.split()[1], 16) for line in (tmp_path / "signals").read_text().splitlines()]
    assert ignored == [0, 0]


def test_many_programs_leave_no_descriptors_behind():
    before = len(os.listdir("/proc/self/fd"))
    for line in ("true", "exit 67", "/no/such", "sleep 9"):
        run(line, time_limit=0 if line.startswith("sleep") else 9)
    assert len(os.listdir("/proc/self/fd")) == before


def test_procmail_files_a_message(tmp_path):
    needs("procmail")
    recipes = tmp_path / "rc"
    recipes.write_text(
        f"MAILDIR={tmp_path}\nDEFAULT={tmp_path}/inbox/\nEXT=$1\n"
        ":0\n* ^Subject: spam\n/dev/null\n"
        ":0\n* ^Subject: unknown\n{\n EXITCODE=67\n HOST\n}\n"
        ':0 w\n* ^Subject: list\n| cat > "list-$SENDER-$EXT"\n'
    )
    line = f'procmail -t -p -a "$EXTENSION" {recipes}'
    hello = content(b"Subject: hello\n", b"body\n")
    assert run(line, content=hello, extension="x").status == "sent"
    (letter,) = [path for path in tmp_path.glob("inbox/new/*") if path.is_file()]
    assert letter.read_bytes() == b"Subject: hello\n\nbody\n"
    assert run(line, content=content(b"Subject: list\n", b"x\n"), extension="y").status == "sent"
    assert b"Subject: list\n\nx\n" in (tmp_path / "list-joe@example.org-y").read_bytes()
    unknown = run(line, content=content(b"Subject: unknown\n", b"x\n"))
    assert unknown == bounced("5.1.1", "user unknown")
    recipes.write_text("EXITCODE=75\nHOST\n")
    assert run(line, content=hello) == deferred("4.3.0", "temporary failure")


def test_maildrop_files_a_message(tmp_path):
    needs("maildrop")
    Path(tmp_path, "Maildir").mkdir()
    for name in ("cur", "new", "tmp"):
        (tmp_path / "Maildir" / name).mkdir()
    rules = tmp_path / "rules"
    rules.write_text(
        'if (/^Subject: no/)\n{\n  echo "no such person"\n  EXITCODE=77\n  exit\n}\n'
        f"to {tmp_path}/Maildir\n"
    )
    rules.chmod(0o600)
    line = f"maildrop {rules}"
    assert run(line, content=content(b"Subject: yes\n", b"body\n")).status == "sent"
    (letter,) = (tmp_path / "Maildir" / "new").iterdir()
    assert letter.read_bytes().endswith(b"Subject: yes\n\nbody\n")
    refused = run(line, content=content(b"Subject: no\n", b"body\n"))
    assert (refused.status, refused.dsn) == ("bounced", "5.7.0")
    assert "no such person" in refused.words
