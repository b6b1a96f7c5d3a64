"""You have new mail: pymail notice, and the lines of pymail shell-init in real shells."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness import BIN, MEASURE, Box, needs
from machine import CONFIG, Machine
from typist import Terminal

from pymail import child, notice
from pymail.envelope import Envelope
from pymail.spool import Spool

SHELLS = ("bash", "zsh", "dash", "fish")
STARTUP = {
    "bash": ".bash_profile",
    "zsh": ".zshrc",
    "dash": ".profile",
    "fish": ".config/fish/config.fish",
}
INTERACTIVE = {
    "bash": ["bash", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "dash": ["dash", "-i"],
    "fish": ["fish", "-N", "-i"],
}
STRACE = ("/usr/bin/strace", "-f", "-qq", "-s", "4096", "-e", "trace=execve", "-o")
HOUR = 3600


def told(done: "subprocess.CompletedProcess[bytes]") -> str:
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def deliver(maildir: Path, name: str = "1.a.b", text: str = "From: Анна <a@b>\n\nx\n") -> Path:
    """Put a message into new/ as another program does."""
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    path = maildir / "new" / name
    path.write_text(text)
    return path


# --- pymail notice -------------------------------------------------------------------------------


def test_nothing_is_said_of_nothing(box: Box) -> None:
    assert told(box.run("pymail", "notice")) == ""
    deliver(box.home / "Maildir").unlink()
    assert told(box.run("pymail", "notice")) == ""


def test_the_line_says_how_many_and_from_whom(box: Box) -> None:
    box.send(b"From: root (Cron Daemon)\nSubject: x\n\n")
    box.flush()
    assert told(box.run("pymail", "notice")) == "You have 1 new message, from Cron Daemon.\n"
    box.send(b"From: =?koi8-r?b?8NLJ18XU?= <a@b>\n\n")
    box.send("From: Алиса <alice>\n\n".encode())
    box.send(b"From: root (Cron Daemon)\n\n")
    box.flush()
    line = told(box.run("pymail", "notice"))
    assert line.startswith("You have 4 new messages, from ")
    names = re.split(", from |, | and ", line.rstrip(".\n"))[1:]
    assert sorted(names) == ["Cron Daemon", "Алиса", "Привет"]
    for path in (box.home / "Maildir" / "new").iterdir():
        path.rename(box.home / "Maildir" / "cur" / f"{path.name}:2,S")
    assert told(box.run("pymail", "notice")) == ""


def test_of_many_messages_the_latest_authors_are_named(box: Box) -> None:
    for number in range(30):
        deliver(box.home / "Maildir", f"{number + 100}.a.b", f"From: n{number}@x\n\n")
    line = told(box.run("pymail", "notice"))
    assert line == "You have 30 new messages, the latest from n29@x, n28@x, n27@x and others.\n"


@pytest.mark.parametrize(
    "author", ["\x1b]0;evil\x07\x9b2J", "=?utf-8?q?=1B[2J=0Aa?= <a@b>", "\u202eevil\u200b <a@b>"]
)
def test_nothing_in_a_message_reaches_the_terminal_as_it_is(box: Box, author: str) -> None:
    deliver(box.home / "Maildir", text=f"From: {author}\n\n")
    line = told(box.run("pymail", "notice"))
    assert line.startswith("You have 1 new message, from ")
    assert line.endswith(".\n") and line[:-1].isprintable()


@pytest.mark.parametrize(
    "head", ["", "\n", "no header", "From:\n\n", "From: " + "(" * 9000, "From: " + "<" * 9000]
)
def test_a_message_without_an_author_that_can_be_named_counts(box: Box, head: str) -> None:
    deliver(box.home / "Maildir", text=head)
    assert told(box.run("pymail", "notice")).startswith("You have 1 new message")


def test_every_place_where_mail_may_lie_is_looked_at_once(box: Box) -> None:
    deliver(box.home / ".maildir")
    deliver(box.home / "my mail")
    deliver(box.home / "third")
    (box.home / "same").symlink_to("my mail")
    box.config("home_mailbox = 'my mail/'\n")
    for mail, count in (("third", 3), ("same", 2), ("nowhere", 2)):
        line = told(box.run("pymail", "notice", env={"MAIL": f"{box.home}/{mail}"}))
        assert line.startswith(f"You have {count} new messages, from Анна.")
    line = told(box.run("pymail", "notice", env={"MAIL": f"maildir:{box.home}/third/"}))
    assert line.startswith("You have 3 new")
    box.config("this is not TOML\n")
    assert told(box.run("pymail", "notice")) == "You have 1 new message, from Анна.\n"


@pytest.mark.parametrize("name", ["mbox", "mail/new"])
def test_an_mbox_is_looked_at_and_not_touched(box: Box, name: str) -> None:
    box.config(f"home_mailbox = '{name}'\n")
    mbox = box.home / name
    mbox.parent.mkdir(exist_ok=True)
    mbox.write_text(
        "From a@x Mon Nov 23 00:00:00 2026\nFrom: a@x\nStatus: RO\n\nbody\nFrom here\n\n"
        "From b@x Mon Nov 23 00:01:00 2026\nFrom: b@x\nSubject: two\n\n2\n\n"
        "From c@x Mon Nov 23 00:01:00 2026\nFrom: c@x\n\n3\n"
    )
    os.utime(mbox, (1, 2))
    assert told(box.run("pymail", "notice")) == "You have 2 new messages, from c@x and b@x.\n"
    assert (mbox.stat().st_atime, mbox.stat().st_mtime) == (1, 2)
    mbox.write_text("")
    assert told(box.run("pymail", "notice")) == ""


def test_only_the_end_of_a_big_mbox_is_read(box: Box) -> None:
    box.config("home_mailbox = 'mbox'\n")
    one = "From a@x Mon Nov 23 00:00:00 2026\nFrom: %s\n\n%s\n\n"
    with open(box.home / "mbox", "w") as file:
        file.write(one % ("first", "\n".join(["x" * 1000] * 9000)))
        file.write(one % ("second", "y"))
    assert told(box.run("pymail", "notice")) == "You have 1 new message, from second.\n"


def test_a_maildir_of_any_length_is_counted(box: Box, *, whole: bool) -> None:
    count = 100_000 if whole else 3000
    new = deliver(box.home / "Maildir").parent
    for number in range(2, count + 1):
        (new / f"{number}.a.b").touch()
    line = told(box.run("pymail", "notice"))
    wanted = "100,000 or more" if whole else "3,000"
    assert line == f"You have {wanted} new messages.\n"


def test_what_is_no_message_is_neither_counted_nor_waited_for(box: Box) -> None:
    new = deliver(box.home / "Maildir").parent
    os.mkfifo(new / "2.fifo")
    (new / "3.directory").mkdir()
    (new / "4.link").symlink_to("/dev/zero")
    (new / ".hidden").write_text("x")
    assert told(box.run("pymail", "notice")) == "You have 1 new message, from Анна.\n"


def test_a_directory_that_cannot_be_read_is_no_error(machine: Machine) -> None:
    machine.send("root", b"Subject: x\n\n", "alice")
    machine.flush()
    assert told(machine.run("alice", "pymail", "notice")) == "You have 1 new message, from root.\n"
    for place in ("Maildir/new", "Maildir", ""):
        (machine.home("alice") / place).chmod(0)
        assert told(machine.run("alice", "pymail", "notice")) == ""


@pytest.fixture
def hanging(machine: Machine) -> Iterator[Callable[[Path], None]]:
    """Let a directory hang whoever looks at it: a file system of which nobody answers for."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no file system can hang here: /dev/fuse: {error.strerror}")
    places: list[Path] = []

    def hang(place: Path) -> None:
        kind = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        command = ["mount", "-i", "-t", "fuse", "-o", kind, "nobody", place]
        subprocess.run(command, pass_fds=[device], check=True)
        places.append(place)

    yield hang
    os.close(device)
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("place", ["", "Maildir/new"])
def test_a_home_that_hangs_does_not_hang_a_login(
    machine: Machine,
    hanging: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    for name in MEASURE:  # coverage itself looks into the home
        monkeypatch.delenv(name, raising=False)
    machine.send("root", b"Subject: x\n\n", "alice")
    machine.flush()
    assert told(machine.run("alice", "pymail", "notice")) != ""
    hanging(machine.home("alice") / place)
    assert told(machine.run("alice", "pymail", "notice")) == ""


def test_what_is_known_in_time_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PYMAIL_SPOOL", "PYMAIL_CONFIG"):
        monkeypatch.setenv(name, box.env[name])
    deliver(box.home / "Maildir")
    parent = os.getpid()

    def hang(*_: object) -> list[str]:
        while os.getpid() != parent:
            time.sleep(1)
        return []

    forked: list[int] = []

    def fork(out: int, serve: Callable[[], None]) -> int:
        forked.append(child.fork(out, serve))
        return forked[-1]

    monkeypatch.setattr(notice, "child", SimpleNamespace(fork=fork, hear=child.hear))
    for name, line in (
        ("stuck", "You have 1 new message, from Анна."),
        ("_authors", "You have 1 new message."),
        ("mailboxes", ""),
    ):
        monkeypatch.setattr(notice, name, hang)
        assert notice.line() == line
        os.waitpid(forked[-1], 0)  # it was killed, else this would wait for ever


# --- what is stuck -------------------------------------------------------------------------------


def age(monkeypatch: pytest.MonkeyPatch, spool: Spool, hours: int, *to: str) -> str:
    """Submit a message some hours ago."""
    then = time.time_ns() - hours * HOUR * 10**9
    with monkeypatch.context() as past:
        past.setattr("pymail.draft.time.time_ns", lambda: then)
        return spool.submit(Envelope(os.getuid(), [*to]), b"Subject: x\n\n")


def test_mail_that_waits_for_long_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.config('default_transport = "retry:4.4.1 no route to host"\n')
    spool = Spool(str(box.spool))
    age(monkeypatch, spool, 0, "joe@example.org")
    box.flush()
    assert told(box.run("pymail", "notice")) == ""
    age(monkeypatch, spool, 5, box.user, "anna@example.org")
    box.flush()
    line = told(box.run("pymail", "notice"))
    assert line.startswith("You have 1 new message, from ")
    assert line.endswith(
        "; 1 message of yours has been stuck in the queue for 5 hours (to anna@example.org):"
        " mailq tells why.\n"
    )
    age(monkeypatch, spool, 75, "ev\x1bil@example.org")
    for path in (box.home / "Maildir" / "new").iterdir():
        path.unlink()
    assert told(box.run("pymail", "notice")) == (
        "2 messages of yours have been stuck in the queue for 3 days"
        " (to ev?il@example.org): mailq tells why.\n"
    )


def test_mail_on_hold_is_told_at_once(box: Box) -> None:
    box.send(b"Subject: x\n\n", "joe@example.org")
    told(box.run("pymail", "queue", "hold", "ALL"))
    assert told(box.run("pymail", "notice")) == (
        "1 message of yours has been stuck in the queue for 1 minute"
        " (to joe@example.org): mailq tells why.\n"
    )


def test_each_user_hears_of_the_own_mail_only(machine: Machine) -> None:
    machine.send("alice", b"", "for-alice@example.org")
    machine.send("bob", b"", "for-bob@example.org")
    machine.send("root", b"", "for-root@example.org")
    told(machine.run("root", "pymail", "queue", "hold", "ALL"))
    for user in ("alice", "bob", "root"):
        line = told(machine.run(user, "pymail", "notice"))
        assert line.startswith("1 message of yours has been stuck ")
        assert f"(to for-{user}@example.org)" in line
    assert told(machine.run("carol", "pymail", "notice")) == ""


def test_mail_that_nobody_takes_out_of_the_drop_directory_is_told(machine: Machine) -> None:
    needs("faketime")
    machine.run("bob", "faketime", "-f", "-3h", sys.executable, "-I", "/usr/sbin/sendmail", "alice")
    line = told(machine.run("bob", "pymail", "notice"))
    assert line == (
        "1 message of yours has been stuck in the queue for 3 hours (to alice): mailq tells why.\n"
    )


@pytest.mark.parametrize(
    ("count", "authors", "line"),
    [
        (0, [], ""),
        (1, [], "You have 1 new message."),
        (2, ["a"], "You have 2 new messages, from a."),
        (4, ["a", "b", "c", "d"], "You have 4 new messages, from a, b, c and others."),
        (1234, ["a", "b"], "You have 1,234 new messages, the latest from a and b."),
        (100_000, ["a"], "You have 100,000 or more new messages, the latest from a."),
    ],
)
def test_the_sentence(count: int, authors: list[str], line: str) -> None:
    assert notice.sentence(count, authors, [], 0) == line


# --- pymail shell-init ---------------------------------------------------------------------------


@dataclass
class Login:
    """A user whose shell has the lines in its startup file, in a home with a blank in its name."""

    box: Box
    shell: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Install pymail, and ask it for the lines."""
        self.home = self.box.home
        self.program = self.box.root / "bin" / "pymail"
        self.program.parent.mkdir()
        script = (BIN / "pymail").read_text().replace("#!python", f"#!{sys.executable} -I", 1)
        self.program.write_text(script)
        self.program.chmod(0o755)
        self.env = {**self.box.env, "TERM": "dumb", "PS1": "$ ", **self.env}
        self.startup = self.home / STARTUP[self.shell]
        self.startup.parent.mkdir(parents=True, exist_ok=True)
        # fish looks through all manual pages when it is started for the first time, with Python.
        (self.home / ".local/share/fish/generated_completions").mkdir(parents=True)
        self.write(self.snippet())

    def snippet(self) -> str:
        """Return the lines for this shell."""
        name = "sh" if self.shell == "dash" else self.shell
        done = subprocess.run(
            [self.program, "shell-init", name], capture_output=True, env=self.box.env, check=False
        )
        return told(done)

    def write(self, text: str) -> None:
        """Write the startup file."""
        self.startup.write_text(text)

    def open(self, *command: str) -> Terminal:
        """Log in on a terminal, by way of a command if one is given."""
        argv = [*command, f"/bin/{self.shell}", "-l"]
        return Terminal(argv, self.env, self.home)

    def shown(self, *command: str) -> str:
        """Log in and out; return what the terminal showed."""
        terminal = self.open(*command)
        terminal.type("echo re''ady\n")
        terminal.wait("ready")
        terminal.type("exit\n")
        terminal.end()
        return terminal.shown.decode(errors="replace")

    def started(self) -> list[str]:
        """Log in and out under strace; return the programs that were started, with arguments."""
        trace = self.box.root / "trace"
        self.shown(*STRACE, str(trace))
        calls = re.findall(r"execve\((.*)\) = 0$", trace.read_text(), re.MULTILINE)
        return [call.partition(", 0x")[0] for call in calls]

    def run(
        self,
        *lines: str,
        interactive: bool = True,
        terminal: bool = True,
        typed: bytes = b"",
    ) -> tuple[str, str]:
        """Run a script in this shell; return what it wrote to standard output and error."""
        start = INTERACTIVE[self.shell]
        start = start if interactive else [word for word in start if word != "-i"]
        with tempfile.TemporaryFile() as errors:
            read, write = pty.openpty() if terminal else os.pipe()
            process = subprocess.Popen(
                [*start, "-c", "\n".join(lines)],
                stdin=subprocess.PIPE,
                stdout=write,
                stderr=errors,
                env=self.env,
                cwd=self.home,
            )
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as file:
                file.write(typed)
            out = b""
            # A terminal that nobody has open any more may lose its last words.
            ended = False
            while not ended or select.select([read], [], [], 0)[0]:
                ended = process.poll() is not None
                if select.select([read], [], [], 0.02)[0]:
                    out += os.read(read, 1 << 16)
            os.close(read)
            os.close(write)
            errors.seek(0)
            said = errors.read().decode()
        quiet = [
            line
            for line in said.splitlines()
            if "job control" not in line and "process group" not in line
        ]
        return out.decode().replace("\r\n", "\n"), "\n".join(quiet)

    def source(self) -> str:
        """Return the command that reads the startup file."""
        return f". {shlex.quote(str(self.startup))}"


@pytest.fixture(params=SHELLS)
def login(request: pytest.FixtureRequest, boxes: Callable[[str], Box]) -> Login:
    needs(request.param, "strace")
    return Login(boxes("a box"), request.param)


def test_a_login_tells_of_mail_that_came(login: Login) -> None:
    login.box.send("From: Анна <a@b>\nSubject: x\n\n".encode())
    assert "You have" not in login.shown()
    login.box.flush()
    shown = login.shown()
    assert shown.count("You have 1 new message, from Анна.") == 1
    assert shown.count("You have") == 1


def test_a_login_starts_nothing_where_no_mail_came(login: Login) -> None:
    deliver(login.home / "Maildir").rename(login.home / "Maildir/cur/1.a.b:2,S")
    login.shown()  # fish makes its directories when it is started for the first time
    quiet = login.started()
    assert not [call for call in quiet if "python" in call or "pymail" in call]
    login.write("")
    assert sorted(quiet) == sorted(login.started())


def test_a_login_starts_pymail_once_where_mail_came(login: Login) -> None:
    deliver(login.home / "Maildir")
    asked = f'"{login.program}", ["{login.program}", "notice"]'
    assert login.started().count(asked) == 1
    login.write("")
    assert asked not in login.started()


def test_a_login_tells_of_what_is_stuck(login: Login) -> None:
    login.box.send(b"Subject: x\n\n", "joe@example.org")
    told(login.box.run("pymail", "queue", "hold", "ALL"))
    assert "1 message of yours has been stuck in the queue" in login.shown()
    deliver(login.home / "Maildir")
    assert re.search("You have 1 new message, from Анна; 1 message of yours", login.shown())


def test_the_lines_may_stand_twice(login: Login) -> None:
    deliver(login.home / "Maildir")
    login.write(login.snippet() * 2)
    assert login.shown().count("You have") == 1


def test_the_lines_leave_nothing_behind_and_end_no_shell(login: Login) -> None:
    """With set -eu, no home, no MAIL: an error would end the shell before `end`."""
    login.env["HOME"] = "/nonexistent"
    if login.shell == "dash":  # the others find out by themselves
        del login.env["HOME"]
    strict = [] if login.shell == "fish" else ["set -eu"]
    names = "set --names" if login.shell == "fish" else "set"
    out, err = login.run(*strict, login.source(), login.source(), "echo end", names)
    assert (out.partition("\n")[0], err) == ("end", "")
    left = set(re.findall(r"^__pymail\w*", out, re.MULTILINE))
    assert left == {"__pymail_shell"}
    login.env["HOME"] = str(login.home)
    deliver(login.home / "Maildir")
    out, err = login.run(*strict, login.source(), login.source(), "echo end")
    assert (out, err) == ("You have 1 new message, from Анна.\nend\n", "")


def test_a_script_is_told_nothing(login: Login) -> None:
    deliver(login.home / "Maildir")
    assert login.run(login.source(), "echo end", interactive=False) == ("end\n", "")


def test_a_program_that_reads_an_interactive_shell_is_told_nothing(login: Login) -> None:
    """Editors ask a shell for its environment like this."""
    deliver(login.home / "Maildir")
    assert login.run(login.source(), "echo end", terminal=False) == ("end\n", "")
    assert login.run(login.source())[0].startswith("You have 1 new message")


def test_ssh_with_a_command_as_scp_and_rsync_use_it_is_told_nothing(
    boxes: Callable[[str], Box],
) -> None:
    """bash reads ~/.bashrc then, though it is not interactive."""
    needs("bash")
    login = Login(boxes("a box"), "bash")
    deliver(login.home / "Maildir")
    (login.home / ".bashrc").write_text(f"echo read\n{login.snippet()}")
    env = {**login.env, "SSH_CLIENT": "192.0.2.1 1 22", "SHLVL": "0"}
    for read, write in (os.pipe(), pty.openpty()):
        done = subprocess.Popen(
            ["/bin/bash", "-c", "echo end"],
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            env=env,
        )
        done.wait()
        assert os.read(read, 1 << 16).replace(b"\r", b"") == b"read\nend\n"
        os.close(read)
        os.close(write)


def test_a_directory_of_many_files_is_looked_through_once(login: Login, *, whole: bool) -> None:
    new = deliver(login.home / "Maildir").parent
    for number in range(100_000 if whole else 2000):
        (new / f"{number}.a.b").touch()
    for number in range(2):
        (new / f"x{number}").write_text("From: b\n\n")
    trace = login.box.root / "trace"
    command = ["strace", "-f", "-qq", "-y", "-e", "trace=getdents64", "-o", trace]
    login.program.write_text("#!/bin/sh\necho told\n")
    before = time.monotonic()
    assert login.run(login.source()) == ("told\n", "")
    assert time.monotonic() - before < 5
    shell = INTERACTIVE[login.shell]
    subprocess.run([*command, "script", "-qec", shlex.join([*shell, "-c", login.source()]),
                    "/dev/null"], env=login.env, capture_output=True, check=True,
                   stdin=subprocess.DEVNULL)  # fmt: skip
    ends = [row for row in trace.read_text().splitlines() if "Maildir/new>" in row and "= 0" in row]
    assert len(ends) == (0 if login.shell == "zsh" else 1)


@pytest.mark.parametrize("options", ["nullglob", "failglob", "dotglob"])
def test_how_bash_expands_patterns_does_not_matter(
    boxes: Callable[[str], Box], options: str
) -> None:
    needs("bash")
    login = Login(boxes("a box"), "bash")
    script = [f"shopt -s {options}", login.source(), "echo end", f"shopt -q {options} && echo set"]
    assert login.run(*script) == ("end\nset\n", "")
    deliver(login.home / "Maildir")
    assert login.run(*script) == ("You have 1 new message, from Анна.\nend\nset\n", "")


@pytest.mark.parametrize(
    ("shell", "odd"),
    [
        ("bash", "set -o posix; IFS=/; trap 'echo ERR' ERR; set -E; shopt -s nocasematch extglob"),
        ("dash", "IFS=/; TERM=; export TERM"),
        ("zsh", "setopt ksh_arrays sh_word_split no_unset err_exit warn_create_global glob_subst"),
        ("zsh", "setopt no_glob ksh_glob no_bare_glob_qual rc_expand_param csh_nullcmd nomatch"),
        ("zsh", "MAIL='a*(e:exit:)'; TRAPZERR() { print ERR; }"),
        ("fish", "set -e MAIL; set -gx TERM dumb"),
    ],
)
def test_what_else_is_set_in_the_shell_does_not_matter(
    boxes: Callable[[str], Box], shell: str, odd: str
) -> None:
    needs(shell)
    login = Login(boxes("a box"), shell)
    script = [odd, login.source(), "echo end"]
    assert login.run(*script) == ("end\n", "")
    deliver(login.home / "Maildir")
    assert login.run(*script) == ("You have 1 new message, from Анна.\nend\n", "")


def test_what_is_typed_ahead_is_left_to_the_shell(login: Login) -> None:
    login.env.pop("MAIL", None)
    read = "read -l line" if login.shell == "fish" else "read -r line"
    out, _ = login.run(login.source(), read, "echo got $line", typed=b"ahead\n")
    assert "got ahead\n" in out


def test_mail_is_found_where_the_configuration_and_the_environment_say(login: Login) -> None:
    login.box.config('home_mailbox = "it\'s * [my] \\\\ mail/"\n')
    login.write(login.snippet())
    assert login.run(login.source()) == ("", "")
    for place in ("it's * [my] \\ mail", ".maildir"):
        path = deliver(login.home / place)
        assert login.run(login.source()) == ("You have 1 new message, from Анна.\n", "")
        path.unlink()
    deliver(login.home / "third")
    for mail, line in (("maildir:", "You have 1"), ("", "You have 1"), ("/no", "")):
        login.env["MAIL"] = f"{mail}{login.home}/third"
        out, err = login.run(login.source())
        assert (out.startswith(line), bool(out), err) == (True, bool(line), "")


def test_an_mbox_is_looked_at_by_the_shell(login: Login) -> None:
    login.box.config("home_mailbox = 'mbox'\n")
    login.write(login.snippet())
    (login.home / "mbox").write_text("")
    assert login.run(login.source()) == ("", "")
    (login.home / "mbox").write_text("From a@x Mon Nov 23 00:00:00 2026\nFrom: a@x\n\nx\n")
    assert login.run(login.source()) == ("You have 1 new message, from a@x.\n", "")


def test_a_login_without_pymail_still_tells_of_mail(login: Login) -> None:
    deliver(login.home / "Maildir")
    login.program.unlink()
    assert "You have new mail." in login.shown()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_prompt_tells_of_mail_that_comes_later(boxes: Callable[[str], Box], shell: str) -> None:
    needs(shell)
    login = Login(boxes("a box"), shell)
    login.write(f"MAILCHECK=1\n{login.snippet()}")
    terminal = login.open()
    terminal.type("echo re''ady\n")
    terminal.wait("ready")

    def prompts(seconds: float) -> int:
        """Press Enter for so long; count what the shell has told by then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            terminal.type("echo o''n\n")
            terminal.wait("on")
        return terminal.shown.count(b"You have new mail")

    assert prompts(1.5) == 0  # the shells count in seconds
    path = deliver(login.home / "Maildir")
    deadline = time.monotonic() + 30
    while not prompts(0.5):
        assert time.monotonic() < deadline
    path.rename(login.home / "Maildir/cur/1.a.b:2,S")
    before = prompts(1.5)
    assert prompts(2.5) == before
    terminal.type("exit\n")
    terminal.end()


@pytest.mark.parametrize(
    ("shell", "variable"), [("bash", "$MAILPATH"), ("zsh", "${(j.:.)mailpath}")]
)
def test_the_shell_watches_what_exists_and_keeps_what_is_set(
    boxes: Callable[[str], Box], shell: str, variable: str
) -> None:
    needs(shell)
    login = Login(boxes("a box"), shell)
    show = f'echo "{variable} $MAILCHECK"'
    assert login.run(login.source(), show) == (f"{login.home}/Maildir 60\n", "")
    (login.home / ".maildir").mkdir()
    (login.home / "old").touch()
    login.env["MAIL"] = f"{login.home}/old"
    places = f"{login.home}/Maildir:{login.home}/.maildir:{login.home}/old"
    assert login.run(login.source(), login.source(), show) == (f"{places} 60\n", "")
    login.env["MAILPATH"] = "/somewhere"
    assert login.run("MAILCHECK=5", login.source(), show) == ("/somewhere 5\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_on_a_machine_for_all_each_user_hears_of_the_own_mail(machine: Machine, shell: str) -> None:
    needs(shell, "strace")
    name = "sh" if shell == "dash" else shell
    lines = Path("/etc/pymail-lines")
    lines.write_text(told(machine.run("root", "/usr/bin/pymail", "shell-init", name)))
    machine.send("alice", b"", "for-alice@example.org")
    machine.send("root", b"", "for-root@example.org")
    told(machine.run("root", "pymail", "queue", "hold", "ALL"))
    for user in ("alice", "root", "bob"):
        trace = f"/tmp/trace.{os.getpid()}"
        asks = shlex.join([*STRACE, trace, *INTERACTIVE[shell], "-c", f". {lines}"])
        done = machine.run(user, "script", "-qec", f"TERM=dumb {asks}", "/dev/null")
        asked = '"notice"' in Path(trace).read_text()
        Path(trace).unlink()
        line = done.stdout.decode()
        if user == "bob":
            assert (line, asked) == ("", False)
        else:
            assert line.startswith("1 message of yours has been stuck") and asked
            assert f"(to for-{user}@example.org)" in line


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh", "fish"])
def test_the_lines_are_sound(box: Box, machine: Machine, shell: str) -> None:
    needs("shellcheck", "zsh", "fish")
    check = {"zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}
    command = check.get(shell, ["shellcheck", "-s", shell])
    for text in (
        told(box.run("pymail", "shell-init", shell)),
        told(machine.run("alice", "pymail", "shell-init", shell)),
    ):
        file = box.root / "lines"
        file.write_text(text)
        done = subprocess.run([*command, file], capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert not re.search("@[A-Z]+@", text)


def test_other_shells_are_refused(box: Box) -> None:
    done = box.run("pymail", "shell-init", "tcsh")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (64, b"", 1)


def test_passwords_of_the_machine_hide_no_users_mail(machine: Machine) -> None:
    """Root's accounts lie in a file that only root may read; the mailbox is named in another."""
    machine.config('home_mailbox = "inbox/"\n')
    machine.send("bob", b"Subject: one\n\nbody\n", "alice")
    machine.flush()
    folder = CONFIG.parent / "conf.d"
    folder.mkdir()
    (folder / "fetch.toml").write_text(
        '[fetch.x]\nprotocol = "pop3"\nserver = "x.test"\nuser = "u"\npassword = "p"\n'
    )
    (folder / "fetch.toml").chmod(0o600)
    try:
        looked = machine.run("alice", "mail", "-H")
        assert (looked.returncode, looked.stderr) == (0, b"")
        assert b"one" in looked.stdout
        assert machine.run("alice", "pymail", "explain", "alice").returncode == 0
        assert b"1 new message" in machine.run("alice", "pymail", "notice").stdout
        CONFIG.chmod(0o600)
        for program, *args in (("mail", "-H"), ("mail", "-e"), ("pymail", "list")):
            looked = machine.run("alice", program, *args)
            assert looked.returncode == 78
            assert b": cannot read /etc/pymail/config.toml: Permission denied\n" in looked.stderr
    finally:
        shutil.rmtree(folder)
