"""pymail check: each thing that keeps mail from moving is found, with its remedy."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box
from machine import ALIASES, CONFIG, SPOOL, Machine

from pymail import checkspool, config, schedule
from pymail.fault import Fault
from pymail.spool import Spool

LETTER = b"Subject: hello\n\nThe text.\n"
CRON = Path("/etc/cron.d/pymail")


@pytest.fixture
def sound(machine: Machine) -> Iterator[Machine]:
    """A machine in order."""
    CRON.parent.mkdir(exist_ok=True)
    CRON.write_text("* * * * * root /usr/sbin/flush\n")
    machine.config("")
    yield machine
    CRON.unlink(missing_ok=True)


def findings(machine: Machine) -> tuple[int, str]:
    done = machine.run("root", "pymail", "check")
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_a_machine_in_order_is_passed_over_in_silence(sound: Machine) -> None:
    # The tests' spool lies in memory, which is worth a warning.
    lines = findings(sound)[1].splitlines()
    assert [line for line in lines if "tmpfs" not in line] == []
    assert findings(sound)[0] == 0
    assert "queue does not survive a reboot" in lines[0]


def test_records_of_accounts_that_are_gone_are_told(sound: Machine) -> None:
    beside = (".old one.lock", ".old one.complaint", ".old one.complaint.warnings")
    for name in ("isp", "old one", *beside, ".isp.lock"):
        sound.write("alice", f".local/state/pymail/fetch/{name}", "1 key\n", 0o600)
    sound.write("bob", ".local/state/pymail/fetch/isp", "1 key\n", 0o600)
    table = "[fetch.{0}]\nserver = 'x'\nuser = 'y'\nto = '{1}'\n".format
    sound.config(table("isp", "alice") + table("other", "bob"))
    status, out = findings(sound)
    lines = [line for line in out.splitlines() if "records what was fetched" in line]
    assert (status, len(lines)) == (0, 2)
    assert any("/old one records what was fetched, but there is no such" in each for each in lines)
    for line in lines:
        remedy = line.rpartition(": ")[2]
        assert remedy.startswith(("runuser -u alice -- rm -f", "runuser -u bob -- rm -f"))
        subprocess.run(shlex.split(remedy), check=True)
    assert "records what" not in findings(sound)[1]
    assert sorted(os.listdir(sound.home("alice") / ".local/state/pymail/fetch")) == [
        ".isp.lock",
        "isp",
    ]
    # Where the user lets the directory lead, root is not told to go.
    place = sound.home("bob") / ".local/state/pymail/fetch"
    place.rmdir()
    place.symlink_to("/etc")
    lines = [x for x in findings(sound)[1].splitlines() if "records what was fetched" in x]
    assert len(lines) == 20
    assert all(": runuser -u bob -- rm -f " in line for line in lines)


def test_a_user_is_told_of_such_a_record_too(box: Box) -> None:
    place = box.spool / "fetch"
    place.mkdir(parents=True)
    (place / "old").write_text("1 key\n")
    box.config("")
    out = box.run("pymail", "check").stdout.decode()
    assert f"{place}/old records what was fetched, but there is no such account: rm -f" in out


def test_a_broken_configuration_is_all_that_is_told(sound: Machine) -> None:
    sound.config("\nmydestinaton = []\n")
    status, text = findings(sound)
    assert status == 78
    assert text == (
        "error: cannot use /etc/pymail/config.toml, line 2: unknown setting mydestinaton"
        " (did you mean mydestination?): correct it; until then flush does not run\n"
    )


@pytest.mark.parametrize(
    ("text", "told", "fatal"),
    [
        ("mydestination = 'localhost'", "myorigin example.net is not in mydestination", True),
        ("mailbox_command = '/no/such -x'", "mailbox_command: /no/such is not there", True),
        ("password_command = '/no/such -x'", "password_command: /no/such is not there", True),
        ("filter = '/no/such -x'", "filter: /no/such is not there, or cannot be run", False),
        ("mailbox_command = '/bin/cat'\nmailbox_transport = 'lmtp:unix:/no/such'",
         "mailbox_transport counts before it", False),
        ("filter = 'cat'\nmailbox_transport = 'lmtp:unix:/no/such'",
         "goes through no filter", False),
        ("mailbox_transport = 'lmtp:unix:/no/such'", "there is no socket /no/such", False),
        ("default_privs = 'nosuch'", "there is no user nosuch: adduser --system nosuch", True),
        ("root_user = 'nosuch'", "root_user: there is no user nosuch: adduser nosuch, or", True),
        ("mail_owner = 'nosuch'", "mail_owner: there is no user nosuch", True),
        ("delay_warning_time = '5d'", "nobody is ever warned", False),
        ("transport_maps = '/no/such'", "cannot read /no/such: No such file", True),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_told(
    sound: Machine, text: str, told: str, *, fatal: bool
) -> None:
    sound.config(f"{text}\n")
    status, out = findings(sound)
    assert told in out
    assert status == (78 if fatal else 0)


def test_a_name_that_nobody_outside_knows_is_told_and_the_remedy_helps(sound: Machine) -> None:
    sound.config("relayhost = '[relay.example]'\nmyorigin = 'laptop'\n")
    status, out = findings(sound)
    (line,) = [line for line in out.splitlines() if "mail leaves as" in line]
    assert "mail leaves as user@laptop, which others may refuse" in line
    assert status == 0
    command = shlex.split(line.partition("that they know: ")[2])
    assert sound.run("root", *command).returncode == 0
    assert "mail leaves as" not in findings(sound)[1]


def test_a_line_of_a_table_that_says_nothing_is_told(sound: Machine, tmp_path: Path) -> None:
    (tmp_path / "transport").write_text("example.org smtp:[a]\nexample.net\n")
    sound.config(f"transport_maps = '{tmp_path}/transport'\n")
    status, out = findings(sound)
    words = f"{tmp_path}/transport, line 2: has a key and nothing behind it: correct it"
    assert (status, words in out) == (0, True)


def test_every_table_that_is_missing_is_told(sound: Machine) -> None:
    names = [name for name, each in config.SETTINGS.items() if each.kind == "map"]
    sound.config("".join(f"{name} = '/no/{name}'\n" for name in names))
    status, out = findings(sound)
    words = "No such file or directory: make it or correct it, or change"
    told = [f"error: cannot read /no/{name}: {words} {name};" for name in names]
    assert (status, [words for words in told if words not in out]) == (78, [])
    assert len(names) == 5 and out.count("/no/") == 5
    sound.config("smtp_sasl_auth_enable = false\nsmtp_sasl_password_maps = '/no/x'\n")
    assert findings(sound)[0] == 0


@pytest.mark.parametrize(
    ("place", "mode", "remedy"),
    [
        (SPOOL, 0o777, "chmod 0755 /var/spool/pymail"),
        (SPOOL, 0o700, "chmod 0755 /var/spool/pymail"),
        (SPOOL / "queue", 0o755, "chmod 0700 /var/spool/pymail/queue"),
        (SPOOL / "drop", 0o755, "chmod 1733 /var/spool/pymail/drop"),
        (SPOOL / "drop", 0o1777, "chmod 1733 /var/spool/pymail/drop"),
    ],
)
def test_a_wrong_mode_is_told_and_its_remedy_helps(
    sound: Machine, place: Path, mode: int, remedy: str
) -> None:
    place.chmod(mode)
    status, text = findings(sound)
    assert status == 78
    assert f"error: {place} has the mode {mode:04o}: {remedy}\n" in text
    subprocess.run(remedy.split(), check=True)
    assert findings(sound)[0] == 0


def test_a_wrong_owner_is_told(sound: Machine) -> None:
    os.chown(SPOOL / "queue", 1001, -1)
    status, text = findings(sound)
    assert status == 78
    assert "queue belongs to alice: chown root /var/spool/pymail/queue" in text
    os.chown(SPOOL / "queue", 4321, -1)
    assert "belongs to uid 4321" in findings(sound)[1]


def test_a_missing_directory_and_a_file_in_its_place_are_told(sound: Machine) -> None:
    (SPOOL / "queue").rmdir()
    status, text = findings(sound)
    assert (status, "queue is not there: install -d -o root -m 0700" in text) == (78, True)
    (SPOOL / "queue").write_text("")
    assert "queue is no directory" in findings(sound)[1]


def test_a_drop_directory_that_others_may_write_to_is_told(sound: Machine) -> None:
    sound.send("alice", LETTER, "bob")
    (SPOOL / "drop/u1001").chmod(0o777)
    (line,) = [line for line in findings(sound)[1].splitlines() if "may write" in line]
    remedy = "runuser -u alice -- chmod 700 /var/spool/pymail/drop/u1001"
    assert line.endswith(f"mail in it is not taken: {remedy}")
    # Alice can have the name lead elsewhere before root does as he is told.
    (SPOOL / "drop/u1001").rename(SPOOL / "drop/u1001.away")
    secret = Path("/etc/secret")
    secret.mkdir(mode=0o500)
    (SPOOL / "drop/u1001").symlink_to(secret)
    subprocess.run(["sh", "-c", remedy], check=False, capture_output=True)
    assert secret.stat().st_mode & 0o777 == 0o500
    secret.rmdir()
    os.chown(SPOOL / "drop/u1001.away", 4321, -1)
    assert "taken: uid 4321 has to do: chmod 700 /var" in findings(sound)[1]


@pytest.mark.parametrize(
    "name", ["u1001;touch pwned;true", "$(touch pwned)", "a 'b", "\x1b]0;x\x07\n"]
)
def test_a_name_of_a_users_choice_runs_no_command_of_the_users(
    sound: Machine, tmp_path: Path, name: str
) -> None:
    (SPOOL / "drop" / name).mkdir()
    (SPOOL / "drop" / name).chmod(0o777)
    (line,) = [line for line in findings(sound)[1].splitlines() if "may write" in line]
    assert line.isprintable()
    remedy = line.rpartition("mail in it is not taken: ")[2]
    subprocess.run(["sh", "-c", remedy], check=False, capture_output=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    if name.isprintable():
        assert (SPOOL / "drop" / name).stat().st_mode & 0o777 == 0o700


def test_a_place_with_a_space_is_quoted(box: Box) -> None:
    spool = box.home / "my spool"
    spool.mkdir(mode=0o777)
    spool.chmod(0o777)
    (box.home / "passw d").write_text("x")
    out = box.run("pymail", "check", env={"PYMAIL_SPOOL": str(spool)}).stdout.decode()
    assert f"chmod 0700 '{spool}'" in out
    assert f"install -d -o {box.user} -m 0700 '{spool}/queue'" in out


def test_a_drop_directory_that_another_user_has_taken_is_told(sound: Machine) -> None:
    place = SPOOL / "drop/u1002"
    place.mkdir()
    os.chown(place, 1004, 1004)
    assert f"dave has taken {place}, which is for bob: flush -v gives it back" in findings(sound)[1]
    sound.flush()
    assert "has taken" not in findings(sound)[1]


def test_a_damaged_message_is_told(sound: Machine) -> None:
    (SPOOL / "queue/8DpALP6gO4oCPpeF0.damaged").write_text("")
    assert "8DpALP6gO4oCPpeF0.damaged is damaged and set aside" in findings(sound)[1]


def test_mistakes_in_aliases_are_told(sound: Machine) -> None:
    ALIASES.write_text("root: alice\npostmaster: root\nbad:\ndup: a\ndup: b\n")
    status, text = findings(sound)
    assert "error: /etc/aliases, line 3: missing value for the alias bad" in text
    assert "warning: /etc/aliases, line 5: duplicate alias dup" in text
    assert status == 78
    ALIASES.unlink()
    assert "/etc/aliases is not there" not in findings(sound)[1]
    sound.config("alias_maps = '/etc/no-aliases'\n")
    assert "/etc/no-aliases is not there" in findings(sound)[1]


@pytest.mark.parametrize(
    ("owner", "mode", "words", "remedy"),
    [
        (0, 0o666, "others can write to it", "chmod go-w /etc/aliases"),
        (1001, 0o664, "its owner is uid 1001, not root",
         "chown root /etc/aliases && chmod go-w /etc/aliases"),
    ],
)  # fmt: skip
def test_aliases_that_others_may_change_are_told_once_and_the_remedy_helps(
    sound: Machine, owner: int, mode: int, words: str, remedy: str
) -> None:
    sound.send("alice", LETTER, "bob")
    os.chown(ALIASES, owner, -1)
    ALIASES.chmod(mode)
    assert sound.run("root", "flush").returncode == 78
    status, text = findings(sound)
    subprocess.run(["sh", "-c", remedy], check=True)
    assert f"error: /etc/aliases: {words}, so flush does not run: {remedy}\n" in text
    assert (status, text.count("error: ")) == (78, 1)
    assert findings(sound)[0] == 0


def test_a_large_file_without_an_index_is_told(sound: Machine) -> None:
    text = "root: alice\n" + "".join(f"u{n}: alice\n" for n in range(10000))
    ALIASES.write_text(text)
    assert "/etc/aliases is large and has no index of now: newaliases" in findings(sound)[1]
    assert sound.run("root", "newaliases").returncode == 0
    assert "no index" not in findings(sound)[1]


def test_mail_for_root_needs_a_place(sound: Machine) -> None:
    ALIASES.write_text("")
    status, text = findings(sound)
    assert status == 78
    assert "error: mail for root waits 4.3.5 (mail for root has no place" in text
    assert "mail for postmaster waits" in text
    remedy = "echo 'root: LOGIN' >>/etc/aliases && newaliases"
    assert remedy in text
    subprocess.run(["sh", "-c", remedy.replace("LOGIN", "alice").split(" &&")[0]], check=True)
    assert findings(sound)[0] == 0
    ALIASES.write_text("root: nosuch\n")
    text = findings(sound)[1]
    assert "mail for root bounced 5.1.1" in text
    # Another line for root would only be a second one.
    assert "correct root in /etc/aliases, then newaliases; pymail explain root shows why" in text
    ALIASES.write_text("")
    sound.config("root_user = 'alice'\n")
    assert findings(sound)[0] == 0


def test_passwords_that_others_can_read_are_told(sound: Machine) -> None:
    (CONFIG.parent / "sasl_passwd").write_text("secret")
    assert "chmod 600 /etc/pymail/sasl_passwd" in findings(sound)[1]
    (CONFIG.parent / "sasl_passwd").chmod(0o600)
    assert "sasl_passwd" not in findings(sound)[1]


@pytest.mark.parametrize(
    "text",
    [
        "relayhost = '[localhost]:1'\nsmtp_sasl_password_maps = '{folder}/{name}'\n",
        "relayhost = '[localhost]:1'\nsmtp_sasl_password_maps = 'regexp:{folder}/{name}'\n",
    ],
)
def test_a_login_that_others_can_read_keeps_mail_from_leaving(sound: Machine, text: str) -> None:
    place = CONFIG.parent / "saslpass"
    place.write_text("[localhost]:1 me:secret\n" if "regexp" not in text else "/./ me:secret\n")
    sound.config(text.format(folder=CONFIG.parent, name="saslpass"))
    status, out = findings(sound)
    told = f"error: {place} has a password, and others may read it, so it is not used: chmod 600"
    assert (status, out.count(str(place)), f"{told} {place}\n" in out) == (78, 2, True)
    sound.send("alice", LETTER, "x@example.org")
    assert b"it has a password, and others may read it" in sound.flush("-v").stdout
    place.chmod(0o600)
    assert "saslpass" not in findings(sound)[1]
    place.chmod(0o644)
    sound.config(f"smtp_sasl_auth_enable = false\nsmtp_sasl_password_maps = '{place}'\n")
    assert f"warning: others may read {place}: chmod 600 {place}\n" in findings(sound)[1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[smtp_sasl_password_maps]\n'[a]:587' = 'me:secret'\n", "config.toml"),
        ("[fetch.isp]\nserver = 'x'\nuser = 'y'\npassword = 'z'\nto = 'alice'\n", "config.toml"),
        ("[fetch.isp]\nserver = 'x'\nuser = 'y'\npassword = 'z'\nto = 'alice'\n", "conf.d/9.toml"),
    ],
)
def test_a_configuration_with_passwords_that_others_can_read_is_told(
    sound: Machine, text: str, name: str
) -> None:
    place = CONFIG.parent / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    place.chmod(0o644)
    private = "put the tables with passwords into /etc/pymail/conf.d/private.toml"
    remedy = private if place == CONFIG else f"chmod 600 {place}"
    told = f"error: {place} has a password, and others may read it, so it is not used: {remedy}"
    assert (told in findings(sound)[1], findings(sound)[0]) == (True, 78)
    place.chmod(0o600)
    status, said = findings(sound)
    hidden = f"warning: users cannot read {place}, and so not find their mail"
    assert (status, hidden in said) == (0, place == CONFIG)
    place.chmod(0o644)
    place.write_text(text.replace("me:secret", "me").replace("password = ", "password_command = "))
    assert findings(sound)[0] == 0


@pytest.mark.parametrize("name", ["smtp_generic_maps", "smtp_sasl_password_maps"])
def test_a_setting_that_stands_in_a_table_is_told(sound: Machine, name: str) -> None:
    table = f"[{name}]\n'@laptop' = 'me'\n"
    sound.config(f"relayhost = '[a]:587'\n{table}home_mailbox = '.maildir/'\n")
    told = f"home_mailbox stands in the table {name} ({CONFIG}, line 2), not in the settings"
    remedy = "move it above the first line in brackets"
    assert f"warning: {told}: {remedy}\n" in findings(sound)[1]
    sound.config(f"home_mailbox = '.maildir/'\n{table}")
    assert "stands in the table" not in findings(sound)[1]


def test_a_login_of_the_environment_is_in_no_file_that_others_read(box: Box) -> None:
    box.config("relayhost = '[a]:587'\n")
    maps = {"PYMAIL_SMTP_SASL_PASSWORD_MAPS": '{ "[a]:587" = "me:secret" }'}
    assert b"password" not in box.run("pymail", "check", env=maps).stdout
    assert b"login me" in box.run("pymail", "explain", "x@example.org", env=maps).stdout


def test_it_is_told_when_nothing_starts_flush(sound: Machine) -> None:
    CRON.write_text("# * * * * * root /usr/sbin/flush\n* * * * * root /x/cache-flush\n")
    status, text = findings(sound)
    assert status == 78
    assert re.search(r"^error: nothing starts flush: \S+/pymail setup$", text, re.MULTILINE)
    CRON.parent.rename("/etc/cron.gone")  # then setup finds nothing to start it with
    try:
        text = findings(sound)[1]
    finally:
        Path("/etc/cron.gone").rename(CRON.parent)
    assert "nothing starts flush: (crontab -l; echo '* * * * * /" in text
    CRON.unlink()
    folder = Path("/etc/systemd/system")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pymail.timer").write_text("[Timer]\nOnCalendar=minutely\n")
    service = folder / "pymail.service"
    service.write_text("[Service]\nExecStart=/opt/pymail/bin/flush\n")
    try:
        assert findings(sound)[0] == 0
        service.write_text("[Service]\nExecStart = -/bin/sh -c 'exec flush'\n")
        assert findings(sound)[0] == 0
        service.write_text("[Service]\nExecStart=-/usr/sbin/rndc flush\n")
        assert findings(sound)[0] == 78
    finally:
        (folder / "pymail.timer").unlink()
        (folder / "pymail.service").unlink()


def test_a_foreign_sendmail_is_told(sound: Machine) -> None:
    program = Path("/usr/sbin/sendmail")
    before = program.read_text()
    program.write_text("#!/bin/sh\nexit 0\n")
    try:
        status, text = findings(sound)
    finally:
        program.write_text(before)
    assert status == 78
    (line,) = [line for line in text.splitlines() if "/usr/sbin/sendmail is not pymail's" in line]
    assert line.endswith("/pymail setup")


def test_where_pymail_is_a_package_setup_is_no_remedy(
    sound: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CRON.unlink()
    monkeypatch.setattr(checkspool.setup, "is_packaged", lambda: True)
    monkeypatch.setattr(checkspool, "_SENDMAIL", str(tmp_path / "none"))
    settings = config.combine({}, config.machine(str(SPOOL)))
    faults = checkspool.of_runs(settings, Spool(str(SPOOL)), int(time.time()))
    remedies = [fault.remedy for fault in faults if fault.fatal]
    assert remedies[0] == "install Debian's package pymail again"
    assert remedies[1].startswith("(crontab -l; echo '* * * * * ")


def test_mail_that_nobody_takes_is_told(sound: Machine) -> None:
    sound.send("alice", LETTER, "bob")
    assert "flush has not run" not in findings(sound)[1]
    (file,) = (SPOOL / "drop/u1001").iterdir()
    os.utime(file, (time.time() - 3600, time.time() - 3600))
    status, text = findings(sound)
    assert status == 78
    assert "flush has not run for 15 minutes, messages due: 1" in text
    sound.flush()
    assert findings(sound)[0] == 0
    sound.config("default_transport = 'retry:'\n")
    sound.send("root", LETTER, "x@example.org")
    (file,) = (SPOOL / "queue").glob("*0")
    os.utime(file, (time.time() - 3600, time.time() - 3600))
    assert "messages due: 1" in findings(sound)[1]
    assert sound.run("root", "pymail", "queue", "hold", "ALL").returncode == 0
    assert "messages due" not in findings(sound)[1]


def test_only_messages_of_their_owners_are_counted_as_late(sound: Machine) -> None:
    """Whatever else lies in a drop directory, flush does not take, and has not been late."""
    sound.send("alice", LETTER, "bob")
    (letter,) = (SPOOL / "drop/u1001").iterdir()
    place = letter.parent
    ids = [f"{n:0>16}G9" for n in range(4)]
    (place / "x").write_bytes(letter.read_bytes())
    (place / ids[0]).write_text("garbage")
    (place / ids[1]).mkdir()
    (place / ids[2]).symlink_to(letter)
    (place / ids[3][:-2]).write_bytes(letter.read_bytes())
    letter.rename(place / ids[3][:-1])
    for path in place.iterdir():
        os.chown(path, 1001, 1001, follow_symlinks=False)
        os.utime(path, (0, 0), follow_symlinks=False)
    assert findings(sound)[0] == 0


def test_what_flush_complained_of_is_told(sound: Machine) -> None:
    (SPOOL / "queue/.complaint").write_text("cannot go on with the queue: Input/output error")
    status, text = findings(sound)
    assert status == 78
    assert "flush could not run: cannot go on with the queue: Input/output error" in text
    sound.flush()
    assert findings(sound)[0] == 0


def test_what_flush_complained_of_is_not_told_once_it_was_corrected(sound: Machine) -> None:
    sound.config("x = 1\n")
    sound.send("alice", LETTER, "bob")
    assert sound.run("root", "flush").returncode == 78
    assert "line 1: unknown setting x" in findings(sound)[1]
    sound.config("")
    assert findings(sound)[0] == 0
    ALIASES.chmod(0o666)
    assert sound.run("root", "flush").returncode == 78
    text = findings(sound)[1]
    ALIASES.chmod(0o644)
    assert "flush could not run" not in text


def test_an_ordinary_user_is_told_what_a_user_can_see(sound: Machine) -> None:
    done = sound.run("alice", "pymail", "check")
    assert (done.returncode, done.stderr) == (0, b"")
    CRON.unlink()
    assert sound.run("alice", "pymail", "check").returncode == 78


def test_in_user_mode_the_users_own_crontab_counts(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "crontab").write_text("#!/bin/sh\necho '* * * * * /x/flush'\n")
    (fake / "crontab").chmod(0o755)
    done = box.run("pymail", "check", env={"PATH": f"{fake}:{box.env['PATH']}"})
    assert (done.returncode, done.stdout) == (0, b"")
    (fake / "crontab").write_text("#!/bin/sh\nexit 1\n")
    done = box.run("pymail", "check", env={"PATH": f"{fake}:{box.env['PATH']}"})
    assert done.returncode == 78
    assert b"nothing starts flush: (crontab -l; echo '* * * * * " in done.stdout


def test_a_line_of_the_systems_crontab_for_the_user_counts(sound: Machine) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/home/alice", "PYMAIL_SPOOL": "/tmp/none"}

    def checked() -> bytes:
        return sound.run("alice", "pymail", "check", env=env).stdout

    CRON.write_text("* * * * *\talice\t/x/flush\n")
    assert checked() == b""
    # It is no root's flush, though, and neither is that of another user alice's.
    assert "error: nothing starts flush" in findings(sound)[1]
    CRON.write_text("* * * * * another /x/flush alice\n")
    assert b"nothing starts flush" in checked()


def test_the_machines_timer_is_none_of_a_trial_of_roots(box: Box, machine: Machine) -> None:
    timer = Path("/etc/systemd/system/pymail-flush.timer")
    timer.parent.mkdir(parents=True, exist_ok=True)
    timer.touch()
    service = timer.with_suffix(".service")
    service.write_text("[Service]\nExecStart=/usr/sbin/flush\n")
    try:
        assert b"nothing starts flush" in box.run("pymail", "check").stdout
    finally:
        timer.unlink()
        service.unlink()


@pytest.mark.parametrize(
    "line",
    [
        "* * * * * root flush",
        "*/5 0-23 1,15 jan-dec mon root\t/usr/sbin/flush -v >/dev/null 2>&1",
        "-*/1 * * * * root cd / && /opt/my\\ own/flush",
        "@hourly root  TZ=UTC LC_ALL='C.UTF-8' /usr/sbin/flush%input",
        "* * * * * root env -u X A=b nice -n 19 ionice -c3 /usr/sbin/flush",
        "* * * * * root test -x /usr/sbin/flush && /usr/sbin/flush",
        "* * * * * root if [ -x /x ]; then flush; fi",
        "* * * * * root timeout -k 5 300 flock -n /run/x nice -5 flush",
        "* * * * * root (sleep 20; flush) | cat",
        "* * * * * root sh -c 'date +\\%s; exec \"/opt/p/flush\"'",
        "* * * * * root runuser -u root -- flush",
    ],
)
def test_a_line_that_starts_flush_is_known(sound: Machine, line: str) -> None:
    CRON.write_text(f"A=b\n# x\n{line}\n")
    assert findings(sound)[0] == 0


@pytest.mark.parametrize(
    "line",
    [
        "0 4 * * * root /usr/sbin/rndc flush",
        "0 4 * * * root ip route flush cache",
        "0 4 * * * root nft flush ruleset",
        "0 4 * * * root test -x /usr/sbin/flush && echo /usr/sbin/flush",
        "0 4 * * * root nice redis-cli flush; touch /run/flush",
        "0 4 * * * root echo '; flush'",
        "0 4 * * * root echo 50\\% % ; flush",
        "0 4 * * * root sh -c 'rndc flush'",
        "0 4 * * * root echo \"it's; flush",
        "0 4 * * * root /x/flush.sh; cache-flush; flush-cache",
        "0 4 * * * flush root",
        "0 4 * * * flush",
        "* * * * * alice /home/alice/.local/lib/pymail/flush",
        "FLUSH = 1 2 3 4 5 flush",
        "# * * * * * root flush",
        "",
    ],
)
def test_a_line_that_only_has_the_word_in_it_starts_no_flush(sound: Machine, line: str) -> None:
    CRON.write_text(f"{line}\n")
    status, text = findings(sound)
    assert (status, "error: nothing starts flush" in text) == (78, True)


def test_without_cron_there_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert schedule._own_table() == ""


@pytest.mark.parametrize(
    ("mountinfo", "told"),
    [
        ("1 0 0:1 / / rw - ext4 /dev/sda rw", []),
        ("1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / /var rw - tmpfs x rw", ["reboot"]),
        ("1 0 0:1 / / rw - nfs4 server:/ rw", ["after a power cut"]),
        ("1 0 0:1 / / rw - overlay overlay rw,lowerdir=/x", []),
        ("1 0 0:1 / / rw - overlay overlay rw,volatile", ["nothing there survives a crash"]),
        ("1 0 0:1 / /var/spool\\040x rw - tmpfs x rw", []),
    ],
)
def test_what_a_file_system_does_not_keep_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mountinfo: str, told: list[str]
) -> None:
    (tmp_path / "mountinfo").write_text(mountinfo)
    monkeypatch.setattr(checkspool, "_MOUNTS", str(tmp_path / "mountinfo"))
    kind, options = checkspool._file_system("/var/spool/pymail")
    found = list(checkspool.promises("/var/spool/pymail", kind, options))
    assert len(found) == len(told)
    for finding, words in zip(found, told, strict=True):
        assert words in finding.text


@pytest.mark.parametrize("name", ["почта", "a b\\303\n", "Ö\r", b"\xd0\xcf"])
def test_a_mount_may_have_any_name(machine: Machine, name: str | bytes) -> None:
    place = os.path.join(b"/opt", os.fsencode(name))
    os.mkdir(place)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    try:
        kind, options = checkspool._file_system(os.fsdecode(place) + "/spool")
    finally:
        subprocess.run(["umount", place], check=True)
        os.rmdir(place)
    assert kind == "tmpfs"
    assert "size=64k" in options.split(",")  # this one, not that of /opt


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 10, 4096, 1000, 3

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    facts = {"hostname": "box", "mailname": "", "aliases": "/a", "config": "/c"}
    settings = config.combine({}, facts)
    texts = [finding.text for finding in checkspool.of_disk(settings, Spool(str(tmp_path)), 0)]
    assert any("only 0 MiB are free" in text for text in texts)
    assert any("only 3 inodes are free" in text for text in texts)


def test_a_finding_says_its_remedy() -> None:
    assert str(Fault("it is broken", "mend it")) == "it is broken: mend it"
