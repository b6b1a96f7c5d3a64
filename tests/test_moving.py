"""The configurations of other mail programs as ours: what they did goes on being done."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import tomli_w
from authority import Authority
from harness import Box, needs
from hypothesis import given
from hypothesis import strategies as st
from relays import relay

from pymail import export
from pymail.config import SETTINGS
from pymail.importer import Machine, MistakeError, dma, esmtp, msmtp, nullmailer, postfix, ssmtp
from pymail.importer.postconf import SERVER, reason

HOME = """\
myhostname = localhost
mydomain = localdomain
inet_interfaces = $myhostname, localhost
mydestination = $myhostname, localhost.$mydomain, localhost
mynetworks_style = host
default_transport = error:outside mail is not deliverable
home_mailbox = Maildir/
"""
PROVIDER = """\
# the whole machine
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix
mail_owner = postfix
myorigin = $myhostname
unknown_local_recipient_reject_code = 450
mynetworks_style = subnet
mynetworks = 127.0.0.0/8 192.168.2.0/24 # our network
mailbox_command = /usr/bin/procmail
debug_peer_level = 2
debugger_command =
  PATH=/bin:/usr/bin:/usr/local/bin:/usr/X11R6/bin:
  xxgdb = $daemon_directory/$process_name $process_id & sleep 5
sendmail_path = /usr/sbin/sendmail
newaliases_path = /usr/bin/newaliases
mailq_path = /usr/bin/mailq
setgid_group = postdrop
manpage_directory = /usr/share/man
readme_directory = /usr/share/doc/postfix
default_destination_concurrency_limit = 2
alias_database = hash:/etc/mail/aliases
local_destination_concurrency_limit = 2
alias_maps = hash:/etc/mail/aliases
home_mailbox = .maildir/
relayhost = [smtp.isp.example] # of the provider
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:{here}/saslpass
smtp_sasl_security_options = noanonymous
"""
DEBIAN = """\
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no

# appending .domain is the MUA's job.
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache

smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = box.example
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = $myhostname, box.example, localhost.example, , localhost
relayhost =\x20
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
"""
NEW = """\
compatibility_level = 3.7
this = one.example
there =
mydomain = $this
myhostname = ${there?no}${there:box}.$mydomain
relayhost = ${{$compatibility_level} >= {3} ? {[${this}]:587} : {[old.example]}}
smtp_helo_name = ${there?{no.example}:{$myhostname}}
smtp_bind_address = ${{$this} == {one.example} ? {192.0.2.1} : {192.0.2.2}}
message_size_limit = ${{$this} != {one.example} ? {1} : {20000000}}
delay_warning_time = 4h
maximal_queue_lifetime = 3
bounce_queue_lifetime = 1w
smtp_tls_security_level = ${there:encrypt}
mydestination = $myhostname $(this)
    # a comment between
  localhost
"""
NOWHERE = Machine(lambda _: None, "box.example", ("root", "alice"))


def moved(box: Box, kind: str, text: str, *beside: tuple[str, str]) -> tuple[dict, list[str]]:
    """Return our settings and the words about what is not among them."""
    for name, more in beside:
        (box.home / name).write_text(more)
    file = box.home / "old"
    file.write_text(text.replace("{here}", str(box.home)))
    done = box.run("pymail", "import", kind, str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode()
    assert "to be corrected" not in out
    return tomllib.loads(out), [line for line in out.splitlines() if line.startswith("# ")]


def test_local_mail_only_moves_as_it_is(box: Box) -> None:
    settings, words = moved(box, "main.cf", HOME + "compatibility_level = 2\n")
    assert settings == {
        "myhostname": "localhost",
        "mydomain": "localdomain",
        "mydestination": ["${myhostname}", "localhost.${mydomain}", "localhost"],
        "default_transport": "error:outside mail is not deliverable",
        "home_mailbox": "Maildir/",
        "myorigin": "$myhostname",
    }
    told = [line for line in words if "not carried over" in line]
    assert len(told) == 3
    assert all(SERVER in line or "compatibility_level" in line for line in told)


def test_a_machine_with_a_provider_moves_with_its_login(box: Box) -> None:
    login = ("saslpass", "[smtp.isp.example] me:pass word\n")
    settings, words = moved(box, "postfix", PROVIDER, login)
    assert settings == {
        "myorigin": "${myhostname}",
        "unknown_local_recipient_reject_code": 450,
        "mailbox_command": "/usr/bin/procmail",
        "default_destination_concurrency_limit": 2,
        "alias_maps": ["hash:/etc/mail/aliases"],
        "local_destination_concurrency_limit": 2,
        "home_mailbox": ".maildir/",
        "relayhost": ["[smtp.isp.example]"],
        "smtp_sasl_auth_enable": True,
        "smtp_sasl_security_options": ["noanonymous"],
        "mydestination": ["$myhostname", "localhost.$mydomain", "localhost"],
        "append_dot_mydomain": True,
    }
    text = "\n".join(words)
    assert "# login at [smtp.isp.example] as me: --write stores it" in text
    assert "pass word" not in text
    assert '"# of the provider" is left out: a comment has a line of its own' in text
    assert "no such setting" not in text


def test_what_debian_writes_moves_with_nothing_unexplained(box: Box) -> None:
    settings, words = moved(box, "postfix", DEBIAN)
    assert settings["mydestination"] == [
        "${myhostname}",
        "box.example",
        "localhost.example",
        "localhost",
    ]
    assert settings["default_transport"] == "smtp"
    assert settings["recipient_delimiter"] == "+"
    assert "no such setting" not in "\n".join(words)
    assert any("~/Maildir/" in line for line in words)


@pytest.mark.parametrize("name", ["main.cf.debian", "main.cf.dist", "main.cf.tls"])
def test_the_files_of_the_package_move(box: Box, name: str) -> None:
    file = Path("/usr/share/postfix") / name
    if not file.exists():
        needs(str(file))
    _, words = moved(box, "postfix", file.read_text())
    assert "no such setting" not in "\n".join(words)


def test_postfix_has_no_setting_without_a_counterpart_or_a_reason() -> None:
    needs("postconf")
    listed = subprocess.run(["postconf", "-d"], capture_output=True, check=True, text=True)
    names = [line.partition(" =")[0] for line in listed.stdout.splitlines()]
    assert len(names) > 900
    old = {"smtp_use_tls", "smtp_enforce_tls"}
    assert [name for name in names if name not in SETTINGS and not reason(name)] == sorted(
        old & set(names)
    )


def test_names_stand_for_what_they_stand_for_in_postfix(box: Box, tmp_path: Path) -> None:
    needs("postconf")
    (tmp_path / "main.cf").write_text(NEW)
    theirs = subprocess.run(
        ["postconf", "-c", tmp_path, "-x"], capture_output=True, check=True, text=True
    ).stdout
    box.config(tomli_w.dumps(moved(box, "postfix", NEW)[0]))
    shown = box.run("pymail", "config", "show").stdout.decode()
    for name in ("myhostname", "mydomain", "smtp_helo_name", "smtp_bind_address"):
        (value,) = re.findall(rf"^{name} = (.*)$", theirs, re.MULTILINE)
        assert f'{name} = "{value}"' in shown
    (value,) = re.findall(r"^relayhost = (.*)$", theirs, re.MULTILINE)
    assert f'relayhost = ["{value}"]' in shown
    (value,) = re.findall(r"^mydestination = (.*)$", theirs, re.MULTILINE)
    assert f"mydestination = {value.split()}".replace("'", '"') in shown
    for name, value in (
        ("message_size_limit", 20000000),
        ("delay_warning_time", 4 * 3600),
        ("maximal_queue_lifetime", 3 * 86400),
        ("bounce_queue_lifetime", 7 * 86400),
        ("smtp_tls_security_level", '"encrypt"'),
    ):
        assert f"{name} = {value}" in shown


def test_tables_move_with_their_rows(box: Box) -> None:
    text = (
        "compatibility_level = 3\nmaps = hash:{here}\n"
        "smtp_generic_maps = $maps/generic, proxy:hash:{here}/more\n"
        "transport_maps = inline:{ {a.example = smtp:[b.example]}, c.example=error:no } \n"
        "sender_canonical_maps = regexp:/etc/postfix/canonical\n"
        "sender_dependent_relayhost_maps = mysql:/etc/x.cf lmdb:{here}/missing\n"
        "mydestination = localhost {here}/domains\n"
        "smtp_sasl_password_maps = texthash:{here}/logins\n"
        "smtp_use_tls = yes\nfallback_relay = [spare.example]\nsmtp_tls_policy_maps = hash:/x\n"
        "smtp_sasl_tls_security_options = $smtp_sasl_security_options\n"
        "alias_maps = hash:/etc/aliases, nis:mail.aliases\nmysetting = 7\nno setting\n"
        "soft_bounce = maybe\nsmtp_tls_wrappermode = perhaps\nrecipient_delimiter = word\n"
    )
    settings, words = moved(
        box,
        "postfix",
        text,
        ("generic", '# who\n@box  me@isp.example\n"two words"@box   x@y.example\n'),
        ("more", "@box other@isp.example\nroot@box root@isp.example\n"),
        ("domains", "one.example\n# none\ntwo.example  x\n"),
        ("logins", "mail.example  me:secret\n"),
    )
    assert settings["smtp_generic_maps"] == {
        "@box": "me@isp.example",
        '"two words"@box': "x@y.example",
        "root@box": "root@isp.example",
    }
    assert settings["transport_maps"] == {
        "a.example": "smtp:[b.example]",
        "c.example": "error:no",
    }
    assert settings["sender_canonical_maps"] == ["regexp:/etc/postfix/canonical"]
    assert settings["mydestination"] == ["localhost", "one.example", "two.example"]
    assert settings["smtp_tls_security_level"] == "may"
    assert settings["smtp_fallback_relay"] == ["[spare.example]"]
    assert settings["alias_maps"] == ["hash:/etc/aliases"]
    assert settings["smtp_sasl_auth_enable"] is False
    assert settings["smtp_sasl_tls_security_options"] == ["noplaintext", "noanonymous"]
    told = "\n".join(words)
    for part in (
        "mysql:/etc/x.cf: a table is a text file",
        "missing cannot be read; postmap -s lmdb:",
        "is left where it is: keep its files",
        "smtp_tls_policy_maps = hash:/x: smtp_tls_security_level holds for all",
        "nis:mail.aliases: aliases are in text files",
        "mysetting = 7: pymail has no such setting",
        "no setting: not a setting",
        "smtp_tls_wrappermode = perhaps: is neither yes nor no",
        'recipient_delimiter = word: "word" is not one or more of',
    ):
        assert part in told
    assert "maps = hash" not in told.replace("_maps = hash", "")


MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd -o smtp_helo_name=wrong.example
smtp      unix  -       -       y       -       -       smtp
  -o smtp_helo_name=out.example
# between
  -o { smtp_connect_timeout = 7s }
relay     unix  -       -       y       -       -       smtp -o syslog_name=postfix/$service_name
slow      unix  -       -       y       -       1       smtp
        -o syslog_name=postfix-slow -o smtp_destination_concurrency_limit=1
drop      unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
"""


def test_a_comment_behind_a_login_is_taken_as_postfix_takes_it_and_told(box: Box) -> None:
    text = (
        "relayhost = [smtp.isp.example] # of the provider\n"
        "smtp_sasl_password_maps = hash:{here}/saslpass\nsmtp_sasl_auth_enable = yes\n"
        "smtp_generic_maps = hash:{here}/generic\n"
    )
    files = (
        (
            "saslpass",
            "# mine\n[a.example] me:no#comment\n[smtp.isp.example] me:secret # Ваши данные\n",
        ),
        ("generic", "@box  me@isp.example # all\n"),
    )
    settings, words = moved(box, "main.cf", text, *files)
    assert settings["smtp_generic_maps"] == {"@box": "me@isp.example # all"}
    told = "\n".join(words)
    for part in (
        f"note: {box.home}/saslpass, line 3: what stands behind # belongs to the password",
        f"note: {box.home}/generic, line 1: what stands behind # belongs to the value",
        'relayhost = [smtp.isp.example] # of the provider: "# of the provider" is left out',
    ):
        assert part in told
    assert told.count(": a comment has a line of its own") == 3
    done = box.run("pymail", "import", "-w", "main.cf", str(box.home / "old"))
    assert "line 3: what stands behind # belongs to the password" in done.stdout.decode()
    kept = (box.config_file.parent / "saslpass").read_text()
    assert "[smtp.isp.example] me:secret # Ваши данные\n" in kept
    for said in (told, done.stdout.decode(), done.stderr.decode()):
        assert "secret" not in said
        assert "Ваши" not in said


def test_what_master_cf_sets_for_the_programs_that_deliver_moves(box: Box) -> None:
    settings, words = moved(
        box,
        "postfix",
        (
            "myhostname = box.example\nsmtp_helo_name = in.example\nmailbox_transport = drop\n"
            "default_transport = slow\ntransport_maps = hash:{here}/transport\n"
        ),
        (
            "transport",
            "a.example slow:[b.example]:26\nc.example relay:[d.example]\n. :[e.example]\n",
        ),
        ("master.cf", MASTER),
    )
    assert settings["smtp_helo_name"] == "out.example"
    assert settings["smtp_connect_timeout"] == "7s"
    assert settings["default_transport"] == "smtp"
    assert settings["transport_maps"] == {
        "a.example": "smtp:[b.example]:26",
        "c.example": "relay:[d.example]",
        ".": ":[e.example]",
    }
    told = [word for word in words if "master.cf" in word or "drop" in word]
    first, second = (word.removeprefix("# not carried over: ") for word in told)
    assert first.startswith('line 3: mailbox_transport = drop: "drop" is not a transport: one of')
    assert second == (
        "master.cf: slow: smtp_destination_concurrency_limit = 1: one value holds for all of smtp"
    )


STATIC = """\
# as providers of mail for programs tell their customers
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:apikey:{secret}
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = encrypt
smtp_tls_CAfile = {ca}
sender_canonical_maps = static:me@isp.example
transport_maps = static:{{relay:{hop}}}
mydestination = localhost
myorigin = localhost
domain = 127.0.0.1
relayhost = [$domain]:{port}
"""


def test_one_login_for_every_server_moves(box: Box, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with relay(authority.context("good", "127.0.0.1"), users={"apikey": "SG.secret"}) as server:
        port = server.hop.rpartition(":")[2]
        file = box.home / "main.cf"
        file.write_text(
            STATIC.format(secret="SG.secret", ca=authority.file, hop=server.hop, port=port)
        )
        printed = box.run("pymail", "import", "postfix", str(file))
        assert f"# login at {server.hop} as apikey".encode() in printed.stdout
        assert b"for all write a file regexp:/PATH" in printed.stdout
        done = box.run("pymail", "import", "--write", "postfix", str(file))
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"SG.secret" not in printed.stdout + done.stdout
        box.run("sendmail", "joe@else.example", stdin=b"Subject: x\n\ntext\n")
        box.run("flush")
    (letter,) = server.taken
    assert (letter.user, letter.sender) == ("apikey", "me@isp.example")


def test_a_static_table_that_cannot_be_one_of_ours_is_told_without_its_secret() -> None:
    text = "smtp_sasl_password_maps = static:me:secret\n"
    (line,) = postfix.read(text, NOWHERE).lost
    assert line == (
        "line 1: smtp_sasl_password_maps: static: is for every server: name one in relayhost"
    )
    text += "relayhost = [smtp.$mydomain]\nsender_dependent_relayhost_maps = static:[x.example]\n"
    found = postfix.read(text, NOWHERE)
    assert not found.logins
    assert "write a name without $" in found.lost[1]
    assert "name the keys" in found.lost[0]
    assert "secret" not in "".join(found.lost)


@pytest.mark.parametrize(
    "table",
    ["static:me:SECRET", "inline:{[isp.example]=me:SECRET}", "me:SECRET", "SECRET", "/SECRET"],
)
def test_a_password_in_master_cf_is_neither_told_nor_written(box: Box, table: str) -> None:
    (box.home / "main.cf").write_text("default_transport = isp:[isp.example]:587\n")
    (box.home / "master.cf").write_text(
        f"isp unix - - n - - smtp\n -o smtp_sasl_password_maps={table}\n"
        " -o smtp_sasl_auth_enable=yes\n"
    )
    done = box.run("pymail", "import", "--write", "postfix", str(box.home / "main.cf"))
    assert (done.returncode, done.stderr) == (0, b"")
    written = (box.config_file.parent / "conf.d/50-postfix.toml").read_text()
    for said in (done.stdout.decode(), written):
        lost = "not carried over: master.cf: isp: smtp_sasl"
        assert f"{lost}_password_maps: one value holds for all of smtp" in said
        assert f"{lost}_auth_enable = yes: one value holds for all of smtp" in said
        assert "SECRET" not in said


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ("me:SECRET", ""),
        ("unionmap:{static:me:SECRET}", ""),
        ("texthash:/x, static:me:SECRET", ""),
        ("static:me:SECRET #SECRET", ""),
        ("proxy:mysql:/etc/isp.cf", " = proxy:mysql:/etc/isp.cf"),
    ],
)
def test_of_a_table_of_logins_only_files_are_told(table: str, shown: str) -> None:
    lost = postfix.read(f"smtp_sasl_password_maps = {table}\n", NOWHERE).lost
    assert lost
    assert all(line.startswith(f"line 1: smtp_sasl_password_maps{shown}: ") for line in lost)
    assert "SECRET" not in "".join(lost)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("$x", "stands for itself"),
        ("${x", 'has a "{" that is not closed'),
        ("${{a} ~ {b} ? {c}}", "cannot be understood"),
        ("${{a} == {b}}", "has no branches"),
        ("${a b}", "which is no name"),
    ],
)
def test_what_has_no_end_or_sense_is_told(value: str, words: str) -> None:
    found = postfix.read(
        f"x = {value}\nsmtp_helo_name = $x\nd = +\nrecipient_delimiter = $d\n", NOWHERE
    )
    assert "smtp_helo_name" not in found.settings
    assert words in "\n".join(found.lost)
    # It spoils nothing that comes after it.
    assert found.settings["recipient_delimiter"] == "+"


def test_a_written_import_delivers(box: Box) -> None:
    with relay() as server:
        text = f"relayhost = {server.hop}\ncompatibility_level = 3\nmydestination = localhost\n"
        (box.home / "generic").write_text("@localhost me@isp.example\n")
        (box.home / "saslpass").write_text("[other.example] me:secret\n")
        text += f"smtp_generic_maps = hash:{box.home}/generic\nsmtp_sasl_auth_enable = yes\n"
        text += f"smtp_sasl_password_maps = hash:{box.home}/saslpass\nmyorigin = localhost\n"
        (box.home / "main.cf").write_text(text)
        done = box.run("pymail", "import", "--write", "main.cf", str(box.home / "main.cf"))
        assert (done.returncode, done.stderr) == (0, b"")
        out = done.stdout.decode()
        box.send(b"Subject: s\n\nx\n", "joe@example.org")
        box.flush()
    assert [(each.sender, each.recipients) for each in server.taken] == [
        ("me@isp.example", ["joe@example.org"])
    ]
    folder = box.config_file.parent
    assert f"wrote {folder}/saslpass: 1 logins" in out
    assert (folder / "saslpass").read_text() == "[other.example] me:secret\n"
    assert (folder / "saslpass").stat().st_mode & 0o777 == 0o600
    text = (folder / "conf.d/50-postfix.toml").read_text()
    assert "not carried over: line 2: compatibility_level" in text
    assert "secret" not in text + out
    # Once more changes nothing.
    again = box.run("pymail", "import", "--write", "main.cf", str(box.home / "main.cf"))
    assert again.stdout == done.stdout
    assert (folder / "saslpass").read_text() == "[other.example] me:secret\n"


def test_what_counts_more_than_an_import_is_told(box: Box) -> None:
    def said(*args: str, **env: str) -> list[str]:
        done = box.run("pymail", "import", *args, env=env)
        assert (done.returncode, done.stderr) == (0, b"")
        return [line for line in done.stdout.decode().splitlines() if "counts more" in line]

    (box.home / "main.cf").write_text("relayhost = [a.example]\nmyorigin = a.example\n")
    (box.home / "remotes").write_text("b.example\n")
    postfix_ = ("main.cf", str(box.home / "main.cf"))
    nullmailer_ = ("nullmailer", str(box.home / "remotes"))
    box.config("relayhost = '[old.example]'\n")
    assert said("-w", *postfix_) == said(*postfix_) == []
    folder = box.config_file.parent / "conf.d"
    assert box.run("pymail", "config", "set", "myorigin", "a.example").returncode == 0
    assert said("-w", *postfix_) == []  # it is the same
    assert said("-w", *nullmailer_) == [
        f"note: {name}: {folder}/50-postfix.toml, line {line} counts more: take it out there"
        for name, line in lines(folder / "50-postfix.toml", "relayhost", "mydestination")
    ]
    assert box.run("pymail", "config", "set", "relayhost", "[c.example]").returncode == 0
    (line,) = (number for _, number in lines(folder / "90-pymail.toml", "relayhost"))
    shadow = (
        f"note: relayhost: {folder}/90-pymail.toml, line {line} counts more:"
        " pymail config unset relayhost takes it back"
    )
    assert said("-w", *postfix_) == [shadow]
    assert said(*postfix_) == [f"# {shadow}"]
    assert said("-w", *postfix_, PYMAIL_RELAYHOST="[d.example]") == [
        "note: relayhost: PYMAIL_RELAYHOST of the environment counts more: take it out there"
    ]


def lines(file: Path, *names: str) -> list[tuple[str, int]]:
    """Return the lines of settings in a file."""
    text = file.read_text().splitlines()
    return [
        (name, number)
        for name in names
        for number, line in enumerate(text, 1)
        if line.startswith(f"{name} =")
    ]


MSMTP = """\
# mine
defaults
auth on
tls on
tls_trust_file /etc/ssl/certs/ca-certificates.crt
logfile ~/.msmtp.log
account isp
host smtp.isp.example
port 587
from me@isp.example
user me
password "pass word"
domain box.example
timeout 30
account work : isp
host mx.work.example
from ann@work.example
passwordeval "pass show work"
tls_starttls off
port 465
account spare : isp
from me@isp.example
host spare.example
account default : isp
aliases aliases
proxy_host 127.0.0.1
"""


def test_msmtp_moves_with_its_accounts_and_aliases(box: Box) -> None:
    rows = ("aliases", "# who\nroot: me@isp.example, ann@work.example\ndefault: boss@isp.example\n")
    settings, words = moved(box, "msmtprc", MSMTP, rows)
    origin = next(iter(settings["sender_canonical_maps"]))
    assert origin.startswith("@")
    assert settings == {
        "relayhost": ["[smtp.isp.example]:587"],
        "smtp_tls_security_level": "secure",
        "mailbox_transport": "smtp:[smtp.isp.example]:587",
        "sender_canonical_maps": {origin: "me@isp.example"},
        "smtp_helo_name": "box.example",
        "smtp_connect_timeout": 30,
        "sender_dependent_relayhost_maps": {"ann@work.example": "[mx.work.example]:465"},
        "smtp_sender_dependent_authentication": True,
    }
    told = "\n".join(words)
    for part in (
        "# login at [smtp.isp.example]:587 as me",
        "# login at ann@work.example as me",
        "# alias root: me@isp.example, ann@work.example",
        "# alias daemon: boss@isp.example",
        "logfile ~/.msmtp.log: pymail writes to the system log",
        "proxy_host 127.0.0.1: pymail has no such setting",
        "account spare: it is used with msmtp -a only",
        "note: mail for users of this machine goes to the relay",
    ):
        assert part in told
    assert "pass word" not in told


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("host h.example\n", {"relayhost": ["[h.example]"], "smtp_tls_security_level": "none"}, ""),
        (
            (
                "account a\nhost h.example\nauth plain\nuser u\npassword p\nmaildomain d.example\n"
                "from %U@%H\n"
            ),
            {"smtp_sasl_mechanism_filter": ["plain"], "myorigin": "d.example"},
            "login goes over verified TLS only",
        ),
        (
            "host h.example\ntls\ntls_certcheck off\ntls_starttls off\nport 25\n",
            {"smtp_tls_security_level": "encrypt", "smtp_tls_wrappermode": True},
            "",
        ),
        (
            f"host h.example\ntls on\ntls_fingerprint {'AB:' * 31}AB\nsource_ip 192.0.2.1\n",
            {"smtp_tls_fingerprint_digest": "sha256", "smtp_bind_address": "192.0.2.1"},
            "",
        ),
        (
            (
                "host h.example\ntls on\ntls_fingerprint AB:CD\nprotocol lmtp\neval echo x\n"
                "aliases /nowhere\ntls_trust_file /etc/my.pem\n"
            ),
            {"smtp_tls_CAfile": "/etc/my.pem"},
            "SHA-256 only SMTP eval echo x aliases /nowhere: cannot be read",
        ),
        ("account a\nport 25\n", {}, "no account with a host"),
        (
            "defaults\ntls\ton\n\naccount \t a\nhost\th.example\nport  587 \naccount default: a\n",
            {"relayhost": ["[h.example]:587"], "smtp_tls_security_level": "secure"},
            "",
        ),
    ],
)
def test_what_msmtprc_says_otherwise(text: str, expected: dict, words: str) -> None:
    found = msmtp.read(text, NOWHERE)
    assert found.settings.items() >= expected.items()
    told = "\n".join(found.lost + found.notes)
    assert all(word in told for word in words.split())
    assert bool(words) == bool(found.lost) or "verified" in words


SENDERS = """\
account isp
host smtp.isp.example
tls on
auth on
user me
password p
from *@isp.example
account bob
host bob.example
from bob@isp.example
account sub
host sub.example
from *@*.isp.example
account users
host users.example
from %U@users.example
account hand
host hand.example
account ann
host ann.example
from ann@x.example
account x
host x.example
from *@x.example
account all
host all.example
from *@main.example
account default
host main.example
from box@main.example
"""


def test_msmtp_chooses_an_account_by_a_pattern_of_senders() -> None:
    found = msmtp.read(SENDERS, NOWHERE)
    assert found.settings["sender_dependent_relayhost_maps"] == {
        "@isp.example": "[smtp.isp.example]",
        "ann@x.example": "[ann.example]",
        "@x.example": "[x.example]",
    }
    assert found.logins == {"@isp.example": "me:p"}
    assert found.settings["sender_canonical_maps"] == {"@box.example": "box@main.example"}
    assert [words.partition(";")[0] for words in found.lost if "level" not in words] == [
        "account bob: from bob@isp.example: account isp is chosen for it",
        "account sub: from *@*.isp.example: of patterns only *@DOMAIN can be carried over",
        "account users: from %U@users.example: that is another sender for each user",
        "account hand: it is used with msmtp -a only",
        "account all: from *@main.example: the default account has such a sender",
    ]
    alone = msmtp.read("host h.example\nfrom *@isp.example\n", NOWHERE)
    assert "sender_canonical_maps" not in alone.settings


def test_ssmtp_moves_with_revaliases(box: Box) -> None:
    text = (
        "# all\nroot=admin@isp.example\nmailhub=smtp.isp.example:465\nrewriteDomain=isp.example\n"
        "hostname=box.example\nUseTLS=YES\nAuthUser=me\nAuthPass=a:b=c\nAuthMethod=LOGIN\n"
        "FromLineOverride=YES\nTLS_CA_Dir=/etc/ssl/certs\nDebug=YES\n"
    )
    file = box.home / "ssmtp.conf"
    file.write_text(text)
    (box.home / "revaliases").write_text(
        "# x\nalice:al@isp.example:mail.other.example:25\nbob:b@x\n"
    )
    done = box.run("pymail", "import", "-w", "ssmtp.conf", str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    folder = box.config_file.parent
    settings = tomllib.loads((folder / "conf.d/50-ssmtp.toml").read_text())
    assert settings == {
        "relayhost": ["[smtp.isp.example]:465"],
        "smtp_sasl_mechanism_filter": ["login"],
        "mailbox_transport": "smtp:[smtp.isp.example]:465",
        "smtp_tls_CApath": "/etc/ssl/certs",
        "myhostname": "box.example",
        "myorigin": "box.example",
        "sender_canonical_maps": {
            "alice@box.example": "al@isp.example",
            "bob@box.example": "b@x",
        },
        "smtp_generic_maps": {"@box.example": "@isp.example"},
        "sender_dependent_relayhost_maps": {"al@isp.example": "[mail.other.example]"},
        "smtp_sasl_password_maps": [f"{folder}/saslpass"],
        "alias_maps": [f"{folder}/aliases-ssmtp"],
    }
    assert (folder / "saslpass").read_text() == "[smtp.isp.example]:465 me:a:b=c\n"
    assert "root: admin@isp.example" in (folder / "aliases-ssmtp").read_text()
    assert "not carried over: debug = YES: pymail has no such setting" in done.stdout.decode()


def test_what_stands_behind_a_value_of_ssmtp_is_a_comment() -> None:
    text = (
        "mailhub=smtp.isp.example:587 # theirs\nUseSTARTTLS=YES# yes\nhostname=box.example # box\n"
        "root=admin@isp.example # me\nAuthUser=me # me\nAuthPass=a#b\n"
    )
    found = ssmtp.read(text, NOWHERE)
    assert found.settings["relayhost"] == ["[smtp.isp.example]:587"]
    assert found.settings["myhostname"] == "box.example"
    assert found.logins == {"[smtp.isp.example]:587": "me:a#b"}
    assert found.aliases == {"root": "admin@isp.example"}


def test_mail_of_a_machine_with_ssmtp_goes_on_to_its_hub(box: Box) -> None:
    with relay() as server:
        text = f"root=admin@isp.example\nmailhub=127.0.0.1:{server.port}\nrewriteDomain=d.example\n"
        (box.home / "ssmtp.conf").write_text(text)
        assert box.run("pymail", "import", "-w", "ssmtp", f"{box.home}/ssmtp.conf").returncode == 0
        for to in ("root", box.user, "joe@example.org"):
            box.send(b"Subject: s\n\nx\n", to)
        box.flush()
    own = "admin@isp.example" if box.user == "root" else f"{box.user}@d.example"
    assert sorted(each.recipients[0] for each in server.taken) == sorted(
        ["admin@isp.example", "joe@example.org", own]
    )
    assert {each.sender for each in server.taken} == {f"{box.user}@d.example"}


def test_what_debian_writes_for_ssmtp_sends_roots_mail_to_the_postmaster_of_the_hub(
    box: Box,
) -> None:
    with relay() as server:
        text = f"root=postmaster\nmailhub=127.0.0.1:{server.port}\nhostname=box.example\n"
        (box.home / "ssmtp.conf").write_text(text)
        assert box.run("pymail", "import", "-w", "ssmtp", f"{box.home}/ssmtp.conf").returncode == 0
        box.send(b"Subject: s\n\nx\n", "root")
        box.flush()
    assert [each.recipients for each in server.taken] == [["postmaster@box.example"]]


def test_mail_that_is_for_nobody_here_goes_to_the_relay_and_recipients_stay_who_they_are(
    box: Box,
) -> None:
    with relay() as server:
        text = f"defaults\nhost 127.0.0.1\nport {server.port}\ntls off\nfrom me@isp.example\n"
        (box.home / "msmtprc").write_text(text)
        assert box.run("pymail", "import", "-w", "msmtprc", f"{box.home}/msmtprc").returncode == 0
        for to in ("root", "support", "joe@example.org"):
            box.send(b"Subject: s\n\nx\n", to)
        box.flush()
    assert {each.sender for each in server.taken} == {"me@isp.example"}
    names = sorted(each.recipients[0].partition("@")[0] for each in server.taken)
    assert names == ["joe", "root", "support"]


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        (
            (
                "# dma\nSMARTHOST smtp.isp.example\nPORT 587\nALIASES aliases\nSECURETRANSFER\n"
                "STARTTLS\nAUTHPATH auth.conf\nMASQUERADE me@\nMAILNAME box.example\nDEFER\nX y\n"
            ),
            {
                "relayhost": ["[smtp.isp.example]:587"],
                "smtp_tls_security_level": "encrypt",
                "alias_maps": ["aliases"],
                "myorigin": "box.example",
                "smtp_helo_name": "box.example",
                "smtp_generic_maps": {"@box.example": "me@box.example"},
            },
            "/var/mail/USER run of flush X y: * is no alias",
        ),
        (
            (
                "SMARTHOST h.example\nNULLCLIENT\nSECURETRANS\nPORT 2465\nMAILNAME /etc/mailname\n"
                "MASQUERADE d.example\nALIASES aliases\n"
            ),
            {
                "mydestination": [],
                "smtp_tls_wrappermode": True,
                "myorigin": "/etc/mailname",
                "sender_canonical_maps": {"@name.example": "@d.example"},
            },
            "goes to the relay",
        ),
        (
            "SECURETRANSFER\nSTARTTLS\nOPPORTUNISTIC_TLS\n",
            {"default_transport": "smtp", "smtp_tls_security_level": "may"},
            "",
        ),
        (
            "SMARTHOST h.example\nFINGERPRINT AB:CD\n",
            {"smtp_tls_fingerprint_cert_match": ["AB:CD"]},
            "",
        ),
    ],
)
def test_dma_moves_with_its_logins(text: str, expected: dict, words: str) -> None:
    files = {
        "auth.conf": "# who\nme|smtp.isp.example:pa:ss\nyou|other.example:x\n",
        "aliases": "root: me\n*: all\n",
        "/etc/mailname": "name.example\n",
    }
    found = dma.read(text, NOWHERE._replace(read=files.get))
    assert found.settings.items() >= expected.items()
    told = "\n".join(found.lost + found.notes)
    assert all(word in told for word in words.split())
    if "AUTHPATH" in text:
        assert found.logins == {
            "[smtp.isp.example]:587": "me:pa:ss",
            "[other.example]": "you:x",
        }


def test_nullmailer_moves_with_all_its_files(box: Box) -> None:
    files = (
        ("adminaddr", "admin@isp.example\n"),
        ("defaulthost", "box\n"),
        ("defaultdomain", "home.example\n"),
        ("allmailfrom", "box@isp.example\n"),
        ("helohost", "box.home.example\n"),
        ("me", "box.home.example\n"),
        ("pausetime", "600\n"),
        ("maxpause", "0\n"),
        ("idhost", "x\n"),
    )
    text = (
        "# all\nsmtp.isp.example smtp --port=587 --starttls --user=me --pass='pass word'\n"
        "spare.example smtp ssl insecure auth-login x509certfile=/x\nq.example qmqp\n"
    )
    settings, words = moved(box, "nullmailer", text, *files)
    assert settings == {
        "relayhost": ["[smtp.isp.example]:587", "[spare.example]:465"],
        "smtp_tls_security_level": "secure",
        "mailbox_transport": "smtp:[smtp.isp.example]:587",
        "myorigin": "box.home.example",
        "myhostname": "box.home.example",
        "smtp_helo_name": "box.home.example",
        "sender_canonical_maps": {"@box.home.example": "box@isp.example"},
        "minimal_backoff_time": 600,
    }
    told = "\n".join(words)
    for part in (
        "# login at [smtp.isp.example]:587 as me",
        "# alias root: admin@isp.example",
        "[spare.example]:465: smtp_tls_security_level = encrypt: one value holds for all relays",
        "x509certfile: pymail has no such setting",
        "idhost x: Message-ID has the name of this machine",
        "remotes, line 4: q.example qmqp: only SMTP is spoken",
    ):
        assert part in told
    assert nullmailer.read("\nq.example qmqp 'open\nx pass=26\n", NOWHERE).lost == [
        "remotes, line 2: q.example qmqp: only SMTP is spoken",
        "remotes, line 3: x pass: only SMTP is spoken",
        "remotes has no host that speaks SMTP",
    ]


ONE = "[a] has secure, one value holds for all relays"


@pytest.mark.parametrize(
    ("remotes", "level", "lost"),
    [
        ("a smtp starttls user=me pass=p\nb\n", None, []),
        ("b smtp\na smtp starttls user=me pass=p\n", None, []),
        ("a smtp starttls user=me pass=p\nb smtp starttls user=me pass=p\n", "secure", []),
        (
            "a smtp starttls\nb\n",
            "secure",
            [f"[b]: no smtp_tls_security_level: {ONE}"],
        ),
        (
            "a smtp starttls user=me pass=p\nb smtp starttls\nc\n",
            "secure",
            [f"[c]: no smtp_tls_security_level: {ONE}"],
        ),
    ],
)
def test_a_relay_of_nullmailer_without_tls_needs_none_beside_one_that_has_it(
    remotes: str, level: str | None, lost: list[str]
) -> None:
    found = nullmailer.read(remotes, NOWHERE)
    assert (found.settings.get("smtp_tls_security_level"), found.lost) == (level, lost)
    assert "without TLS" not in "".join(found.notes)


ESMTP = """\
# me
hostname = smtp.isp.example:587
username = "me"
password = 'pa"ss'
starttls = required
qualifydomain = isp.example
helo = box.example
force reverse_path = me@isp.example
certificate_passphrase = "hidden"
mda = "/usr/bin/procmail -d %T"
identity = ann@work.example
    hostname mx.work.example:25
    username "ann"
    password "two"
identity = x@y.example
    username x
"""


def test_esmtp_moves_with_its_identities() -> None:
    found = esmtp.read(ESMTP, NOWHERE)
    assert found.settings == {
        "relayhost": ["[smtp.isp.example]:587"],
        "smtp_tls_security_level": "secure",
        "myorigin": "isp.example",
        "smtp_helo_name": "box.example",
        "smtp_generic_maps": {"@isp.example": "me@isp.example"},
        "mailbox_command": '/usr/bin/procmail -d "$USER"',
        "sender_dependent_relayhost_maps": {"ann@work.example": "[mx.work.example]"},
        "smtp_sender_dependent_authentication": True,
    }
    assert found.logins == {"[smtp.isp.example]:587": 'me:pa"ss', "ann@work.example": "ann:two"}
    assert found.lost == [
        "identity x@y.example: it has no hostname",
        "certificate_passphrase: pymail has no such setting",
    ]
    text = (
        "identity a@b\nhostname h.example\nidentity c@d\nhostname g.example\nhelo x\nmda deliver\n"
    )
    assert esmtp.read(text, NOWHERE).settings["mailbox_command"] == "deliver"
    assert esmtp.read(text, NOWHERE).settings["relayhost"] == ["[h.example]:587"]
    (line,) = esmtp.read(text, NOWHERE).lost
    assert line == "identity c@d: helo: it holds for the default identity only"
    plain = esmtp.read("identity a@b\nhostname h.example\nstarttls enabled\n", NOWHERE)
    assert plain.settings == {
        "relayhost": ["[h.example]:587"],
        "smtp_tls_security_level": "may",
        "mydestination": [],
    }
    assert esmtp.read("", NOWHERE).lost == ["there is no identity with a hostname"]


GETMAIL = """\
[retriever]
type = SimpleIMAPSSLRetriever
server = h.example
username = me
password = секрет
"""


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        ("fetchmail", "poll h.example user me password секрет\n", "[fetch.h.example]: password"),
        ("fetchmail", "poll h.example user me folder спам, INBOX\n", "[fetch.h.example]: folders"),
        ("getmail", GETMAIL, "[fetch.h.example]: password"),
        ("postfix", "smtp_generic_maps = inline:{@x=почта@y}\n", "smtp_generic_maps"),
        ("esmtp", "hostname = h.example\nmda = /bin/почта\n", "mailbox_command"),
        ("ssmtp", "mailhub = h.example\nTLS_CA_Dir = /почта\n", "smtp_tls_CApath"),
    ],
)
def test_what_is_not_in_utf_8_is_left_out_and_told(
    box: Box, kind: str, text: str, name: str
) -> None:
    file = box.home / "old"
    file.write_bytes(text.encode("koi8-r"))
    told = f"not carried over: {name}: it is not in UTF-8: set it by hand"
    printed = box.run("pymail", "import", kind, str(file))
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert f"# {told}" in printed.stdout.decode().splitlines()
    done = box.run("pymail", "import", "--write", kind, str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert told in done.stdout.decode().splitlines()
    written = (box.config_file.parent / f"conf.d/50-{kind}.toml").read_text()
    assert name.rpartition(" ")[2] not in tomllib.loads(written)
    assert "?" not in written


@pytest.mark.parametrize("kind", ["ssmtp", "esmtp"])
def test_a_password_of_a_relay_may_have_any_bytes(box: Box, kind: str) -> None:
    text = {
        "ssmtp": "mailhub=h.example\nAuthUser=me\nAuthPass=секрет\n",
        "esmtp": "hostname = h.example:25\nusername = me\npassword = секрет\n",
    }
    (box.home / "old").write_bytes(text[kind].encode("koi8-r"))
    assert box.run("pymail", "import", "--write", kind, str(box.home / "old")).returncode == 0
    written = (box.config_file.parent / "saslpass").read_bytes()
    assert written == "[h.example] me:секрет\n".encode("koi8-r")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("2001:db8::1", "2001:db8::1", ""),
        ("[2001:db8::1]", "2001:db8::1", ""),
        ("[2001:db8::1]:2525", "2001:db8::1", ":2525"),
        ("::1", "::1", ""),
        ("[h.example]:2525", "h.example", ":2525"),
        ("h.example:2525", "h.example", ":2525"),
        ("h.example:", "h.example", ""),
    ],
)
def test_the_address_of_a_relay_may_be_one_of_ipv6(text: str, host: str, port: str) -> None:
    for found, usual in (
        (esmtp.read(f"hostname={text}\n", NOWHERE), ":587"),
        (ssmtp.read(f"mailhub={text}\n", NOWHERE), ""),
    ):
        assert found.settings["relayhost"] == [f"[{host}]{port or usual}"]


def test_what_cannot_be_taken_over_is_told_in_one_line(box: Box) -> None:
    (box.home / "other").write_text("some words\n")
    for args, status, words in (
        (("exim", "/x"), 64, "cannot import exim: it is none of postfix, msmtp"),
        (("postfix", "/nowhere/main.cf"), 66, "cannot read /nowhere/main.cf: No such file"),
        (("esmtp",), 66, "cannot find ~/.esmtprc or /etc/esmtprc: name the file"),
        (("postfix", str(box.home)), 66, "not a file"),
        (("dma", "/dev/null"), 65, "cannot import /dev/null: it is empty"),
        (("ssmtp", "/bin/true"), 65, "cannot import /bin/true: it is not a text"),
        (("msmtp", str(box.home / "other")), 65, "carried over; there is no account with a host"),
    ):
        done = box.run("pymail", "import", *args)
        assert done.returncode == status
        assert words in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    (box.home / ".esmtprc").write_text("hostname = h.example\n")
    assert b"[h.example]:587" in box.run("pymail", "import", "esmtp").stdout


def test_what_would_not_hold_is_not_written(box: Box) -> None:
    (box.home / "main.cf").write_text(
        "minimal_backoff_time = 9000s\nmaximal_backoff_time = 100s\ncompatibility_level = 3\n"
        "smtp_sasl_password_maps = hash:logins\nsmtp_sasl_auth_enable = yes\n"
    )
    (box.home / "logins").write_text("h me:secret\n")
    done = box.run("pymail", "import", "postfix", str(box.home / "main.cf"))
    assert b"# to be corrected: " in done.stdout
    done = box.run("pymail", "import", "-w", "postfix", str(box.home / "main.cf"))
    assert done.returncode == 78
    assert b"minimal_backoff_time" in done.stderr
    assert not (box.config_file.parent / "conf.d").exists()
    assert not (box.config_file.parent / "saslpass").exists()


ODD = r"""
relayhost = $x ${y?{a}:{b}} ${{
x=$x
smtp_sasl_password_maps = inline:{{a=b}
transport_maps = inline:{
mydestination = hash:/x
maximal_queue_lifetime = 99999999999999999999
host h
tls on
account a : b
account default
user u
password p
port 99999
from %U
aliases a
SMARTHOST h
PORT x
AUTHPATH a
mailhub=h:x
root=
hostname =
identity =
hostname h:x
a smtp port=x '
"""
LINES = st.lists(st.sampled_from([*ODD.splitlines(), " $y", "=", "\x00", "\u044e"]))


@given(text=st.one_of(st.text(), LINES.map("\n".join)))
def test_any_text_is_taken_over_or_refused(text: str) -> None:
    machine = NOWHERE._replace(read=lambda _: text)
    for each in (postfix, msmtp, ssmtp, dma, nullmailer, esmtp):
        try:
            found = each.read(text, machine)
        except MistakeError:
            continue
        assert set(found.settings) <= set(SETTINGS)


# --- and back ------------------------------------------------------------------------------------


def test_postfix_takes_what_is_exported_and_it_comes_back_the_same(box: Box) -> None:
    needs("postconf")
    (box.home / "maps").write_text('"two words"@box  x@isp.example\nroot@box  r@isp.example\n')
    (box.home / "canonical").write_text("/^(.*)@old$/ $1@new\n")
    box.config(
        "myhostname = 'box.example'\nmydestination = ['$myhostname', 'localhost']\n"
        "relayhost = ['[smtp.isp.example]:587', '[spare.example]']\n"
        "maximal_queue_lifetime = '3d'\nappend_dot_mydomain = true\nroot_user = 'joe'\n"
        "message_size_limit = 5000000\nmailbox_command = 'procmail -a \"$EXTENSION\"'\n"
        f"smtp_generic_maps = ['{box.home}/maps']\nalias_maps = ['/etc/aliases']\n"
        f"sender_canonical_maps = ['regexp:{box.home}/canonical']\n"
        "[smtp_sasl_password_maps]\n'[smtp.isp.example]:587' = 'me:pass word'\n"
        "[transport_maps]\n'a.example' = 'smtp:[b.example]'\n"
    )
    box.config_file.chmod(0o600)
    folder = box.home / "postfix"
    done = box.run("pymail", "export", "postfix", str(folder))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"not carried over: root_user: write an alias for root\n"
    assert (folder / "smtp_sasl_password_maps").stat().st_mode & 0o777 == 0o600

    (folder / "master.cf").touch()
    read = subprocess.run(["postconf", "-c", folder, "-n"], capture_output=True, check=True)
    assert read.stderr == b""
    theirs = read.stdout.decode()
    assert 'mailbox_command = procmail -a "$EXTENSION"' in theirs
    assert "home_mailbox = Maildir/" in theirs
    asked = subprocess.run(
        ["postmap", "-c", folder, "-q", '"two words"@box', f"texthash:{folder}/smtp_generic_maps"],
        capture_output=True,
        check=True,
    )
    assert asked.stdout == b"x@isp.example\n"

    back = postfix.read(
        (folder / "main.cf").read_text(),
        NOWHERE._replace(
            read=lambda path: (
                Path(path.replace("/etc/postfix", str(folder))).read_text()
                if path.startswith("/")
                else None  # master.cf
            )
        ),
    )
    assert back.logins == {"[smtp.isp.example]:587": "me:pass word"}
    assert back.settings["relayhost"] == ["[smtp.isp.example]:587", "[spare.example]"]
    assert back.settings["maximal_queue_lifetime"] == "259200s"
    assert back.settings["transport_maps"] == {"a.example": "smtp:[b.example]"}
    assert back.settings["sender_canonical_maps"] == [f"regexp:{box.home}/canonical"]
    assert back.settings["smtp_generic_maps"]["root@box"] == "r@isp.example"
    assert back.settings["smtp_tls_security_level"] == "secure"


@pytest.mark.parametrize(
    ("text", "wrapped", "level", "words"),
    [
        ("relayhost = '[smtp.isp.example]:465'\n", "yes", "encrypt", ""),
        (
            (
                "relayhost = '[smtp.isp.example]:465'\n"
                "[smtp_sasl_password_maps]\n'[smtp.isp.example]:465' = 'me:secret'\n"
            ),
            "yes",
            "secure",
            "",
        ),
        (
            "relayhost = ['[smtp.isp.example]:587', '[spare.example]:465']\n",
            "no",
            "may",
            "TLS from the first byte at [spare.example]:465: a transport of its own",
        ),
        ("", "no", "may", ""),
    ],
)
def test_postfix_speaks_tls_from_the_first_byte_where_we_did(
    box: Box, text: str, wrapped: str, level: str, words: str
) -> None:
    needs("postconf")
    box.config(text)
    box.config_file.chmod(0o600)
    folder = box.home / "postfix"
    done = box.run("pymail", "export", "postfix", str(folder))
    assert (done.returncode, done.stderr) == (0, b"")
    assert words in done.stdout.decode()
    assert bool(words) == bool(done.stdout)
    names = ("smtp_tls_wrappermode", "smtp_tls_security_level")
    asked = subprocess.run(
        ["postconf", "-c", folder, "-h", *names], capture_output=True, check=True, text=True
    )
    assert asked.stdout.split() == [wrapped, level]


def test_what_postfix_does_not_have_is_told(box: Box) -> None:
    needs("postconf")
    (box.home / "ways").write_text("c.example hold:\n")
    (box.home / "patterns").write_text("# hold:\n/^x/ smtp:[hold]\n/^a@/ hold:for a look\n")
    (box.home / "aliases").write_text(
        "plain: joe\nnobody: :blackhole:\nold: joe,\n :fail: 5.1.1 gone\nodd: x@@y\n"
    )
    (box.config_file.parent / "dkim").mkdir(parents=True)
    box.config(
        "relayhost = '[smtp.isp.example]:587'\nmailbox_transport = 'hold'\n"
        f"default_transport = 'hold:later'\nalias_maps = '{box.home}/aliases'\n"
        "filter = 'spamc'\n"
        f"transport_maps = ['{box.home}/ways', 'regexp:{box.home}/patterns']\n"
        "[smtp_sasl_password_maps]\n'[smtp.isp.example]:587' = 'me'\n"
        "[cron]\nfold = true\nquiet = '22:00-07:00'\n"
        "[fetch.isp]\nserver = 'imap.isp.example'\nuser = 'me'\n"
        "[fetch.work]\nserver = 'imap.work.example'\nuser = 'me'\n"
    )
    box.config_file.chmod(0o600)
    folder = box.home / "postfix"
    done = box.run("pymail", "export", "postfix", str(folder))
    assert (done.returncode, done.stderr) == (0, b"")
    told = done.stdout.decode()
    parts = (
        f"{box.home}/aliases, line 2: nobody: :blackhole: is none of Postfix: the member /dev/null",
        f"{box.home}/aliases, line 3: old: :fail: is none of Postfix: a line with error: in",
        f"{box.home}/patterns, line 3: hold: Postfix has no such transport; write retry: there",
        "[fetch.isp]: fetchmail or getmail fetches mail",
        "[fetch.work]: fetchmail or getmail fetches mail",
        "cron_fold: every letter from cron goes out",
        "cron_quiet: letters from cron come at any time",
        "default_transport = hold:later: Postfix has no such transport; with retry: mail waits",
        "dkim_directory: a milter such as opendkim signs",
        "filter: call it in mailbox_command, or in a content_filter",
        "mailbox_transport = hold: Postfix has no such transport",
        "smtp_sasl_password_maps: [smtp.isp.example]:587: the password of me is not written there",
        "transport_maps: c.example = hold:: Postfix has no such transport",
    )
    for part in parts:
        assert f"not carried over: {part}" in told
    assert told.count("\n") == len(parts)
    asked = subprocess.run(
        ["postconf", "-c", folder, "-h", "default_transport", "mailbox_transport"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert asked.stdout.splitlines() == ["retry:later", "retry:held by the transport"]
    assert (folder / "transport_maps").read_text() == "c.example retry:held by the transport\n"


@pytest.mark.parametrize(
    ("text", "path", "file"),
    [
        ("", "/etc/ssl/certs", ""),
        ("smtp_tls_CApath = '/etc/mycerts'\n", "/etc/mycerts", ""),
        ("smtp_tls_CAfile = '/etc/my.pem'\n", "", "/etc/my.pem"),
        (
            "smtp_tls_CAfile = '/etc/my.pem'\nsmtp_tls_CApath = '/etc/mycerts'\n",
            "/etc/mycerts",
            "/etc/my.pem",
        ),
    ],
)
def test_postfix_trusts_whom_we_trust(box: Box, text: str, path: str, file: str) -> None:
    needs("postconf")
    box.config(text)
    folder = box.home / "postfix"
    assert box.run("pymail", "export", "postfix", str(folder)).returncode == 0
    (folder / "master.cf").touch()
    asked = subprocess.run(
        ["postconf", "-c", folder, "-h", "smtp_tls_CApath", "smtp_tls_CAfile"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert (asked.stdout.split("\n")[:2], asked.stderr) == ([path, file], "")


OF_TRANSPORT = r"smtp_destination_(concurrency_limit|recipient_limit|rate_delay)"
"""Which postconf lists under their general names."""


def test_a_setting_is_one_of_postfix_or_is_said_not_to_be_carried_over() -> None:
    needs("postconf")
    listed = subprocess.run(["postconf", "-d"], capture_output=True, check=True, text=True)
    theirs = {line.split()[0] for line in listed.stdout.splitlines()}
    ours = {name for name in SETTINGS if not re.fullmatch(OF_TRANSPORT, name)} - theirs
    assert ours == export.OURS.keys() - theirs


def test_an_export_writes_over_nothing(box: Box) -> None:
    (box.home / "there").mkdir()
    (box.home / "there/file").touch()
    done = box.run("pymail", "export", "postfix", "there")
    assert done.returncode == 64
    assert b"it is not empty" in done.stderr
    done = box.run("pymail", "export", "postfix", "/proc/x")
    assert done.returncode == 75
    assert b"cannot write /proc/x" in done.stderr
    done = box.run("pymail", "export", "postfix", "new")
    assert done.returncode == 0
    text = (box.home / "new/main.cf").read_text()
    assert "default_transport = error:" in text
    assert "smtp_tls_security_level = may" in text
