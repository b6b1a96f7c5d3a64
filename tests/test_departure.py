"""How mail leaves: what explain tells of it, and what a server then gets to see."""

import json
from pathlib import Path

import pytest
from authority import Authority
from harness import Box
from machine import CONFIG, Machine
from relays import relay

LETTER = b"From: root (Cron Daemon)\nTo: root\nSubject: s\n\ntext\n"


def told(box: Box, *args: str) -> list[str]:
    """Return what explain says, without indentation."""
    done = box.run("pymail", "explain", *args)
    assert done.stderr == b""
    return [line.strip() for line in done.stdout.decode().splitlines()]


def test_login_tls_and_addresses_are_told_with_their_places_and_without_the_secret(
    box: Box,
) -> None:
    logins = box.config_file.parent / "saslpass"
    logins.write_text("# logins\n[smtp.isp.example]:587 me:secret word\n")
    logins.chmod(0o600)
    box.config(
        "relayhost = '[smtp.isp.example]:587'\nmyorigin = 'laptop'\n"
        f"smtp_sasl_password_maps = '{logins}'\nsmtp_fallback_relay = '[::1]:465'\n"
        "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n"
    )
    lines = told(box, "joe@example.org")
    file = box.config_file
    assert lines[-4] == f"=> SMTP to [smtp.isp.example]:587, as {box.user}"
    assert lines[-3] == (
        f"sender {box.user}@laptop is written me@isp.example:"
        f" @laptop is in smtp_generic_maps: me@isp.example ({file}, line 5)"
    )
    assert lines[-2] == (
        f"[smtp.isp.example]:587: login me (smtp_sasl_password_maps, {logins}, line 2);"
        " always TLS, with a certificate for smtp.isp.example or .smtp.isp.example"
        " (secure, default)"
    )
    words = "no login; always TLS, whoever answers, from the first byte (encrypt, default)"
    assert lines[-1] == f"[::1]:465: {words}"
    (target,) = json.loads(box.run("pymail", "explain", "-j", "joe@example.org").stdout)["targets"]
    assert target["departure"]["sender"] == "me@isp.example"
    assert target["departure"]["hops"][0]["login"].startswith("login me (")
    assert "secret word" not in json.dumps(target)
    logins.chmod(0o644)
    (line,) = [line for line in told(box, "joe@example.org") if ":587: " in line]
    assert f"login unknown: cannot use {logins}: it has a password" in line


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("none", "no TLS (none, "),
        ("may", "TLS where it is offered (may, "),
        ("encrypt", "always TLS, whoever answers (encrypt, "),
        ("fingerprint", "always TLS, with a certificate that is known (fingerprint, "),
        ("verify", "always TLS, with a certificate for r.example (verify, "),
    ],
)
def test_every_level_of_tls_has_its_words(box: Box, level: str, words: str) -> None:
    box.config(f"relayhost = '[r.example]'\nsmtp_tls_security_level = '{level}'\n")
    assert words in told(box, "joe@example.org")[-1]


def test_the_way_of_somebody_else_can_be_asked_for(box: Box) -> None:
    box.config(
        "relayhost = '[a]'\nmyorigin = 'laptop'\nmasquerade_domains = 'x.example'\n"
        "[sender_dependent_relayhost_maps]\n'bob@x.example' = '[b]'\n'<>' = '[c]'\n"
    )
    assert "=> SMTP to [a], as" in " ".join(told(box, "joe@example.org"))
    lines = told(box, "-f", "Bob <bob@host.x.example>", "joe@example.org")
    assert (
        f"bob@x.example is in sender_dependent_relayhost_maps: [b] ({box.config_file}, line"
        in (lines[2])
    )
    assert lines[4].startswith("sender bob@host.x.example is written bob@x.example: masquerade_")
    assert "=> SMTP to [c], as" in " ".join(told(box, "-f", "<>", "joe@example.org"))
    done = box.run("pymail", "explain", "-f", "a@b@c", "joe@example.org")
    assert (done.returncode, done.stderr) == (
        65,
        b"pymail: cannot use the sender a@b@c: bad address syntax\n",
    )
    done = box.run("sendmail", "-bv", "-f", "bob@x.example", "joe@example.org")
    assert done.stdout == b"joe@example.org... deliverable: mailer esmtp, host [b]\n"


def test_servers_are_looked_up_only_where_that_is_asked_for(box: Box) -> None:
    box.config("relayhost = ['[127.0.0.1]:2525', '[nosuch.invalid]']\n")
    assert "[127.0.0.1]:2525: 127.0.0.1[127.0.0.1]:2525" not in told(box, "joe@example.org")
    lines = told(box, "--net", "joe@example.org")
    assert "[127.0.0.1]:2525: 127.0.0.1[127.0.0.1]:2525" in lines
    (line,) = [line for line in lines if line.startswith("[nosuch.invalid]: ")][1:]
    assert line.partition(": ")[2].split()[0] in ("deferred", "offline")


def test_root_asks_name_servers_as_somebody_else(machine: Machine) -> None:
    machine.config("relayhost = '[127.0.0.1]:2525'\n")
    done = machine.run("root", "pymail", "explain", "--net", "joe@example.org")
    assert b"[127.0.0.1]:2525: 127.0.0.1[127.0.0.1]:2525" in done.stdout


def test_a_user_is_not_shown_the_logins_of_the_machine(machine: Machine) -> None:
    logins = CONFIG.parent / "saslpass"
    machine.config(f"relayhost = '[r]'\nsmtp_sasl_password_maps = '{logins}'\n")
    logins.write_text("[r] me:secret\n")
    logins.chmod(0o600)
    assert b"login me (" in machine.run("root", "pymail", "explain", "joe@example.org").stdout
    out = machine.run("alice", "pymail", "explain", "joe@example.org").stdout
    assert f"login unknown: cannot read {logins}: Permission denied".encode() in out
    logins.unlink()


# --- what a server gets to see ----------------------------------------------------------------


def test_mail_of_cron_gets_through_a_provider_that_insists_on_a_real_sender(box: Box) -> None:
    with relay() as server:
        box.aliases("root: me@mail.example\n")
        box.config(
            f"relayhost = '{server.hop}'\nmyorigin = 'laptop'\n"
            "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n"
        )
        box.send(LETTER, "-f", "root", "root")
        box.flush()
    (taken,) = server.taken
    assert (taken.sender, taken.recipients) == ("me@isp.example", ["me@mail.example"])
    head = taken.data.partition(b"\r\n\r\n")[0]
    assert b"\r\nFrom: me@isp.example (Cron Daemon)\r\n" in head
    assert b"\r\nTo: me@isp.example\r\n" in head
    assert b"root" not in head


def test_what_stays_here_is_not_rewritten_by_generic_maps(box: Box) -> None:
    with relay() as server:
        box.aliases(f"both: {box.user}, joe@example.org\n")
        box.config(
            f"relayhost = '{server.hop}'\nmyorigin = 'laptop'\n"
            "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n"
            "[sender_canonical_maps]\n'bob' = 'robert'\n"
        )
        box.send(b"From: Bob <bob>\nTo: both\nSubject: s\n\ntext\n", "-f", "bob", "both")
        box.flush()
    (here,) = box.maildir()
    assert here.startswith(b"Return-Path: <robert@laptop>\n")
    assert b"\nFrom: Bob <robert@laptop>\nTo: both@laptop\n" in here
    (there,) = server.taken
    assert there.sender == "me@isp.example"
    assert b"\r\nFrom: Bob <me@isp.example>\r\nTo: me@isp.example\r\n" in there.data


def test_a_bounce_goes_to_the_sender_that_was_before_generic_rewriting(box: Box) -> None:
    with relay(refuse={"joe@example.org": "550 5.1.1 no such user"}) as server:
        box.config(
            f"relayhost = '{server.hop}'\nmyorigin = 'laptop'\n"
            "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n"
        )
        box.send(LETTER, "joe@example.org")
        box.flush()
    (bounce,) = box.maildir()
    assert f"Delivered-To: {box.user}@laptop\n".encode() in bounce
    assert server.taken == []


def test_each_sender_has_a_relay_and_a_domain_its_transport(box: Box) -> None:
    with relay() as one, relay() as two, relay() as three:
        transports = box.config_file.parent / "transport"
        transports.write_text(f"# text of Postfix\nexample.net\n smtp:{three.hop}\n")
        box.config(
            f"relayhost = '{one.hop}'\nmyorigin = 'laptop'\ntransport_maps = '{transports}'\n"
            f"[sender_dependent_relayhost_maps]\n'@work.example' = '{two.hop}'\n"
        )
        box.send(LETTER, "-f", "a@home.example", "joe@example.org")
        box.send(LETTER, "-f", "a@work.example", "joe@example.org")
        box.send(LETTER, "-f", "a@work.example", "joe@example.net")
        box.flush()
    assert [t.sender for t in one.taken] == ["a@home.example"]
    assert [(t.sender, t.recipients) for t in two.taken] == [
        ("a@work.example", ["joe@example.org"])
    ]
    assert [t.recipients for t in three.taken] == [["joe@example.net"]]


def test_each_sender_has_a_login_of_its_own(box: Box, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.context("good", "127.0.0.1")
    users = {"home": "h", "work": "w", "all": "a"}
    with relay(tls, users=users) as one, relay(tls, users=users) as two:
        logins = box.config_file.parent / "saslpass"
        logins.write_text(f"a@home.example home:h\n@work.example work:w\n{one.hop} all:a\n")
        logins.chmod(0o600)
        box.config(
            f"relayhost = '{one.hop}'\nsmtp_tls_CAfile = '{authority.file}'\n"
            f"smtp_sasl_password_maps = '{logins}'\n"
            "smtp_sender_dependent_authentication = true\n"
            f"[sender_dependent_relayhost_maps]\n'@work.example' = '{two.hop}'\n"
        )
        for sender in ("a@home.example", "b@home.example", "a@work.example"):
            box.send(LETTER, "-f", sender, "joe@example.org")
        box.flush()
    assert {(t.sender, t.user) for t in one.taken} == {
        *(("a@home.example", "home"), ("b@home.example", "all"))
    }
    assert [(t.sender, t.user) for t in two.taken] == [("a@work.example", "work")]


def test_a_change_of_the_relay_does_not_send_twice(box: Box) -> None:
    """A message for two recipients, one put off; the relay changes meanwhile."""
    with relay(refuse={"slow@example.org": "450 4.2.0 later"}) as one, relay() as two:
        box.aliases("both: joe@example.org, slow@example.org\n")
        box.config(f"relayhost = '{one.hop}'\n")
        box.send(LETTER, "both")
        box.flush()
        box.config(f"relayhost = '{two.hop}'\n")
        box.flush("-a")
    assert [t.recipients for t in one.taken] == [["joe@example.org"]]
    assert [t.recipients for t in two.taken] == [["slow@example.org"]]
    assert box.queue() == []


def test_a_broken_table_stops_the_run_before_anything_is_tried(box: Box) -> None:
    box.send(LETTER, box.user)
    box.config("transport_maps = '/no/such/table'\n")
    done = box.run("flush")
    assert (done.returncode, done.stderr) == (
        78,
        b"flush: cannot read /no/such/table: No such file or directory\n",
    )
    assert len(box.queue()) == 1
    box.config("")
    box.flush()
    assert len(box.maildir()) == 1
