"""Commands, files and LMTP on a whole machine: whose rights they have, and what they see."""

import os
import pwd
import stat

import pytest
from harness import needs
from machine import Machine
from peers import dovecot

LETTER = b"Subject: s\nTo: you\n\nFrom here\n"
DUMP = (
    "id > {0}/id; umask > {0}/umask; pwd > {0}/pwd; env -0 > {0}/env;"
    " ls /proc/self/fd > {0}/fd; ulimit -c > {0}/core;"
    " ps -o pid=,pgid=,sid=,tty= $$ > {0}/session;"
    " grep -E '^(NoNewPrivs|CapEff|CapPrm|CapInh|Sig(Blk|Ign)):' /proc/self/status > {0}/status;"
    " cat > {0}/message"
)


@pytest.fixture
def out(tmp_path_factory):
    """A directory that everybody can write to and reach."""
    place = tmp_path_factory.mktemp("out")
    for above in (place, *place.parents):
        above.chmod(above.stat().st_mode | 0o001)
    place.chmod(0o1777)
    return place


def facts(out) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in out.iterdir()}


def environment(out) -> dict[str, str]:
    pairs = (out / "env").read_text().rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)


def check_confined(seen: dict[str, str]) -> None:
    """Say what holds for every program that is run for a user."""
    assert seen["umask"] in ("0077", "77")
    assert seen["fd"].split() == ["0", "1", "2", "3"]
    assert seen["core"] == "0"
    pid, group, session, terminal = seen["session"].split()
    assert pid == group == session
    assert terminal == "?"
    for line in seen["status"].splitlines():
        assert int(line.split()[1], 16) == 0, line


def test_a_users_command_has_that_users_rights_and_no_others(machine: Machine, out):
    machine.config(f'mailbox_command = "{DUMP.format(out)}"\nrecipient_delimiter = "+"\n')
    machine.send("bob", LETTER, "alice+lists")
    machine.flush()
    seen = facts(out)
    assert seen["id"] == "uid=1001(alice) gid=1001(alice) groups=1001(alice)"
    assert seen["pwd"] == "/home/alice"
    check_confined(seen)
    env = environment(out)
    env.pop("PWD", None)
    assert env == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C",
        "HOME": "/home/alice",
        "SHELL": "/bin/bash",
        "USER": "alice",
        "LOGNAME": "alice",
        "SENDER": "bob@example.net",
        "RECIPIENT": "alice+lists@example.net",
        "ORIGINAL_RECIPIENT": env["ORIGINAL_RECIPIENT"],
        "LOCAL": "alice+lists",
        "DOMAIN": "example.net",
        "EXTENSION": "lists",
    }
    assert env["ORIGINAL_RECIPIENT"].startswith("alice+lists")
    assert seen["message"].startswith("From bob@example.net  ")
    assert "\nDelivered-To: alice+lists@example.net\n" in seen["message"]
    assert seen["message"].endswith("\n\nFrom here")
    assert machine.queue() == []


def test_a_command_of_the_aliases_file_has_nobodys_rights(machine: Machine, out):
    machine.aliases(f'root: alice\nprog: |"{DUMP.format(out)}"\n')
    machine.send("bob", LETTER, "prog")
    machine.flush()
    seen = facts(out)
    assert seen["id"].startswith("uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)")
    assert seen["pwd"] == "/"
    check_confined(seen)
    assert environment(out)["USER"] == "nobody"
    assert environment(out)["LOCAL"] == "prog"


def test_a_command_of_a_forward_file_has_its_owners_rights(machine: Machine, out):
    machine.write("carol", ".forward", f'"|{DUMP.format(out)}"\n')
    machine.send("bob", LETTER, "carol")
    machine.flush()
    seen = facts(out)
    assert seen["id"].startswith("uid=1003(carol)")
    assert seen["pwd"] == "/home/carol"
    check_confined(seen)


def test_a_command_that_runs_on_in_the_background_holds_no_mail_up(machine: Machine, out):
    machine.config(f'mailbox_command = "sleep 60 & echo $! >> {out}/pids; exit 0"\n')
    for _ in range(2):
        machine.send("bob", LETTER, "alice")
    machine.flush()
    assert machine.queue() == []
    for pid in (out / "pids").read_text().split():
        os.kill(int(pid), 9)


def test_files_belong_to_whom_they_are_written_for(machine: Machine, out):
    machine.write("alice", ".forward", f"~/inbox, {out}/alices, /dev/null\n")
    machine.aliases(f"root: alice\nlist: {out}/nobodys, /dev/null\n")
    machine.send("bob", LETTER, "alice", "list")
    machine.flush()
    for path, owner in (
        (machine.home("alice") / "inbox", "alice"),
        (out / "alices", "alice"),
        (out / "nobodys", "nobody"),
    ):
        about = path.stat()
        assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (pwd.getpwnam(owner).pw_uid, 0o600)
        assert path.read_text().startswith("From bob@example.net  ")
        assert path.read_text().endswith("\n\n>From here\n\n")
    assert machine.queue() == []


def test_no_file_of_another_user_is_written(machine: Machine, out):
    """Neither directly nor through a link, hard or symbolic, that somebody planted."""
    target = machine.write("bob", "secret", b"bob's own\n", 0o600)
    shared = machine.write("bob", "open", b"bob's open\n", 0o666)
    (out / "soft").symlink_to(shared)
    os.chown(out / "soft", 1002, 1002, follow_symlinks=False)
    (out / "box").write_text("alice's\n")
    os.chown(out / "box", 1001, 1001)
    os.link(out / "box", out / "hard")
    machine.write("alice", ".forward", f"{target}, {out}/soft, {out}/hard\n")
    machine.send("carol", LETTER, "alice")
    machine.flush()
    assert target.read_bytes() == b"bob's own\n"
    assert shared.read_bytes() == b"bob's open\n"
    assert (out / "box").read_text() == "alice's\n"


def test_procmail_files_for_its_user(machine: Machine):
    needs("procmail")
    machine.config(
        'mailbox_command = "procmail -t -a \\"$EXTENSION\\""\nrecipient_delimiter = "+"\n'
    )
    machine.write("alice", ".procmailrc", ":0\n* ^Subject: s\nMail/$1/\n\n:0\nMaildir/\n")
    machine.write("alice", "Mail/.keep", "")
    machine.send("bob", LETTER, "alice+work")
    machine.send("bob", b"Subject: other\n\nx\n", "alice")
    machine.flush()
    (work,) = machine.mail("alice", "Mail/work")
    (other,) = machine.mail("alice")
    assert (work.uid, other.uid) == (1001, 1001)
    assert work.values("Delivered-To") == ["alice+work@example.net"]
    assert (work.body, other.body) == (b"From here\n", b"x\n")
    assert machine.queue() == []


def test_maildrop_files_for_its_user(machine: Machine):
    needs("maildrop")
    machine.config('mailbox_command = "maildrop"\n')
    filters = 'if (/^Subject: s/)\n{\n  to $HOME/Maildir\n}\necho "no"\nEXITCODE=77\nexit\n'
    machine.write("alice", ".mailfilter", filters, 0o600)
    machine.write("bob", ".mailfilter", "to $HOME/Maildir\n", 0o600)
    for user in ("alice", "bob"):
        for name in ("cur", "new", "tmp"):
            machine.write(user, f"Maildir/{name}/.keep", "")
    machine.send("bob", LETTER, "alice")
    machine.send("bob", b"Subject: other\n\nx\n", "alice")
    machine.flush()
    found = [letter for letter in machine.mail("alice") if letter.path.name != ".keep"]
    assert [letter.values("Subject") for letter in found] == [["s"]]
    assert found[0].uid == 1001
    (report,) = [letter for letter in machine.mail("bob") if letter.path.name != ".keep"]
    assert b"\nStatus: 5.7.0\n" in report.data


def test_dovecot_gets_the_mail_of_local_users_by_lmtp(machine: Machine, tmp_path_factory):
    with dovecot(tmp_path_factory.mktemp("d") / "dovecot", "alice", "bob") as server:
        machine.config(f'mailbox_transport = "lmtp:{server.address}"\n')
        machine.send("bob", LETTER, "alice", "bob")
        machine.send("alice", b"Subject: 2\n\n.\n..\nx\n", "-i", "bob")
        machine.send("alice", b"Subject: 3\n\nx\n", "carol")
        machine.flush()
        assert len(server.letters("alice")) == 2  # with the report about carol
        assert len(server.letters("bob")) == 2
        assert any(text.endswith(b"\n\n.\n..\nx\n") for text in server.letters("bob"))
        assert machine.queue() == []
        report = server.letters("alice")
        assert any(b"5.1.1" in text and b"carol@example.net" in text for text in report)


def test_mail_waits_while_dovecot_is_away(machine: Machine, out):
    place = out / "dovecot"
    machine.config(f'mailbox_transport = "lmtp:unix:{place}/lmtp"\nminimal_backoff_time = 1\n')
    machine.send("bob", LETTER, "alice")
    machine.flush()
    (qid,) = machine.queue()
    shown = machine.run("root", "mailq").stdout.decode()
    assert f"connect to unix:{place}/lmtp: No such file or directory" in shown
    with dovecot(place, "alice") as server:
        machine.flush(qid)
        (letter,) = server.letters("alice")
    assert letter.endswith(b"\n\nFrom here\n")
    assert machine.queue() == []
