"""pymail doctor: what is wrong is found, and nothing else; the remedy is one that helps."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import PATH, argv, measured
from hypothesis import given
from hypothesis import strategies as st
from internet import RESOLVER, Host, hosts
from machine import CONFIG, Machine
from nameserver import NameServer, ask_here, name_server
from relays import free_port, relay

from pymail import dmarc, spf, standing

ADDRESS = "93.184.216.34"
BANNER = """
import socket
server = socket.create_server(("", 25))
print("ready", flush=True)
while True:
    there, _ = server.accept()
    there.sendall(b"220 witness\\r\\n")
    there.close()
"""


@pytest.fixture(scope="module")
def dns(factory: Callable[[], object], tmp_path_factory) -> Iterator[tuple[NameServer, str]]:
    """A name server, and the address of a host that answers on port 25."""
    factory()
    with hosts(1) as (host,):
        witness = subprocess.Popen(
            [*host.within, sys.executable, "-c", BANNER], stdout=subprocess.PIPE
        )
        assert witness.stdout
        assert witness.stdout.readline() == b"ready\n"
        place = tmp_path_factory.mktemp("dns")
        with name_server(place, {"box.test": "@ A 192.0.2.1"}, addresses=(RESOLVER,)) as server:
            ask_here(RESOLVER)
            yield server, host.ip
        witness.terminate()
        witness.communicate()


def published(machine: Machine, witness: str) -> dict[str, str]:
    """Set a machine up that sends directly; return zones in which everything is right."""
    machine.config(
        "myhostname = 'mail.box.test'\nmyorigin = 'box.test'\n"
        "mydestination = ['box.test', 'mail.box.test', 'localhost']\ndefault_transport = 'smtp'\n"
    )
    made = machine.run("root", "pymail", "dkim", "new", "--selector", "s1", "box.test")
    assert made.returncode == 0, made.stderr
    shown = machine.run("root", "pymail", "dkim", "show", "box.test").stdout.decode()
    record = next(line for line in shown.splitlines() if "IN TXT" in line)
    return {
        "gmail.com": f"@ MX 5 mx\nmx A {witness}",
        "box.test": (
            f"@ A {ADDRESS}\nmail A {ADDRESS}\n"
            f'@ TXT "v=spf1 include:spf.box.test -all"\nspf TXT "v=spf1 a:mail.box.test ?all"\n'
            f'{record}\n_dmarc TXT "v=DMARC1; p=reject"'
        ),
        "93.in-addr.arpa": "34.216.184 PTR mail.box.test.",
        "zen.spamhaus.org": "2.0.0.127 A 127.0.0.2",
        "bl.spamcop.net": "2.0.0.127 A 127.0.0.2",
        "b.barracudacentral.org": "2.0.0.127 A 127.0.0.2",
    }


def findings(machine: Machine, *args: str) -> tuple[int, list[dict[str, str]]]:
    done = machine.run("root", "pymail", "doctor", "--json", *args)
    assert done.stderr == b""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    # That nothing starts flush here, and that the spool is in memory, is true, and told.
    return done.returncode, [each for each in found if each["part"] != "local"]


def test_a_machine_with_every_record_right_is_green(machine: Machine, dns) -> None:
    server, witness = dns
    server.update(published(machine, witness))
    _, found = findings(machine, "--address", ADDRESS)
    assert [(each["part"], each["level"]) for each in found] == [
        ("port 25", "ok"),
        ("hello", "ok"),
        ("reverse name", "ok"),
        ("SPF", "ok"),
        ("DKIM", "ok"),
        ("DMARC", "ok"),
        ("block list", "ok"),
    ], found
    assert "2 of 10 look-ups" in found[3]["text"]


@pytest.mark.parametrize(
    ("zone", "old", "new", "part", "text", "remedy"),
    [
        ("gmail.com", "mx A", "other A", "port 25", "Name service error", "resolv"),
        ("box.test", f"mail A {ADDRESS}", "mail A 192.0.2.9", "hello", "which is not", "IN A"),
        (
            "93.in-addr.arpa",
            "34.216.184",
            "1.1.1",
            "reverse name",
            "has none",
            "IN PTR mail.box.test.",
        ),
        (
            "93.in-addr.arpa",
            "mail.box.test.",
            "other.box.test.",
            "reverse name",
            "is called other.box.test, which is not",
            f"other.box.test. IN A {ADDRESS}",
        ),
        (
            "box.test",
            "include:spf.box.test -all",
            "-all",
            "SPF",
            "fail: -all of box.test",
            f'box.test. IN TXT "v=spf1 ip4:{ADDRESS} -all"',
        ),
        (
            "box.test",
            '"v=spf1 include',
            '"v=spf2 include',
            "SPF",
            "no SPF record",
            f"ip4:{ADDRESS} -all",
        ),
        ("box.test", "a:mail.box.test", "ipv4:1.2.3.4", "DMARC", "", ""),
        (
            "box.test",
            "spf TXT",
            "spg TXT",
            "SPF",
            "include:spf.box.test: spf.box.test has no",
            "correct",
        ),
        ("box.test", "s1._domainkey", "s2._domainkey", "DKIM", "there is no s1._domainkey", "p="),
        ("box.test", "p=MII", "p=MIJ", "DKIM", "has another key than /etc/pymail/dkim", "v=DKIM1"),
        ("box.test", "_dmarc TXT", "_dmorc TXT", "DMARC", "says nothing", '"v=DMARC1; p=none"'),
        (
            "zen.spamhaus.org",
            "2.0.0.127 A 127.0.0.2",
            "34.216.184.93 A 127.0.0.4",
            "block list",
            f"{ADDRESS} is on zen.spamhaus.org",
            "ask to be taken off",
        ),
        (
            "zen.spamhaus.org",
            "2.0.0.127 A 127.0.0.2",
            "34.216.184.93 A 127.255.255.254",
            "block list",
            "does not answer your name server",
            "name server of your own",
        ),
    ],
)
def test_one_record_wrong_is_one_finding(  # noqa: PLR0917
    machine: Machine, dns, zone: str, old: str, new: str, part: str, text: str, remedy: str
) -> None:
    server, witness = dns
    zones = published(machine, witness)
    assert old in zones[zone]
    wrong = zones[zone].replace(old, new)
    server.update({**zones, zone: wrong})
    _, found = findings(machine, "--address", ADDRESS)
    bad = [each for each in found if each["level"] != "ok"]
    if not text:  # SPF that cannot be read, where DKIM is enough
        assert [each["part"] for each in bad] == ["SPF"]
        return
    (finding,) = [each for each in bad if each["part"] == part]
    assert text in finding["text"]
    assert remedy in finding["remedy"]
    assert len(bad) <= 3  # a name that is not ours shows in several places


def test_a_dynamic_address_is_told_with_its_proof(machine: Machine, dns) -> None:
    server, witness = dns
    zones = published(machine, witness)
    name = "34-216-184-93.dyn.isp.test"
    zones["93.in-addr.arpa"] = f"34.216.184 PTR {name}."
    zones["isp.test"] = f"34-216-184-93.dyn A {ADDRESS}"
    zones["zen.spamhaus.org"] = "34.216.184.93 A 127.0.0.10"
    server.update(zones)
    status, found = findings(machine, "--address", ADDRESS)
    assert status == 78
    (verdict,) = [each for each in found if each["part"] == "dynamic address"]
    assert f"{name} is made of the address" in verdict["text"]
    assert "zen.spamhaus.org" in verdict["text"]
    assert "pymail setup" in verdict["remedy"]
    machine.run("root", "pymail", "config", "set", "smtp_fallback_relay", "[relay.test]:587")
    _, found = findings(machine, "--address", ADDRESS)
    (verdict,) = [each for each in found if each["part"] == "dynamic address"]
    assert verdict["level"] == "warning"
    assert "goes to [relay.test]:587" in verdict["text"]


@pytest.mark.parametrize("address", ["nonsense", "mail.box.test", "192.0.2.300", "2001:db8::/32"])
def test_what_is_no_address_is_refused_before_anything_is_looked_at(
    machine: Machine, address: str
) -> None:
    machine.config("default_transport = 'smtp'\n")
    done = machine.run("root", "pymail", "doctor", "--address", address)
    told = (
        f"pymail: cannot look at {address}: it is no address of the Internet, such as 192.0.2.1\n"
    )
    assert (done.returncode, done.stdout, done.stderr.decode()) == (64, b"", told)


def test_an_address_may_be_written_in_any_way(machine: Machine, dns) -> None:
    server, witness = dns
    zones = published(machine, witness)
    zones["box.test"] += "\nmail AAAA 2606:2800:220:1::1946\n"
    server.update(zones)
    _, found = findings(machine, "--address", "2606:2800:0220:0001:0:0:0:1946")
    (hello,) = [each for each in found if each["part"] == "hello"]
    assert (hello["level"], "2606:2800:220:1::1946" in hello["text"]) == ("ok", True)


def test_a_private_address_proves_nothing(machine: Machine, dns) -> None:
    server, witness = dns
    server.update(published(machine, witness))
    status, found = findings(machine)
    assert status == 78
    assert [each["part"] for each in found] == ["port 25", "address", "dynamic address"]
    assert "--address" in found[1]["remedy"]


def test_a_machine_without_a_network_is_told_that_and_nothing_else(machine: Machine) -> None:
    machine.config("default_transport = 'smtp'\n")
    done = subprocess.run(
        ["unshare", "-n", *argv("pymail", "doctor", "--json")],
        capture_output=True,
        env=measured({"PATH": PATH, "HOME": "/root"}),
        check=False,
    )
    assert done.returncode == 78
    found = [json.loads(line) for line in done.stdout.splitlines()]
    (finding,) = [each for each in found if each["part"] != "local"]
    assert (finding["part"], finding["text"]) == ("address", "there is no way out")
    assert finding["remedy"] == "connect this machine to a network"


def test_a_machine_with_ipv6_only_has_a_way_out(machine: Machine) -> None:
    host = Host(7)
    try:
        for words in ("-4 addr flush scope global", "-4 route flush table main"):
            subprocess.run([*host.within, "ip", *words.split()], check=True)
        told = []
        for protocols in ("'all'", "'ipv4'"):
            machine.config(f"default_transport = 'smtp'\ninet_protocols = {protocols}\n")
            done = subprocess.run(
                [*host.within, *argv("pymail", "doctor", "--json")],
                capture_output=True,
                env=measured({"PATH": PATH, "HOME": "/root"}),
                check=False,
            )
            found = [json.loads(line) for line in done.stdout.splitlines()]
            told += [each["text"] for each in found if each["part"] == "address"]
    finally:
        host.close()
    assert told == ["this machine has the private address 2001:db8:7::2", "there is no way out"]


def test_a_login_that_cannot_be_used_is_a_finding(machine: Machine) -> None:
    secrets = CONFIG.parent / "saslpass"
    machine.config(f"relayhost = '[127.0.0.1]:25'\nsmtp_sasl_password_maps = '{secrets}'\n")
    secrets.write_text("[127.0.0.1]:25 me:secret\n")
    secrets.chmod(0o644)
    status, (finding,) = findings(machine)
    assert (status, finding["level"]) == (78, "error")
    assert finding["text"].endswith("others may read it: chmod 600")


def test_a_relay_is_asked_as_cron_would(machine: Machine, tmp_path) -> None:
    authority = Authority(tmp_path)
    authorities = Path("/run/ca.pem")  # the user pymail, too, has to read it
    authorities.write_bytes(authority.file.read_bytes())
    tls = authority.context("good", "127.0.0.1")
    with relay(tls, users={"me": "pass word"}) as server:
        machine.config(
            f"relayhost = '{server.hop}'\nsmtp_tls_CAfile = '{authorities}'\n"
            "smtp_sasl_password_maps = '/etc/pymail/saslpass'\n"
        )
        secrets = CONFIG.parent / "saslpass"
        for password, level, words in (
            ("pass word", "ok", "takes me, also from cron"),
            ("wrong", "error", "cannot log in"),
        ):
            secrets.write_text(f"{server.hop} me:{password}\n")
            secrets.chmod(0o600)
            _, found = findings(machine)
            assert [each["level"] for each in found] == [level], found
            assert words in found[0]["text"]
            assert "pass word" not in json.dumps(found)
    machine.config(f"relayhost = '[127.0.0.1]:{free_port()}'\n")
    _, found = findings(machine)
    assert found[0]["level"] == "error"
    assert "cannot reach [127.0.0.1]" in found[0]["text"]
    with relay() as server:
        machine.config(f"relayhost = '{server.hop}'\n")
        _, found = findings(machine)
    assert found[0]["text"] == f"{server.hop} answers; there is no login for it"


def test_a_broken_configuration_and_mail_that_stays_are_told(machine: Machine) -> None:
    machine.config("nonsense = [\n")
    done = machine.run("root", "pymail", "doctor")
    assert done.returncode == 78
    assert done.stdout.startswith(b"error: local: cannot read /etc/pymail/config.toml")
    machine.config("")
    done = machine.run("root", "pymail", "doctor")
    assert b"note: outside: mail for other domains does not leave: pymail setup" in done.stdout


# --- DMARC (RFC 9989) -----------------------------------------------------------------------------

RECORDS = {
    "example.co.uk": "v=DMARC1; p=reject; sp=quarantine",
    "own.example.co.uk": "v=DMARC1;p=none",
    "plain.test": "v=DMARC1; p=Reject",
    "psd.test": "v=DMARC1; p=reject; psd=y",
    "org.psd.test": "v=DMARC1; p=none; sp=quarantine",
    "free.psd.test": "v=DMARC1; p=none; psd=n",
    "odd.test": "v=DMARC1; p=whatever",
}


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("example.co.uk", ("example.co.uk", "reject")),
        ("mail.example.co.uk", ("example.co.uk", "quarantine")),
        ("a.b.c.example.co.uk", ("example.co.uk", "quarantine")),
        ("own.example.co.uk", ("own.example.co.uk", "none")),
        ("below.own.example.co.uk", ("example.co.uk", "quarantine")),
        ("x.plain.test", ("plain.test", "reject")),
        ("x.org.psd.test", ("org.psd.test", "quarantine")),
        ("x.free.psd.test", ("free.psd.test", "none")),
        ("other.psd.test", ("psd.test", "reject")),
        ("odd.test", ("odd.test", "none")),
        ("two.test", None),
        ("nobody.example", None),
    ],
)
def test_dmarc_is_looked_for_up_to_the_organization(domain: str, found: tuple | None) -> None:
    def answers(name: str, kind: str) -> tuple[tuple[str, ...], str]:
        assert kind == "TXT"
        place = name.removeprefix("_dmarc.")
        asked.append(place)
        if place == "two.test":
            return ("v=DMARC1; p=reject", "v=DMARC1; p=none"), ""
        return ((RECORDS[place], "other") if place in RECORDS else ()), ""

    asked: list[str] = []
    assert dmarc.find(domain, answers) == found
    assert len(asked) <= 8
    deep = f"a.b.c.d.e.f.g.h.i.{domain}"
    asked.clear()
    dmarc.find(deep, answers)
    assert asked == [deep, *(".".join(deep.split(".")[-n:]) for n in range(7, 0, -1))][: len(asked)]


def test_a_parents_policy_for_its_subdomains_is_told(machine: Machine, dns) -> None:
    server, witness = dns
    zones = published(machine, witness)
    server.update(zones | {"box.test": zones["box.test"].replace("p=reject", "p=none; sp=reject")})
    machine.config("myorigin = 'mail.deep.box.test'\ndefault_transport = 'smtp'\n")
    _, found = findings(machine, "--address", ADDRESS)
    (finding,) = [each for each in found if each["part"] == "DMARC"]
    assert finding["level"] == "error"
    assert finding["text"].startswith("box.test asks to reject what is not authentic")


# --- SPF (RFC 7208) ------------------------------------------------------------------------------

ZONES: dict[tuple[str, str], tuple[str, ...]] = {
    ("a.test", "TXT"): ("v=spf1 a mx/24 ip4:192.0.2.0/28 ~all", "other"),
    ("a.test", "A"): ("203.0.113.1",),
    ("a.test", "MX"): ("10 mx.a.test.",),
    ("mx.a.test", "A"): ("203.0.113.77",),
    ("r.test", "TXT"): ("v=spf1 redirect=a.test",),
    ("i.test", "TXT"): ("v=spf1 include:a.test -all",),
    ("e.test", "TXT"): ("v=spf1 exists:%{ir}.%{l1r+}.%{v}.e.test ?all",),
    ("9.113.0.203.joe.in-addr.e.test", "A"): ("127.0.0.2",),
    ("two.test", "TXT"): ("v=spf1 -all", "v=spf1 +all"),
    ("loop.test", "TXT"): ("v=spf1 include:loop.test -all",),
    ("void.test", "TXT"): ("v=spf1 a:x.test a:y.test a:z.test -all",),
    ("odd.test", "TXT"): ("v=spf1 ip4:nonsense -all",),
    ("word.test", "TXT"): ("v=spf1 what:ever -all",),
    ("p.test", "TXT"): ("v=spf1 ptr:p.test -all",),
    ("5.113.0.203.in-addr.arpa", "PTR"): ("host.p.test.",),
    ("host.p.test", "A"): ("203.0.113.5",),
    ("six.test", "TXT"): ("v=spf1 ip6:2001:db8::/32 a:six.test//64 -all",),
    ("six.test", "AAAA"): ("2001:db9::1",),
    ("gone.test", "TXT"): ("v=spf1 redirect=nobody.test",),
    ("many.test", "TXT"): ("v=spf1 mx -all",),
    ("many.test", "MX"): tuple(f"{n} m{n}.test." for n in range(11)),
    ("case.test", "TXT"): ("V=SPF1 IP4:203.0.113.0/24 -ALL",),
    ("mod.test", "TXT"): ("v=spf1 exp=why.test unknown=x ip4:203.0.113.0/24",),
    ("bare.test", "TXT"): ("v=spf1 include: -all",),
    ("cidr.test", "TXT"): ("v=spf1 a/x -all",),
}


def ask(name: str, kind: str) -> tuple[tuple[str, ...], str]:
    if name == "silent.test":
        return (), "silent"
    return ZONES.get((name, kind), ()), ""


@pytest.mark.parametrize(
    ("address", "domain", "verdict", "why"),
    [
        ("203.0.113.1", "a.test", "pass", "a of a.test"),
        ("203.0.113.9", "a.test", "pass", "mx/24 of a.test"),
        ("192.0.2.9", "a.test", "pass", "ip4:192.0.2.0/28 of a.test"),
        ("192.0.2.16", "a.test", "softfail", "~all of a.test"),
        ("192.0.2.9", "r.test", "pass", "ip4:192.0.2.0/28 of a.test"),
        ("192.0.2.9", "i.test", "pass", "include:a.test of i.test"),
        ("198.51.100.1", "i.test", "fail", "-all of i.test"),
        ("203.0.113.9", "e.test", "pass", "exists"),
        ("203.0.113.8", "e.test", "neutral", "?all"),
        ("192.0.2.9", "none.test", "none", "none.test has no SPF record"),
        ("192.0.2.9", "two.test", "permerror", "2 SPF records"),
        ("192.0.2.9", "loop.test", "permerror", "more than 10 look-ups"),
        ("192.0.2.9", "void.test", "permerror", "find nothing"),
        ("192.0.2.9", "odd.test", "permerror", "is no network"),
        ("192.0.2.9", "word.test", "permerror", "there is no what"),
        ("203.0.113.5", "p.test", "pass", "ptr:p.test"),
        ("2001:db8::1", "six.test", "pass", "ip6:2001:db8::/32"),
        ("2001:db9::ffff", "six.test", "pass", "a:six.test//64"),
        ("2001:dba::1", "six.test", "fail", "-all"),
        ("192.0.2.9", "gone.test", "permerror", "redirect=nobody.test"),
        ("192.0.2.9", "many.test", "permerror", "more than 10 MX records"),
        ("192.0.2.9", "silent.test", "temperror", "nobody answers"),
        ("203.0.113.9", "case.test", "pass", "IP4"),
        ("203.0.113.9", "mod.test", "pass", "ip4"),
        ("198.51.100.1", "mod.test", "neutral", "no term of mod.test fits"),
        ("192.0.2.9", "bare.test", "permerror", "names no domain"),
        ("192.0.2.9", "cidr.test", "permerror", "cannot be understood"),
    ],
)
def test_spf_says_what_the_rfc_says(address: str, domain: str, verdict: str, why: str) -> None:
    found = spf.check(address, f"joe+x@{domain}", "helo.test", ask)
    assert (found.verdict, why in found.why) == (verdict, True), found


@given(
    record=st.text(alphabet="v=spf1 aimx:/%{}ldorh.-+~?0123456789_ptrexistsincludeall", max_size=80)
)
def test_any_spf_record_comes_to_a_verdict(record: str) -> None:
    def answer(name: str, kind: str) -> tuple[tuple[str, ...], str]:
        return ((f"v=spf1 {record}",) if kind == "TXT" and name == "x.test" else ("192.0.2.1",)), ""

    found = spf.check("192.0.2.7", "joe@x.test", "h", answer)
    assert found.verdict in ("pass", "fail", "softfail", "neutral", "none", "permerror")
    assert found.lookups <= spf.MOST_LOOKUPS + 1


@pytest.mark.parametrize(
    ("name", "address", "generic"),
    [
        ("mail.example.org", "203.0.113.7", False),
        ("mx1.7.example.org", "203.0.113.7", False),
        ("203-0-113-7.isp.example", "203.0.113.7", True),
        ("h7.113.0.203.dynamic.ppp.isp.example", "203.0.113.7", True),
        ("cb007107.isp.example", "203.0.113.7", True),
        ("p203000113007.isp.example", "203.0.113.7", True),
        ("dsl-9.isp.example", "203.0.113.7", True),
        ("host.dyn.example", "203.0.113.7", True),
        ("dynamo.example", "203.0.113.7", False),
        ("pool.example.org", "203.0.113.7", True),
        ("mail.example.org", "2001:db8::7", False),
        ("x-0000-0000-0000-0007.isp.example", "2001:db8::7", True),
    ],
)
def test_names_that_are_made_of_addresses_are_known(
    name: str,
    address: str,
    generic: bool,  # noqa: FBT001
) -> None:
    assert bool(standing.generic(name, address)) == generic


def test_errors_of_block_lists_are_no_listings() -> None:
    for answers, verdict in (
        ((), ""),
        (("127.0.0.2",), "listed"),
        (("127.0.0.10",), "policy"),
        (("127.0.0.11", "127.0.0.4"), "listed"),
        (("127.255.255.252",), "refused"),
        (("192.0.2.1",), ""),
        (("nonsense",), ""),
    ):
        assert standing.listing(answers) == verdict
    assert standing.question("192.0.2.99", "x.test") == "99.2.0.192.x.test"
    assert standing.question("2001:db8::1", "x.test").startswith("1.0.0.0.")
