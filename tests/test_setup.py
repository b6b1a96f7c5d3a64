"""pymail setup: it is there afterwards, for all users or for one, and goes without a trace."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from authority import Authority
from harness import BIN, MEASURE, PATH, ROOT, measured, missing, needs
from hypothesis import given
from hypothesis import strategies as st
from machine import Machine
from nameserver import ADDRESS, name_server
from relays import relay
from typist import Terminal

from pymail import provider
from pymail.provider import Submission

ENTER = """
for place in usr etc var/lib; do
    mkdir -p "$1/$place.upper" "$1/$place.work"
    mount -t overlay none "/$place" \
        -o "lowerdir=/$place,upperdir=$1/$place.upper,workdir=$1/$place.work" || exit 1
done
mount -t tmpfs -o mode=0755 none /var/spool && mount -t tmpfs -o mode=0755 none /home || exit 1
mkdir -m 1730 -p /var/spool/cron/crontabs && chgrp crontab /var/spool/cron/crontabs
mkdir -p /etc/cron.d; rm -rf /etc/pymail /usr/bin/mail /usr/bin/mailx
cp -p /bin/true /usr/sbin/sendmail; ln -sf ../sbin/sendmail /usr/bin/mailq
for user in alice bob; do install -d -o $user -g $user /home/$user; done
echo ready
exec sleep 3600
"""
PLACES = ("/usr/sbin", "/usr/bin", "/usr/lib/sendmail", "/usr/local", "/etc/cron.d", "/var/spool")


class Fresh:
    """A machine on which everything may be changed: it ends with the test."""

    def __init__(self, place: Path) -> None:
        needs("unshare", "nsenter", "setpriv")
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
        self._place = place
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", ENTER, "sh", str(place)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"ready\n":
            missing(f"no overlay of this machine: {self._process.communicate()[1].decode()}")

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()
        subprocess.run(["umount", "-l", self._place], check=True)

    def run(
        self, *command: str, user: str = "root", stdin: bytes = b"", **env: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a program there."""
        argv, given = self.within(*command, user=user, **env)
        return subprocess.run(
            argv, input=stdin, capture_output=True, env=given, timeout=120, check=False
        )

    def within(
        self, *command: str, user: str = "root", **env: str
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment of a program there."""
        become = ["setpriv", "--init-groups", f"--reuid={user}", f"--regid={user}"]
        home = "/root" if user == "root" else f"/home/{user}"
        given = {"PATH": PATH, "HOME": home, "USER": user, "LANG": "C.UTF-8", **env}
        inside = [*become, *command] if user != "root" else list(command)
        place = f"--mount=/proc/{self._process.pid}/ns/mnt"
        return [shutil.which("nsenter") or "", place, "--wd=/", *inside], measured(given)

    def pymail(self, *args: str, user: str = "root", **more: str) -> list[str]:
        """Run pymail of the checkout there; return what it says, which is no complaint."""
        done = self.run(sys.executable, "-I", str(BIN / "pymail"), *args, user=user, **more)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout.decode().splitlines()

    def sight(self) -> str:
        """Return what lies where programs and their data lie."""
        seen = 'find "$@" -printf "%p %m %u %l\\n" 2>/dev/null | sort; dpkg-divert --list'
        return self.run("sh", "-c", seen, "sh", *PLACES).stdout.decode()


@pytest.fixture
def fresh(machine: Machine, tmp_path: Path) -> Iterator[Fresh]:
    del machine
    here = Fresh(tmp_path)
    try:
        yield here
    finally:
        here.close()


def test_a_machine_is_set_up_delivers_and_is_as_it_was_when_that_goes(fresh: Fresh) -> None:
    fresh.run("cp", "-p", "/bin/true", "/usr/sbin/mailq")  # as ssmtp has it: before /usr/bin
    before = fresh.sight()
    said = fresh.pymail("setup", "--start", "cron")
    assert (
        "link /usr/sbin/sendmail to /usr/local/lib/pymail/sendmail (what is there is put aside)"
        in said
    )
    assert fresh.pymail("setup", "--start", "cron") == []

    # A user's cron job, and root's: as any program would.
    done = fresh.run("/usr/sbin/sendmail", "root", user="bob", stdin=b"Subject: x\n\nhello\n")
    assert (done.returncode, done.stderr) == (0, b"")
    done = fresh.run("mail", "-s", "тема", "bob", user="alice", stdin="текст\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"2 Requests" in fresh.run("mailq").stdout
    line = fresh.run("cat", "/etc/cron.d/pymail").stdout.decode().splitlines()[-1]
    assert line.startswith("* * * * * root /")
    done = fresh.run("sh", "-c", line.partition(" root ")[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    # alice has the first number of all users, and so root's mail.
    for user, words in (("alice", b"hello"), ("bob", "текст".encode())):
        found = fresh.run("sh", "-c", f"cat /home/{user}/Maildir/new/*").stdout
        assert words in found
    assert [line for line in fresh.pymail("check") if "tmpfs" not in line] == []

    there = fresh.sight()
    planned = fresh.pymail("setup", "--remove", "--dry-run")
    assert fresh.sight() == there
    gone = fresh.pymail("setup", "--remove", "--start", "cron")
    assert [line.removesuffix(", if it is empty") for line in planned] == gone
    assert "remove /usr/sbin/sendmail, put back what was there" in gone
    after = fresh.sight()
    assert after == before


def test_what_check_wants_puts_the_programs_of_others_aside(fresh: Fresh) -> None:
    fresh.run("sh", "-c", "mkdir -p /var/spool/pymail/queue /var/spool/pymail/drop")
    done = fresh.run(sys.executable, "-I", str(BIN / "pymail"), "check")
    told = done.stdout.decode().splitlines()
    wanted = [line for line in told if "sendmail is not" in line or "nothing starts flush" in line]
    remedies = {line.rpartition(": ")[2] for line in wanted}
    assert (len(wanted), remedies) == (2, {f"{BIN}/pymail setup"})
    fresh.pymail("setup")
    left = fresh.run(sys.executable, "-I", str(BIN / "pymail"), "check").stdout.decode()
    assert not [line for line in wanted if line in left]
    same = fresh.run("cmp", "/bin/true", "/usr/sbin/sendmail.before-pymail")
    assert same.returncode == 0
    assert b"/usr/sbin/sendmail" in fresh.run("dpkg-divert", "--list").stdout


def test_what_was_imported_too_early_is_told(fresh: Fresh) -> None:
    fresh.run("sh", "-c", "echo 'relayhost = [smtp.isp.example]' > /run/main.cf")
    fresh.pymail("import", "--write", "main.cf", "/run/main.cf")
    place = "/root/.config/pymail/conf.d/50-postfix.toml"
    words = f"{place}: not for the machine's mail: move what is there to /etc/pymail"
    assert words in fresh.pymail("setup", "--start", "none")
    fresh.run("rm", "-r", "/root/.config")
    assert fresh.pymail("setup", "--start", "none") == []


def test_the_commands_of_readme_set_a_machine_up(fresh: Fresh) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = next(text for text in blocks if "pymail setup --dry-run" in text)
    first, second, *rest = [line.partition("#")[0].strip() for line in script.splitlines()]
    assert (first, second) == ("python3 -m venv /opt/pymail", "/opt/pymail/bin/pip install .")
    assert len(rest) == 2
    for line in rest:
        program, *args = line.split()
        assert program == "/opt/pymail/bin/pymail"
        fresh.pymail(*args)
    assert fresh.run("mailq").stdout == b"Mail queue is empty\n"


def test_a_full_disk_is_told_with_the_file_that_has_no_room(fresh: Fresh) -> None:
    place = "/usr/local/lib/pymail"
    fresh.run("mkdir", place)
    fresh.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "none", place)
    done = fresh.run(sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    told = f"pymail: cannot set up file {place}/mailq, mode 0755: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (75, told)


def test_mail_that_waits_is_left_when_the_programs_go(fresh: Fresh) -> None:
    fresh.pymail("setup", "--start", "none")
    fresh.run("/usr/sbin/sendmail", "bob", user="alice", stdin=b"Subject: x\n\nhello\n")
    gone = fresh.pymail("setup", "--remove", "--start", "none")
    assert "leave /var/spool/pymail: messages wait in it (1)" in gone[-5:], gone[-5:]
    assert fresh.run("sh", "-c", "ls /var/spool/pymail/drop/*/").stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    "name", ["queue/.u1001,{}", "drop/u1001/.fetch-0a-b-{}", "queue/{}.damaged"]
)
def test_mail_that_waits_under_another_name_is_left(fresh: Fresh, name: str) -> None:
    fresh.pymail("setup", "--start", "none")
    fresh.run("/usr/sbin/sendmail", "bob", user="alice", stdin=b"Subject: x\n\nhello\n")
    spool = "/var/spool/pymail"
    (letter,) = fresh.run("sh", "-c", f"ls {spool}/drop/u1001").stdout.decode().split()
    place = f"{spool}/{name.format(letter)}"
    fresh.run("mv", f"{spool}/drop/u1001/{letter}", place)
    assert f"leave {spool}: messages wait in it (1)" in fresh.pymail("setup", "--remove")
    assert b"hello" in fresh.run("cat", place).stdout


def test_what_flush_notes_for_itself_is_no_mail(fresh: Fresh) -> None:
    fresh.pymail("setup", "--start", "none")
    fresh.run("/usr/sbin/sendmail", "bob", user="alice", stdin=b"Subject: x\n\nhello\n")
    fresh.run("/usr/local/sbin/flush")
    queue = "/var/spool/pymail/queue"
    # What was being written, where O_TMPFILE is missing, nobody has accepted.
    fresh.run("sh", "-c", f"cd {queue}; touch .warned .{'0' * 16}G9")
    assert b".boot" in fresh.run("ls", "-A", queue).stdout
    assert "remove /var/spool/pymail" in fresh.pymail("setup", "--remove")


def test_a_dry_run_shows_every_file_and_writes_none(fresh: Fresh) -> None:
    before = fresh.sight()
    said = fresh.pymail("setup", "--dry-run", "--start", "systemd")
    assert fresh.sight() == before
    text = "\n".join(said)
    for name in ("service", "timer", "path"):
        assert f"file /etc/systemd/system/pymail-flush.{name}, mode 0644:" in text
    assert "    ExecStart=/usr/local/lib/pymail/flush" in text
    assert "    PathChanged=/var/spool/pymail/drop/u1001" in text
    assert "systemctl enable pymail-flush.timer" in text
    assert "system user pymail" not in text  # it is there


def test_a_dry_run_shows_who_will_get_roots_mail(fresh: Fresh, tmp_path: Path) -> None:
    def offered(**env: str) -> list[str]:
        said = fresh.pymail("setup", "--dry-run", "--start", "none", **env)
        return [line for line in said if "root's mail" in line]

    fresh.run("rm", "-f", "/etc/aliases")
    assert offered() == ["root_user = alice: gets root's mail"]
    assert offered(SUDO_USER="bob") == ["root_user = bob: gets root's mail"]
    fresh.run("mv", "/home/alice", "/home/elsewhere")  # nobody would read it there
    assert offered() == ["root_user = bob: gets root's mail"]
    assert offered(SUDO_USER="alice") == ["root_user = bob: gets root's mail"]
    assert offered(PYMAIL_SPOOL="/run/trial") == []
    command = (sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    terminal = Terminal(*fresh.within(*command), tmp_path)
    assert b"root_user = bob: gets root's mail" in terminal.wait("Go on? [y/N]: ")
    terminal.type("n\n")
    assert terminal.end() == 130
    assert "root_user = bob: gets root's mail" in fresh.pymail("setup", "--start", "none")
    assert offered() == []
    fresh.run("sh", "-c", "rm -r /etc/pymail/conf.d; echo 'root: bob' > /etc/aliases")
    assert offered() == []
    fresh.pymail("setup", "--remove")
    assert offered() == []


def test_systemd_takes_the_units(fresh: Fresh, tmp_path: Path) -> None:
    needs("systemd-analyze")
    units: dict[str, list[str]] = {}
    fresh.pymail("setup", "--start", "none")  # the program that is started must be there
    name = ""
    for line in fresh.pymail("setup", "--dry-run", "--start", "systemd"):
        if line.startswith("file /etc/systemd/system/"):
            name = line.split()[1].rstrip(",")
        elif line.startswith("    ") and name:
            units.setdefault(name, []).append(line[4:])
        else:
            name = ""
    assert len(units) == 5
    for path, lines in units.items():
        text = "".join(f"{line}\n" for line in lines)
        fresh.run("sh", "-c", f"mkdir -p /etc/systemd/system; cat > {path}", stdin=text.encode())
    done = fresh.run("systemd-analyze", "verify", "--man=no", *units)
    told = [line for line in done.stderr.decode().splitlines() if "pymail" in line]
    assert (done.returncode, told) == (0, [])


def test_what_users_can_write_to_is_not_run_by_root(fresh: Fresh) -> None:
    fresh.run("install", "-d", "-o", "bob", "/opt/bob")
    fresh.run("cp", "-r", str(BIN.parent), "/opt/bob/pymail")
    code = "import sys; sys.path.insert(0, '/opt/bob'); from pymail.cli.admin import main; main()"
    # Not measured: this copy is gone when coverage looks for its source.
    unset = " ".join(MEASURE)
    script = f'unset {unset}; {sys.executable} -c "{code}" setup --start none'
    done = fresh.run("sh", "-c", script)
    assert b"cannot set up /opt/bob/pymail: /opt/bob: its owner is uid 1002" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert fresh.run("test", "-e", "/usr/local/lib/pymail").returncode == 1


def test_a_user_without_rights_sets_it_up_for_himself(fresh: Fresh) -> None:
    needs("crontab")
    said = fresh.pymail("setup", user="bob")
    flush = "/home/bob/.local/lib/pymail/flush"
    assert f"line in the crontab: * * * * * {flush}" in said
    assert fresh.pymail("setup", user="bob") == []
    assert fresh.run("crontab", "-l", user="bob").stdout.decode() == f"* * * * * {flush}\n"
    sendmail = "/home/bob/.local/bin/sendmail"
    done = fresh.run(sendmail, "bob", user="bob", stdin=b"Subject: x\n\nhello\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert fresh.run(flush, user="bob").returncode == 0
    assert b"hello" in fresh.run("sh", "-c", "cat /home/bob/Maildir/new/*").stdout
    gone = fresh.pymail("setup", "--remove", user="bob")
    assert f"remove from the crontab: * * * * * {flush}" in gone
    left = fresh.run("find", "/home/bob/.local", "-path", "*/state", "-prune", "-o", "-print")
    places = [f"/home/bob/.local{name}" for name in ("", "/bin", "/lib")]
    assert sorted(left.stdout.decode().split()) == places
    assert fresh.run("crontab", "-l", user="bob").stdout == b""


def test_a_user_of_a_machine_that_has_pymail_is_told_how_to_have_an_own_one(fresh: Fresh) -> None:
    fresh.pymail("setup", "--start", "none")
    command = (sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    done = fresh.run(*command, user="bob")
    assert (done.returncode, done.stdout) == (77, b"")
    remedy = done.stderr.decode().partition("of your own: ")[2]
    fresh.run("sh", "-c", remedy, user="bob")
    assert any("/home/bob/.local" in line for line in fresh.pymail(*command[3:], user="bob"))
    gone = fresh.pymail("setup", "--remove", user="bob")
    assert "leave /home/bob/.config/pymail: it is not empty" in gone
    assert not any("/etc" in line for line in gone)


def test_all_goes_whatever_has_started_flush(fresh: Fresh) -> None:
    before = fresh.sight()
    needs("systemctl")
    fresh.pymail("setup", "--start", "cron")
    # systemd does not run here: as where an image is made, it will start them.
    assert "systemctl enable pymail-flush.timer" in fresh.pymail("setup", "--start", "systemd")
    assert fresh.pymail("setup", "--start", "systemd") == []
    fresh.run("rm", "/etc/cron.d/pymail")
    assert fresh.pymail("setup") == []  # what was chosen stays so
    fresh.pymail("setup", "--start", "cron")
    wants = "/etc/systemd/system/timers.target.wants/pymail-flush.timer"
    assert fresh.run("test", "-e", wants).returncode == 0
    # Where this machine would choose is no matter, nor whether what is removed may be run.
    fresh.run("chmod", "777", "/usr/local/lib/pymail")
    gone = fresh.pymail("setup", "--remove")
    assert "remove /etc/cron.d/pymail" in gone
    assert "remove /etc/systemd/system/pymail-flush.timer" in gone
    assert fresh.run("test", "-L", wants).returncode == 1
    assert fresh.sight() == before


def test_what_was_put_aside_is_never_written_over(fresh: Fresh) -> None:
    fresh.pymail("setup", "--start", "none")
    # Another program comes, not as a package: it replaces ours.
    fresh.run("sh", "-c", "rm /usr/sbin/sendmail; echo other > /usr/sbin/sendmail")
    args = ("-I", str(BIN / "pymail"), "setup", "--start", "none")
    done = fresh.run(sys.executable, *args)
    assert done.returncode == 75
    assert done.stderr == (
        b"pymail: cannot put /usr/sbin/sendmail aside: /usr/sbin/sendmail.before-pymail is there;"
        b" remove one of them\n"
    )
    same = fresh.run("cmp", "/bin/true", "/usr/sbin/sendmail.before-pymail")
    assert same.returncode == 0
    # What was begun goes on when that is done.
    fresh.run("rm", "/usr/sbin/sendmail")
    assert fresh.pymail("setup", "--start", "none")
    assert fresh.run("readlink", "/usr/sbin/sendmail").stdout == b"/usr/local/lib/pymail/sendmail\n"


def test_the_programs_start_wherever_python_is(fresh: Fresh) -> None:
    place = f"/home/bob/my {'very ' * 25}own"
    fresh.run("mkdir", "-p", place, user="bob")
    fresh.run("ln", "-s", os.path.realpath(sys.executable), f"{place}/python", user="bob")
    code = f"import sys; sys.executable = {place + '/python'!r}; from pymail.cli.admin import main"
    args = ("-I", "-c", f"{code}; main()", "setup", "--start", "none")
    assert fresh.run(sys.executable, *args, user="bob").stderr == b""
    done = fresh.run("/home/bob/.local/bin/mailq", user="bob")
    assert (done.returncode, done.stdout) == (0, b"Mail queue is empty\n")


def test_a_home_may_have_any_name(fresh: Fresh) -> None:
    needs("crontab", "systemd-analyze")
    home = "/home/Bob's 50% $off"
    fresh.run("mv", "/home/bob", home)
    # Not with usermod: it refuses while other tests, beside this one, run programs as this user.
    fresh.run("sed", "-i", f"s|:/home/bob:|:{home}:|", "/etc/passwd")
    fresh.pymail("setup", user="bob", HOME=home)
    line = fresh.run("crontab", "-l", user="bob").stdout.decode()
    # As cron does it: % is the end of the command, unless there is a backslash before it.
    command = line.removeprefix("* * * * * ").replace("\\%", "%")
    assert "\\%" in line
    sendmail = f"{home}/.local/bin/sendmail"
    letter = b"Subject: x\n\nhello\n"
    assert fresh.run(sendmail, "bob", user="bob", HOME=home, stdin=letter).returncode == 0
    assert fresh.run("sh", "-c", command, user="bob", HOME=home).stderr == b""
    assert b"hello" in fresh.run("sh", "-c", 'cat "$1"/Maildir/new/*', "sh", home).stdout
    said = fresh.pymail("setup", "--dry-run", "--start", "systemd", user="bob", HOME=home)
    (start,) = {text.strip() for text in said if text.strip().startswith("ExecStart=")}
    assert start == 'ExecStart="/home/Bob\'s 50%% $$off/.local/lib/pymail/flush"'


def test_a_python_that_no_script_can_name_is_refused(fresh: Fresh) -> None:
    place = '/home/bob/my "$(own)"'
    fresh.run("mkdir", "-p", place, user="bob")
    fresh.run("ln", "-s", os.path.realpath(sys.executable), f"{place}/python", user="bob")
    code = f"import sys; sys.executable = {place + '/python'!r}; from pymail.cli.admin import main"
    args = ("-I", "-c", f"{code}; sys.exit(main())", "setup", "--start", "none")
    done = fresh.run(sys.executable, *args, user="bob")
    assert done.returncode == 78
    assert f"cannot start {place}/python: a quote" in done.stderr.decode()
    assert fresh.run("test", "-e", "/home/bob/.local/bin").returncode == 1


def test_a_user_without_cron_is_set_up_all_the_same(fresh: Fresh) -> None:
    needs("crontab")
    fresh.run("sh", "-c", "rm $(which crontab)")
    said = fresh.pymail("setup", user="bob")
    assert not any("crontab" in line for line in said)
    done = fresh.run("/home/bob/.local/bin/mailq", user="bob")
    assert (done.returncode, done.stdout) == (0, b"Mail queue is empty\n")
    args = ("-I", str(BIN / "pymail"), "setup", "--start")
    for start, words in (("cron", b"there is no crontab"), ("systemd", b"there is no systemctl")):
        fresh.run("sh", "-c", "rm -f $(which systemctl)")
        done = fresh.run(sys.executable, *args, start, user="bob")
        assert done.returncode == 64
        assert words in done.stderr
    fresh.pymail("setup", "--remove", user="bob")
    assert fresh.run("test", "-e", "/home/bob/.local/lib/pymail").returncode == 1


def test_a_crontab_keeps_what_is_in_it(fresh: Fresh) -> None:
    needs("crontab")
    table = "# сценарий\n".encode("koi8-r") + b"0 4 * * * /bin/true \x85\n"
    assert fresh.run("crontab", "-", user="bob", stdin=table).returncode == 0
    fresh.pymail("setup", "--start", "cron", user="bob")
    line = b"* * * * * /home/bob/.local/lib/pymail/flush\n"
    assert fresh.run("crontab", "-l", user="bob").stdout == table + line
    # One that cannot be read is not taken for none.
    fresh.pymail("setup", "--remove", user="bob")
    fresh.run("sh", "-c", "echo alice > /etc/cron.allow")
    args = ("-I", str(BIN / "pymail"), "setup", "--start", "cron")
    done = fresh.run(sys.executable, *args, user="bob")
    assert done.returncode == 75
    assert done.stderr.startswith(b"pymail: cannot read the crontab: ")
    assert done.stderr.count(b"\n") == 1
    fresh.run("rm", "/etc/cron.allow")
    assert fresh.run("crontab", "-l", user="bob").stdout == table


def test_a_person_is_shown_what_will_be_done_and_asked(fresh: Fresh, tmp_path: Path) -> None:
    command = (sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    for answer, status, there in (("n\n", 130, False), ("y\n", 0, True)):
        terminal = Terminal(*fresh.within(*command, user="bob"), tmp_path)
        shown = terminal.wait("Go on? [y/N]: ").decode()
        assert "link /home/bob/.local/bin/mailq to /home/bob/.local/lib/pymail/mailq" in shown
        terminal.type(answer)
        assert terminal.end() == status
        done = fresh.run("test", "-e", "/home/bob/.local/bin/mailq")
        assert (done.returncode == 0) is there


def test_what_people_have_made_themselves_comes_back(fresh: Fresh) -> None:
    made = ("/etc/cron.d/pymail", "/usr/bin/mail", "/usr/lib/sendmail")
    fresh.run("sh", "-c", 'for f; do rm -f "$f"; echo own >"$f"; done', "sh", *made)
    fresh.run("sh", "-c", "userdel -f pymail; rm -f /etc/aliases")
    before = fresh.sight()
    said = fresh.pymail("setup", "--start", "cron", SUDO_USER="bob")
    assert "system user pymail" in said
    assert "root_user = bob: gets root's mail" in said[-3:], said[-8:]
    assert fresh.run("id", "-u", "pymail").returncode == 0
    fresh.run("sh", "-c", "echo 'Root: alice' > /etc/aliases; rm -r /etc/pymail/conf.d")
    assert not any("root_user" in line for line in fresh.pymail("setup", "--start", "cron"))
    gone = fresh.pymail("setup", "--remove")
    assert "put back /etc/cron.d/pymail" in gone
    assert "leave the user pymail" in gone
    assert fresh.sight() == before
    for file in made:
        assert fresh.run("cat", file).stdout == b"own\n"


@pytest.mark.parametrize(
    ("script", "args", "status", "words"),
    [
        ("touch ~/.local", (), 75, "cannot set up /home/bob/.local/lib"),
        ("mkdir -m 500 ~/.local", (), 77, "cannot set up /home/bob/.local/lib: Permission denied"),
        (
            "cd; mkdir -p .local/bin; cd .local/bin; ln -s ~/.local/lib/pymail/flush; chmod 500 .",
            ("--remove",),
            75,
            "cannot remove /home/bob/.local/bin/flush: Permission denied",
        ),
    ],
)
def test_where_nothing_can_be_written_that_is_said(
    fresh: Fresh, script: str, args: tuple[str, ...], status: int, words: str
) -> None:
    fresh.run("sh", "-c", script, user="bob")
    command = (sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none", *args)
    done = fresh.run(*command, user="bob")
    assert (done.returncode, done.stderr.count(b"\n")) == (status, 1)
    assert words in done.stderr.decode()


def test_a_program_of_the_system_that_fails_is_quoted(fresh: Fresh) -> None:
    fresh.run("userdel", "-f", "pymail")
    fresh.run("sh", "-c", "printf '#!/bin/sh\necho no room >&2; exit 1\n' > /usr/sbin/useradd")
    done = fresh.run(sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    assert done.returncode == 75
    assert done.stderr.startswith(b"pymail: useradd --system")
    assert done.stderr.endswith(b"pymail: no room\n")
    fresh.run("rm", "/usr/sbin/useradd")
    done = fresh.run(sys.executable, "-I", str(BIN / "pymail"), "setup", "--start", "none")
    assert done.returncode == 75
    assert done.stderr.startswith(b"pymail: cannot run useradd: ")


def test_a_closed_standard_input_is_nobody_to_ask(fresh: Fresh) -> None:
    program = f"{sys.executable} -I {BIN}/pymail"

    def closed(words: str) -> tuple[int, str]:
        done = fresh.run("sh", "-c", f"{program} {words} <&-")
        return done.returncode, done.stderr.decode()

    assert closed("setup --start none") == (0, "")
    told = "pymail: cannot read user and password: standard input is closed\n"
    assert closed("login mail.isp.example me") == (66, told)
    assert closed("setup --start none --relay mail.isp.example me@isp.example") == (66, told)
    assert closed("setup --remove") == (0, "")
    assert fresh.run("test", "-e", "/usr/local/lib/pymail").returncode == 1


@pytest.mark.parametrize(("name", "words"), [("crontab", "-l"), ("systemctl", "--user is-enabled")])
def test_a_program_of_the_system_that_hangs_is_told(fresh: Fresh, name: str, words: str) -> None:
    fresh.run("sh", "-c", f'printf "#!/bin/sh\nexec sleep 9\n" >"$(which {name})"')
    code = "import sys; from pymail import step; step._PATIENCE = 0.2"
    args = ("-c", f"{code}; from pymail.cli.admin import main; sys.exit(main())", "setup")
    done = fresh.run(sys.executable, "-I", *args, "--remove", user="bob")
    assert (done.returncode, done.stderr.count(b"\n")) == (75, 1)
    assert done.stderr.decode().startswith(f"pymail: {name} {words}")
    assert done.stderr.endswith(b": no answer in 0.2 s\n")


# --- manual pages and completions ---------------------------------------------------------------

VENV = "/opt/our venv"
KINDS = ("man", "bash-completion/completions", "zsh/site-functions", "fish/vendor_completions.d")
NAMES = ("manual pages", "completions of bash", "completions of zsh", "completions of fish")


@pytest.fixture
def installed(fresh: Fresh) -> Iterator[Fresh]:
    """A machine with what pip puts into a virtual environment's share/."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source, target in files.items():
        place = Path(VENV, target)
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    Path(VENV, "share/man/man1/dkimsign.1").touch()  # what comes with another package
    yield fresh
    shutil.rmtree(VENV)


def set_up(there: Fresh, *args: str, user: str = "root", prefix: str = VENV) -> list[str]:
    code = f"import sys; sys.prefix = {prefix!r}; from pymail.cli.admin import main"
    words = ("-I", "-c", f"{code}; sys.exit(main())", "setup", "--start", "none", *args)
    done = there.run(sys.executable, *words, user=user)
    assert (done.returncode, done.stderr) == (0, b""), done
    return [line for line in done.stdout.decode().splitlines() if "/share/" in line]


@pytest.mark.parametrize(
    ("user", "share"), [("root", "/usr/local/share"), ("bob", "/home/bob/.local/share")]
)
def test_manual_pages_and_completions_are_found(installed: Fresh, user: str, share: str) -> None:
    pairs = [x for x in zip(NAMES, KINDS, strict=True) if user == "root" or "zsh" not in x[1]]
    wanted = [f"link the {name} into {share}/{kind}" for name, kind in pairs]
    before = installed.sight()
    assert set_up(installed, "--dry-run", user=user) == wanted
    assert set_up(installed, user=user) == wanted
    assert set_up(installed, user=user) == []

    def linked(folder: str) -> list[str]:
        found = installed.run("find", folder, "-type", "l", "-lname", f"{VENV}/*", "-printf", "%P ")
        return sorted(found.stdout.decode().split())

    man = [f"man{page.suffix[1:]}/{page.name}" for page in (ROOT / "man").iterdir()]
    assert linked(f"{share}/man") == sorted(man)
    for _, kind in pairs[1:]:
        names = sorted(os.listdir(ROOT / "completions" / kind.partition("/")[0].split("-")[0]))
        assert linked(f"{share}/{kind}") == names
    for page in ("pymail.toml.5", "flush.8"):
        there = f"{share}/man/man{page[-1]}/{page}"
        assert installed.run("cmp", there, str(ROOT / "man" / page)).returncode == 0
    gone = set_up(installed, "--remove", user=user)
    assert gone == [f"remove the links to the {n} from {share}/{k}" for n, k in pairs[::-1]]
    assert installed.run("test", "-e", f"{share}/fish").returncode == 1
    if user == "root":
        assert installed.sight() == before


def test_manual_pages_of_others_stay(installed: Fresh) -> None:
    folder = "/usr/local/share/man/man1"
    script = f"mkdir -p {folder}; cd {folder}; echo own >mail.1; ln -s /old/share/mailq.1 mailq.1"
    installed.run("sh", "-c", script)
    set_up(installed)
    assert installed.run("cat", f"{folder}/mail.1").stdout == b"own\n"
    # A link that leads nowhere is that of an installation which has gone.
    assert installed.run("readlink", f"{folder}/mailq.1").stdout.decode().startswith(VENV)
    installed.run("sh", "-c", f"rm {folder}/flush.8; ln -sf /bin/true {folder}/newaliases.1")
    assert set_up(installed) == []
    set_up(installed, "--remove")
    assert installed.run("ls", folder).stdout == b"mail.1\nnewaliases.1\n"


def test_what_has_no_pages_or_has_them_in_place_links_none(installed: Fresh) -> None:
    assert set_up(installed, prefix="/opt/none") == []
    assert set_up(installed, prefix=sys.base_prefix) == []


def test_completions_that_others_can_change_are_not_for_roots_shell(installed: Fresh) -> None:
    place = f"{VENV}/share/bash-completion/completions"
    os.chmod(place, 0o777)
    code = f"import sys; sys.prefix = {VENV!r}; from pymail.cli.admin import main"
    words = ("-I", "-c", f"{code}; sys.exit(main())", "setup", "--start", "none")
    done = installed.run(sys.executable, *words)
    assert done.returncode == 64
    assert done.stderr.decode().startswith(f"pymail: cannot set up {place}: {place}: ")


# --- an account at a provider --------------------------------------------------------------------

XML = """<?xml version="1.0"?>
<clientConfig version="1.1"><emailProvider id="isp.example">
 <incomingServer type="imap"><hostname>imap.isp.example</hostname></incomingServer>
 <outgoingServer type="smtp"><hostname>mail.isp.example</hostname><port>25</port>
  <socketType>plain</socketType></outgoingServer>
 <outgoingServer type="smtp"><hostname>smtp.isp.example</hostname><port>{port}</port>
  <socketType>STARTTLS</socketType><username>%EMAILLOCALPART%</username></outgoingServer>
</emailProvider></clientConfig>
"""


def test_a_letter_goes_out_through_an_account(fresh: Fresh, tmp_path_factory, machine) -> None:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    tls = authority.context("good", "127.0.0.1")
    os.chmod(authority.file.parent, 0o755)
    shutil.copy(authority.file, "/run/ca.pem")
    os.chmod("/run/ca.pem", 0o644)
    with relay(tls, users={"me": "pass word"}) as server:
        fresh.pymail("setup", "--start", "none")
        fresh.pymail("config", "set", "smtp_tls_CAfile", "/run/ca.pem")
        args = (
            "setup",
            "--start",
            "none",
            "--relay",
            server.hop,
            "--user",
            "me",
            "you@isp.example",
        )
        refused = fresh.run(sys.executable, "-I", str(BIN / "pymail"), *args, stdin=b"wrong\n")
        assert refused.returncode == 77
        assert b"cannot log in" in refused.stderr
        assert b"relayhost" not in fresh.run("sh", "-c", "cat /etc/pymail/conf.d/*").stdout
        said = fresh.pymail(*args, stdin=b"pass word\n")
        # What starts flush when a letter comes is faster than setup: that is told as well.
        with ThreadPoolExecutor(1) as others:
            flushes = "for i in $(seq 150); do flush; test -e /run/done && exit; done"
            other = others.submit(fresh.run, "sh", "-c", flushes)
            again = fresh.pymail(*args, stdin=b"pass word\r\n")  # a file of Windows
            Path("/run/done").touch()
            assert other.result().stderr == b""
    assert "you@isp.example" in again[-1]
    assert "is on its way" in again[-1] or "status=sent" in again[-1]
    assert f"login of me at {server.hop}: works, stored in /etc/pymail/saslpass" in said
    assert f"relayhost = {server.hop}: mail for other domains goes there" in said
    assert any("to=<you@isp.example>" in line and "status=sent" in line for line in said)
    assert len(server.taken) == 2
    for letter in server.taken:
        assert (letter.sender, letter.user) == ("you@isp.example", "me")
        assert b"Subject: pymail works" in letter.data
    assert "pass word" not in "\n".join(said)


def test_an_account_is_taken_without_a_test_and_its_table_of_addresses_is_named(
    fresh: Fresh,
) -> None:
    fresh.pymail("setup", "--start", "none")
    fresh.pymail("config", "set", "smtp_generic_maps", "/etc/pymail/generic")
    args = (
        "setup",
        "--start",
        "none",
        "--no-test",
        "--relay",
        "mail.isp.example",
        "me@isp.example",
    )
    said = fresh.pymail(*args, stdin=b"pass word\n")
    hop = "[mail.isp.example]:587"
    assert f"login of me@isp.example at {hop}: stored in /etc/pymail/saslpass" in said
    assert re.fullmatch(r"smtp_generic_maps is in files: add @\S+ me@isp.example", said[-1])
    assert fresh.run("cat", "/etc/pymail/saslpass").stdout == (
        f"{hop} me@isp.example:pass word\n".encode()
    )


def test_the_server_is_found_by_what_the_provider_says(fresh: Fresh, tmp_path_factory) -> None:
    place = tmp_path_factory.mktemp("isp")
    authority = Authority(place)
    web = f"""
import http.server, ssl, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/mail/config-v1.1.xml?emailaddress=you@isp.example"
        data = {XML.format(port=587)!r}.encode()
        self.send_response(200 if good else 404)
        self.end_headers()
        self.wfile.write(data if good else b"")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 443), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(authority.pem("good", "autoconfig.isp.example"))!r})
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""
    zones = {
        "isp.example.": "autoconfig A 127.0.0.1\n",
        "srv.example.": (
            "_submissions._tcp SRV 20 9 465 late.srv.example.\n"
            "_submissions._tcp SRV 3 1 465 small.srv.example.\n"
            "_submissions._tcp SRV 3 10 465 smtp.srv.example.\n"
        ),
        "mx.example.": "@ MX 10 aspmx.l.google.com.\n@ MX 5 alt.google.com.\n",
        "none.example.": "_submissions._tcp SRV 0 0 0 .\n",
    }
    shutil.copy(authority.file, "/run/ca.pem")
    os.chmod("/run/ca.pem", 0o644)
    (Path("/etc/resolv.conf")).write_text(f"nameserver {ADDRESS}\n")
    server = subprocess.Popen([sys.executable, "-c", web], stdout=subprocess.PIPE)
    try:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        with name_server(place / "dns", zones):
            fresh.run("sh", "-c", f"echo nameserver {ADDRESS} > /etc/resolv.conf")
            fresh.run("sh", "-c", "echo 127.0.0.1 autoconfig.isp.example >> /etc/hosts")
            fresh.pymail("config", "set", "smtp_tls_CAfile", "/run/ca.pem")
            for address, words in (
                ("you@isp.example", "[smtp.isp.example]:587 as you (https://autoconfig.isp."),
                ("you@srv.example", "[smtp.srv.example]:465 as you@srv.example (the SRV record"),
                ("you@mx.example", "[smtp.gmail.com]:465 as you@mx.example (the mail exchanger"),
                ("you@yandex.ru", "[smtp.yandex.ru]:465 as you@yandex.ru (the table"),
            ):
                said = fresh.pymail("setup", "--dry-run", "--start", "none", address)
                assert any(words in line for line in said), said
            done = fresh.run(
                sys.executable, "-I", str(BIN / "pymail"), "setup", "-n", "you@none.example"
            )
            assert done.returncode == 65
            assert b"cannot find the mail server of none.example: name it" in done.stderr
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (XML.format(port=587), ("smtp.isp.example", 587, "you")),
        (XML.format(port=99999), None),
        (XML.format(port="x"), None),
        ("<!DOCTYPE x [<!ENTITY y 'z'>]>" + XML.format(port=587), None),
        (XML.format(port=587).replace("smtp.isp.example", "evil host"), None),
        ("<x", None),
        ("", None),
    ],
)
def test_only_what_a_login_can_go_to_is_taken_from_a_web_page(data, found) -> None:
    submission = provider.autoconfigured(data.encode(), "you@isp.example", "there")
    assert (submission and submission[:3]) == found


@given(st.binary() | st.text().map(str.encode))
def test_any_page_and_record_is_read_or_refused(data: bytes) -> None:
    for found in (
        provider.autoconfigured(data, "you@isp.example", ""),
        provider.served(data.decode("latin-1"), len(data), "you@isp.example", ""),
        provider.exchanged(data.decode("latin-1"), "you@isp.example"),
    ):
        assert found is None or isinstance(found, Submission)
