"""A little internet of real Postfixes, each on a host of its own: mail goes to all of them."""

import email
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from authority import Authority
from internet import RESOLVER, hosts
from machine import Machine
from nameserver import ask_here, name_server
from postfixes import Postfix, dovecot_auth, postfix
from test_cron import FLUSH, daemon, scheduled, wait

__all__ = ["scheduled"]

LETTER = (
    "Subject: письмо\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\nтекст\n"
).encode()
DIRECT = "default_transport = 'smtp'\n"
USERS = ("joe", "ann", "alice")
Got = Callable[..., list[EmailMessage]]


@pytest.fixture(scope="module")
def servers(factory, tmp_path_factory) -> Iterator[dict[str, Postfix]]:
    """Three domains on three hosts, one that only IPv6 reaches, and a host without a server.

    example.net, the domain of this machine, has its mail taken by the third.
    """
    factory()
    top = tmp_path_factory.mktemp("internet")
    with ExitStack() as stack:
        one, two, three, dead = stack.enter_context(hosts(4))
        zones = {
            "one.test": f"@ MX 10 mx\nmx A {one.ip}",
            "two.test": f"@ MX 10 dead\n@ MX 20 mx\ndead A {dead.ip}\nmx A {two.ip}",
            "three.test": f"@ A {three.ip}\nmx A {three.ip}",
            "six.test": f"@ MX 10 mx\nmx AAAA {two.ip6}",
            "null.test": "@ MX 0 .",
            "dead.test": f"@ MX 10 mx\nmx A {dead.ip}",
            "example.net": f"@ MX 10 mx.three.test.\nbox A {RESOLVER}",
        }
        dns = name_server(top / "dns", zones, addresses=(RESOLVER,))
        stack.enter_context(dns)
        ask_here(RESOLVER)
        forwarded = {
            "virtual_alias_domains": "",
            "virtual_alias_maps": "inline:{ {moved@one.test = nobody-there@one.test} }",
            "relay_domains": "dead.test",
            "transport_maps": "inline:{ {dead.test = virtual} }",
        }
        plan = (
            ("one", one, one.ip, ("one.test", "dead.test"), forwarded),
            ("two", two, two.ip, ("two.test",), {}),
            ("three", three, three.ip, ("three.test", "example.net"), {}),
            ("six", two, two.ip6, ("six.test",), {}),
        )
        yield {
            name: stack.enter_context(
                postfix(
                    top / name,
                    hostname=f"mx.{domains[0]}",
                    domains=domains,
                    users=USERS,
                    address=address,
                    smtp_port=25,
                    settings=settings,
                    within=host.within,
                )
            )
            for name, host, address, domains, settings in plan
        }


@pytest.fixture
def direct(machine: Machine, servers) -> Machine:
    """A machine on that internet, which sends directly."""
    ask_here(RESOLVER)
    machine.config(DIRECT)
    return machine


@pytest.fixture
def got(servers: dict[str, Postfix]) -> Got:
    """What has come to an address during this test: once there are as many letters as that."""

    def letters(address: str, count: int) -> list[bytes]:
        user, _, domain = address.partition("@")
        name = "three" if domain == "example.net" else domain.partition(".")[0]
        name = "one" if name == "dead" else name
        return servers[name].letters(domain, user, count)

    # Not by place: within a second Postfix's names are not in the order of arrival.
    before: dict[str, list[bytes]] = {}
    domains = ("one.test", "two.test", "three.test", "six.test", "dead.test", "example.net")
    for address in (f"{user}@{domain}" for user in USERS for domain in domains):
        before[address] = letters(address, 0)

    def new(address: str, count: int = 1) -> list[EmailMessage]:
        old = before[address]
        found = [data for data in letters(address, len(old) + count) if data not in old]
        return [email.message_from_bytes(data, policy=default) for data in found]

    return new


def reasons(machine: Machine) -> list[str]:
    lines = machine.run("root", "mailq", "-j").stdout.splitlines()
    return [each["delay_reason"] for line in lines for each in json.loads(line)["recipients"]]


def test_a_letter_to_several_domains_comes_to_each_once(direct, got):
    to = ["joe@one.test", "ann@one.test", "joe@two.test", "joe@three.test", "joe@six.test"]
    direct.send("alice", LETTER, *to)
    said = direct.flush("-v").stdout
    assert direct.queue() == [], said
    for address in to:
        (letter,) = got(address)
        assert letter["Return-Path"] == "<alice@example.net>"
        assert letter["From"] == "Alice Liddell <alice@example.net>"
        assert letter["Subject"] == "письмо"
        assert letter.get_content() == "текст\n"
    direct.flush("-a")
    assert [len(got(address)) for address in to] == [1] * len(to)


def test_the_second_exchanger_is_taken_where_the_first_is_dead(direct, got):
    direct.send("alice", LETTER, "ann@two.test")
    said = direct.flush("-v").stdout.decode()
    assert "relay=mx.two.test[" in said
    assert len(got("ann@two.test")) == 1


def test_a_domain_with_addresses_only_is_its_own_exchanger(direct, got):
    direct.send("alice", LETTER, "ann@three.test")
    assert "relay=three.test[192.0.2.10]:25" in direct.flush("-v").stdout.decode()
    assert len(got("ann@three.test")) == 1


def test_a_domain_of_ipv6_is_reached_by_ipv6(direct, got):
    direct.send("alice", LETTER, "ann@six.test")
    assert "relay=mx.six.test[2001:db8:1::2]:25" in direct.flush("-v").stdout.decode()
    assert len(got("ann@six.test")) == 1


def test_a_domain_of_ipv6_has_no_exchanger_for_who_speaks_ipv4_only(direct):
    direct.config(f"{DIRECT}inet_protocols = ['ipv4']\n")
    direct.send("alice", LETTER, "ann@six.test")
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert b"name=mx.six.test type=A: Host found but no data record" in bounce.data


def test_a_domain_that_takes_no_mail_bounces_at_once(direct):
    direct.send("alice", LETTER, "joe@null.test")
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert b"Status: 5.1.10" in bounce.data
    assert direct.queue() == []


def test_a_user_whom_the_other_side_does_not_know_comes_back_with_its_words(direct):
    direct.send("alice", LETTER, "nobody@one.test")
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert b"Remote-MTA: dns; mx.one.test" in bounce.data
    assert b"Diagnostic-Code: smtp; 550 5.1.1 <nobody@one.test>" in bounce.data
    assert bounce.values("return-path") == ["<>"]


def test_a_dead_domain_is_deferred_and_goes_by_the_fallback_relay_where_there_is_one(direct, got):
    direct.send("alice", LETTER, "joe@dead.test")
    direct.flush()
    (reason,) = reasons(direct)
    assert "connect to mx.dead.test[192.0.2.14]:25: Connection refused" in reason
    direct.config(f"{DIRECT}smtp_fallback_relay = ['[mx.one.test]']\n")
    assert "relay=mx.one.test[192.0.2.2]:25" in direct.flush("-av").stdout.decode()
    assert len(got("joe@dead.test")) == 1
    assert direct.queue() == []


def test_a_bounce_that_is_made_out_there_comes_back_to_the_domain_of_the_sender(direct, got):
    direct.send("alice", LETTER, "moved@one.test")
    assert b"status=sent" in direct.flush("-v").stdout
    (bounce,) = got("alice@example.net")
    assert bounce["Return-Path"] == "<>"
    assert bounce.get_content_type() == "multipart/report"
    assert "nobody-there@one.test" in bounce.as_string()


def test_what_the_sender_asked_for_is_passed_on_and_told_in_the_report_from_there(direct, got):
    dialogue = (
        "EHLO x\r\nMAIL FROM:<alice@example.net> RET=HDRS ENVID=id+2B1\r\n"
        "RCPT TO:<moved@one.test> NOTIFY=FAILURE ORCPT=rfc822;first@list.test\r\n"
        "DATA\r\nSubject: s\r\n\r\nsecret body\r\n.\r\nQUIT\r\n"
    )
    direct.run("alice", "sendmail", "-bs", stdin=dialogue.encode())
    direct.flush()
    (bounce,) = got("alice@example.net")
    text = bounce.as_string()
    assert "Original-Recipient: rfc822;first@list.test" in text
    assert "Original-Envelope-Id: id+1" in text
    assert [part.get_content_type() for part in bounce.iter_parts()][-1] == "text/rfc822-headers"
    assert "secret body" not in text


def test_options_of_sendmail_ask_for_the_same(direct, got):
    options = ("-N", "failure", "-R", "hdrs", "-V", "id-2")
    direct.send("alice", b"Subject: s\n\nsecret body\n", *options, "moved@one.test")
    direct.flush()
    (bounce,) = got("alice@example.net")
    text = bounce.as_string()
    assert "Original-Recipient: rfc822;moved@one.test" in text
    assert "Original-Envelope-Id: id-2" in text
    assert "secret body" not in text


def test_who_wants_no_report_gets_none_from_there(direct, got):
    direct.send("alice", LETTER, "-N", "never", "moved@one.test")
    direct.send("alice", LETTER, "-V", "last", "moved@one.test")
    direct.flush()
    assert ["last" in bounce.as_string() for bounce in got("alice@example.net")] == [True]


def test_a_notice_of_success_comes_from_the_last_server_that_can_make_one(direct, got):
    direct.send("alice", LETTER, "-N", "success,failure", "-V", "id-4", "joe@one.test")
    assert b"status=sent" in direct.flush("-v").stdout
    (notice,) = got("alice@example.net")
    assert notice.get_content_type() == "multipart/report"
    text = notice.as_string()
    assert "Action: delivered" in text
    assert "Original-Recipient: rfc822;joe@one.test" in text
    assert "Original-Envelope-Id: id-4" in text
    direct.flush()
    assert direct.mail("alice") == []  # one.test understands DSN: none of our own


def test_a_server_without_dsn_leaves_the_notice_of_success_to_us(direct, got):
    direct.config(f"{DIRECT}smtp_discard_ehlo_keywords = ['dsn']\n")
    direct.send("alice", LETTER, "-N", "success", "joe@one.test")
    direct.flush()
    direct.flush()
    (notice,) = direct.mail("alice")
    report = email.message_from_bytes(notice.data, policy=default)
    (status,) = (p for p in report.walk() if p.get_content_type() == "message/delivery-status")
    assert [block["Action"] for block in status.get_payload() if block["Action"]] == ["relayed"]


def test_a_report_of_our_own_has_what_the_sender_asked_for(direct):
    dialogue = (
        "EHLO x\r\nMAIL FROM:<alice@example.net> RET=HDRS ENVID=id+2B3\r\n"
        "RCPT TO:<nobody@one.test> NOTIFY=FAILURE ORCPT=rfc822;first@list.test\r\n"
        "DATA\r\nSubject: s\r\n\r\nsecret body\r\n.\r\nQUIT\r\n"
    )
    direct.run("alice", "sendmail", "-bs", stdin=dialogue.encode())
    direct.flush()
    (bounce,) = direct.mail("alice")
    assert b"\nOriginal-Recipient: rfc822;first@list.test\n" in bounce.data
    assert b"\nOriginal-Envelope-Id: id+3\n" in bounce.data
    assert b"secret body" not in bounce.data


def test_mail_of_cron_goes_out_by_a_relay_that_wants_a_login(
    scheduled: Machine, servers, tmp_path: Path
):
    """In system mode: root logs in once, and cron's own environment is enough from then on."""
    machine, password = scheduled, "correct horse battery"
    authority = Authority(tmp_path)
    pem = authority.pem("good", "127.0.0.1")
    with (
        dovecot_auth(tmp_path / "dovecot", {"me@isp.example": password}) as sasl,
        postfix(tmp_path / "relay", tls=pem, sasl=sasl) as relay,
    ):
        ca = Path("/etc/ssl/relay-ca.pem")
        ca.write_bytes(authority.file.read_bytes())
        ca.chmod(0o644)
        machine.config(
            f"relayhost = '{relay.hop()}'\nsmtp_tls_CAfile = '{ca}'\n"
            "[smtp_generic_maps]\n'@example.net' = 'me@isp.example'\n"
        )
        done = machine.run(
            "root", "pymail", "login", relay.hop(), "me@isp.example", stdin=f"{password}\n".encode()
        )
        assert done.returncode == 0, done.stderr
        table = b"MAILTO=boss@elsewhere.example\n* * * * * echo report\n"
        assert machine.run("carol", "crontab", "-", stdin=table).returncode == 0
        Path("/etc/cron.d/pymail").write_text(FLUSH)
        with daemon("cron", "-f"):
            wait(135, lambda: bool(relay.letters("relayed", "joe", 0)))
        (letter, *_) = relay.letters("relayed", "joe", 1)
        found = email.message_from_bytes(letter, policy=default)
        assert found["Return-Path"] == "<me@isp.example>"
        assert "me@isp.example" in found["From"]
        assert found["Subject"].startswith("Cron <carol@box>")
        assert found.get_content() == "report\n"
        assert "sasl_username=me@isp.example" in relay.log()
        assert " with ESMTPSA id " in " ".join(found.get_all("Received"))
        for file in ("/var/spool/pymail/log", "/var/log/mail.log"):
            assert not Path(file).exists() or password not in Path(file).read_text()
