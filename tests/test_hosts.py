"""From next hops to servers, by what a real name server says."""

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from dialogues import configured
from harness import needs
from nameserver import BROKEN, RESOLVER, NameServer, ask_here, deaf, lying, name_server

from pymail import hosts, names, nexthop
from pymail.hosts import UnresolvedError

HOME = ("192.0.2.10", "2001:db8::10")
"""The addresses of this machine, in a network that leads away."""

NOT_FOUND = "Host or domain name not found. Name service error for name="

ZONES = {
    "good.test": """
        @    MX 20 backup
        @    MX 10 one
        @    MX 10 two
        one    A 192.0.2.1
        two    A 192.0.2.2
        backup A 192.0.2.3
        alias  CNAME good.test.
        alone  A 192.0.2.4
        null   MX 0 .
        empty  TXT "nothing else"
    """,
    "elsewhere.test": """
        x      CNAME alone.good.test.
        round  CNAME circle
        circle CNAME round
    """,
    "parts.test": """
        some MX 10 nobody
        some MX 20 lost.broken.test.
        some MX 30 one.good.test.
        none MX 10 nobody
        none MX 20 empty
        late MX 10 nobody
        late MX 20 lost.broken.test.
        empty TXT "x"
        odd  MX 10 a\\032b
        odd  MX 20 one.good.test.
        number MX 10 192.0.2.7.
        mixed MX 0 .
        mixed MX 10 one.good.test.
    """,
    "loop.test": """
        us     MX 10 box.example.net.
        us     MX 20 one.good.test.
        backup MX 10 one.good.test.
        backup MX 20 two.good.test.
        backup MX 20 here
        backup MX 30 alone.good.test.
        lost   MX 10 lost.broken.test.
        lost   MX 20 here
        here   A 192.0.2.10
        six    MX 10 here6
        here6  AAAA 2001:db8::10
        self   A 192.0.2.10
    """,
    "mad.test": """
        a MX 10 m1
        m1 A 127.0.0.1
        m1 AAAA ::1
        b MX 10 m2
        m2 A 0.0.0.0
        c MX 10 m3
        m3 A 224.0.0.1
        m3 AAAA ff02::1
        d MX 10 m4
        m4 AAAA ::ffff:127.0.0.1
        e MX 10 m5
        m5 A 169.254.169.254
        f MX 10 m6
        m6 A 127.0.0.1
        m6 A 192.0.2.1
        g A 127.0.0.1
    """,
    "both.test": """
        @ MX 10 x
        @ MX 20 y
        x A 192.0.2.21
        x A 192.0.2.22
        x AAAA 2001:db8::21
        x AAAA 2001:db8::22
        y A 192.0.2.23
        six MX 10 z
        z AAAA 2001:db8::23
    """,
    "many.test": "\n".join(
        [f"@ MX {n} a-long-name-of-an-exchanger-{n}" for n in range(40)]
        + [f"a-long-name-of-an-exchanger-{n} A 198.51.100.{n}" for n in range(40)]
    ),
    "xn--e1afmkfd.xn--p1ai": "@ MX 10 mx\nmx A 192.0.2.30",
    "xn--fa-hia.de": "@ MX 10 mx\nmx A 192.0.2.31",
    "fass.de": "@ MX 10 mx\nmx A 192.0.2.32",
    "broken.test": BROKEN,
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(scope="module")
def online(factory) -> Iterator[None]:
    """Give this machine a network with nobody in it."""
    needs("ip")
    factory()
    ip("link", "add", "way0", "type", "veth", "peer", "name", "way1")
    ip("addr", "add", f"{HOME[0]}/24", "dev", "way0")
    ip("addr", "add", f"{HOME[1]}/64", "dev", "way0", "nodad")
    ip("link", "set", "way0", "up")
    ip("link", "set", "way1", "up")
    yield
    ip("link", "del", "way0")


@pytest.fixture(scope="module")
def real(online, tmp_path_factory) -> Iterator[NameServer]:
    with name_server(tmp_path_factory.mktemp("dns"), ZONES) as server:
        yield server


@pytest.fixture
def dns(real) -> NameServer:
    ask_here()
    names.forget()
    return real


def found(text: str, **settings: object) -> list[tuple[str, str]]:
    """Return name and address of the servers of a next hop."""
    hop = nexthop.parse(text)
    servers = hosts.servers(hop, configured(**settings))
    assert {(server.port, server.hop) for server in servers} == {(hop.port, hop)}
    return [(server.name, server.address) for server in servers]


def refused(text: str, **settings: object) -> tuple[str, str, str]:
    """Return what becomes of mail for a next hop that has no servers."""
    with pytest.raises(UnresolvedError) as caught:
        found(text, **settings)
    outcome = caught.value.outcome
    assert outcome.words.isprintable()
    return outcome.status, outcome.dsn, outcome.words


def addresses(text: str, **settings: object) -> list[str]:
    return [address for _, address in found(text, **settings)]


def test_exchangers_are_tried_by_preference_and_those_alike_at_random(dns):
    orders = {tuple(found("good.test")) for _ in range(60)}
    one, two = ("one.good.test", "192.0.2.1"), ("two.good.test", "192.0.2.2")
    backup = ("backup.good.test", "192.0.2.3")
    assert orders == {(one, two, backup), (two, one, backup)}


def test_a_domain_without_exchangers_is_its_own(dns):
    assert found("alone.good.test") == [("alone.good.test", "192.0.2.4")]


@pytest.mark.parametrize("name", ["alias.good.test", "x.elsewhere.test"])
def test_aliases_are_followed(dns, name):
    assert addresses(name, smtp_mx_address_limit=1)[0] in ("192.0.2.1", "192.0.2.2", "192.0.2.4")


def test_aliases_that_go_round_are_a_reason_to_wait(dns):
    assert refused("round.elsewhere.test")[:2] == ("deferred", "4.4.3")


def test_a_null_mx_is_final(dns):
    words = "Domain null.good.test does not accept mail (nullMX)"
    assert refused("null.good.test") == ("bounced", "5.1.10", words)
    assert addresses("mixed.parts.test") == ["192.0.2.1"]


@pytest.mark.parametrize("name", ["nosuch.test", "nosuch.good.test", "nosuch"])
def test_a_domain_that_does_not_exist_is_final(dns, name):
    words = f"{NOT_FOUND}{name} type=MX: Host not found"
    assert refused(name) == ("bounced", "5.1.2", words)


def test_a_domain_without_any_address_is_final(dns):
    words = f"{NOT_FOUND}empty.good.test type=A: Host found but no data record of requested type"
    assert refused("empty.good.test") == ("bounced", "5.4.4", words)


@pytest.mark.parametrize(
    "name", ["a..b.test", "a" * 64 + ".test", ".".join(["abc"] * 70), "a\\.b.test"]
)
def test_a_name_that_cannot_exist_is_final(dns, name):
    status, dsn, words = refused(name)
    assert (status, dsn) == ("bounced", "5.1.2")
    assert "no name that can exist" in words or "Host not found" in words


def test_a_name_server_that_fails_is_a_reason_to_wait(dns):
    words = f"{NOT_FOUND}lost.broken.test type=MX: Host not found, try again"
    assert refused("lost.broken.test") == ("deferred", "4.4.3", words)


def test_a_silent_name_server_is_a_reason_to_wait(online, monkeypatch):
    monkeypatch.setattr(names, "LIFETIME", 1)
    ask_here("127.0.0.54")
    names.forget()
    with deaf("127.0.0.54"):
        assert refused("good.test")[:2] == ("deferred", "4.4.3")
        assert refused("[nosuch.good.test]")[:2] == ("deferred", "4.4.3")


def record(data: bytes, *, kind: int = 15, name: bytes = b"\xc0\x0c") -> bytes:
    """Return an answer's record as it goes over the wire."""
    size = len(data).to_bytes(2, "big")
    return name + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + size + data


def head(asked: bytes, flags: int = 0x8180, count: int = 1) -> bytes:
    """Return the beginning of an answer, with the question."""
    return asked[:2] + flags.to_bytes(2, "big") + b"\0\1" + count.to_bytes(2, "big") + asked[8:]


LIES = {
    "nothing": lambda _: b"",
    "garbage": lambda _: b"\xff" * 100,
    "the question": lambda asked: asked,
    "another number": lambda asked: b"\0\0" + head(asked, count=0)[2:],
    "another question": lambda asked: head(asked, count=0).replace(b"good", b"evil"),
    "no question": lambda asked: asked[:2] + b"\x81\x80" + bytes(8),
    "refusal": lambda asked: head(asked, 0x8185, 0),
    "not implemented": lambda asked: head(asked, 0x8184, 0),
    "format error": lambda asked: head(asked, 0x8181, 0),
    "truncated": lambda asked: head(asked, 0x8380, 0),
    "less than said": lambda asked: head(asked, count=9) + record(b"\0\x0a\0"),
    "a name in a circle": lambda asked: head(asked) + record(b"\0\x0a\xc0\x28", name=b"\xc0\x1b"),
    "a short MX": lambda asked: head(asked) + record(b"\0"),
    "a long label": lambda asked: head(asked) + record(b"\0\x0a\x7f" + b"a" * 127 + b"\0"),
    "an alias of itself": lambda asked: head(asked) + record(b"\xc0\x0c", kind=5),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_name_server_that_talks_nonsense_is_a_reason_to_wait(online, monkeypatch, lie):
    monkeypatch.setattr(names, "LIFETIME", 1)
    ask_here("127.0.0.56")
    names.forget()
    with lying(LIES[lie], "127.0.0.56"):
        assert refused("good.test")[:2] == ("deferred", "4.4.3")


def test_a_name_server_that_is_not_there_is_a_reason_to_wait(online, monkeypatch):
    monkeypatch.setattr(names, "LIFETIME", 1)
    ask_here("127.0.0.55")
    names.forget()
    assert refused("good.test")[:2] == ("deferred", "4.4.3")


@pytest.mark.parametrize("text", [None, "", "nameserver nonsense\n", "search good.test\n"])
def test_without_a_name_server_that_of_this_machine_is_asked(dns, text):
    RESOLVER.unlink()
    if text is not None:
        RESOLVER.write_text(text)
    with lying(lambda asked: head(asked) + record(b"\xc6\x33\x64\1", kind=1), "127.0.0.1"):
        answer = names.ask("one.good.test", "A", names.deadline())
    assert answer.records == ("198.51.100.1",)


def test_who_has_no_time_left_asks_nobody(dns):
    assert names.ask("one.good.test", "A", time.monotonic()).fault == "silent"


def test_without_threads_questions_are_asked_one_after_another(dns, monkeypatch):
    def none(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert addresses("both.test", smtp_mx_address_limit=0)[4] == "192.0.2.23"


def test_a_second_name_server_is_asked(dns):
    ask_here("127.0.0.55", "127.0.0.53")
    names.forget()
    assert addresses("alone.good.test") == ["192.0.2.4"]


def test_exchangers_without_address_are_passed_over(dns):
    assert found("some.parts.test") == [("one.good.test", "192.0.2.1")]


def test_exchangers_that_all_have_no_address_are_final_unless_one_may_have(dns):
    words = f"{NOT_FOUND}nobody.parts.test type=A: Host not found"
    assert refused("none.parts.test") == ("bounced", "5.4.4", words)
    words = f"{NOT_FOUND}lost.broken.test type=A: Host not found, try again"
    assert refused("late.parts.test") == ("deferred", "4.4.3", words)


def test_exchangers_with_odd_names_do_no_harm(dns):
    assert addresses("odd.parts.test") == ["192.0.2.1"]
    assert found("number.parts.test") == [("192.0.2.7", "192.0.2.7")]


def test_we_send_to_none_that_is_no_better_than_we_are(dns):
    assert addresses("backup.loop.test") == ["192.0.2.1"]


@pytest.mark.parametrize("name", ["us", "six", "self", "here"])
def test_mail_that_leads_back_to_us_comes_back(dns, name):
    status, dsn, words = refused(f"{name}.loop.test")
    assert (status, dsn) == ("bounced", "5.4.6")
    assert words.startswith(f"mail for {name}.loop.test loops back to myself")


def test_a_backup_waits_for_an_exchanger_that_cannot_be_found(dns):
    words = "unable to find primary relay for lost.loop.test"
    assert refused("lost.loop.test") == ("deferred", "4.4.4", words)


def test_another_port_of_ours_is_another_server(dns):
    assert "192.0.2.10" in addresses("backup.loop.test:2525")


@pytest.mark.parametrize("name", "abcdeg")
def test_exchangers_with_addresses_of_nobody_are_final(dns, name):
    status, dsn, words = refused(f"{name}.mad.test")
    assert (status, dsn) == ("bounced", "5.4.4")
    assert "no address that another machine can have" in words


def test_an_address_of_nobody_beside_a_good_one_is_left_out(dns):
    assert addresses("f.mad.test") == ["192.0.2.1"]


@pytest.mark.parametrize("hop", ["[127.0.0.1]:2525", "[::1]", "[192.0.2.1]", "[ipv6:2001:db8::1]"])
def test_an_address_that_was_written_is_taken_as_it_is(dns, hop):
    assert addresses(hop) == [nexthop.parse(hop).host]


def test_a_host_in_brackets_is_looked_up_as_every_program_does(dns):
    assert addresses("[localhost]") == ["127.0.0.1"]
    assert found("[one.good.test]:587") == [("one.good.test", "192.0.2.1")]


def test_a_host_in_brackets_that_does_not_exist_returns_no_mail(dns):
    status, dsn, words = refused("[nosuch.good.test]:587")
    assert (status, dsn) == ("deferred", "4.4.4")
    assert words.startswith("cannot find host nosuch.good.test: ")
    assert refused("[" + "a" * 70 + "]")[:2] == ("deferred", "4.4.4")


@pytest.mark.parametrize("name", ["nosuch.test", "null.good.test", "us.loop.test", "a.mad.test"])
@pytest.mark.parametrize("setting", ["relayhost", "smtp_fallback_relay"])
def test_a_mistake_in_a_relay_returns_no_mail(dns, name, setting):
    status, dsn, _ = refused(name, **{setting: ["[x]", name]})
    assert (status, dsn[0]) == ("deferred", "4")


def test_protocols_can_be_left_out(dns):
    assert {":" in each for each in addresses("both.test", inet_protocols=["ipv6"])} == {True}
    assert {":" in each for each in addresses("both.test", inet_protocols=["ipv4"])} == {False}
    assert refused("six.both.test", inet_protocols=["ipv4"])[:2] == ("bounced", "5.4.4")
    assert refused("[::1]", inet_protocols=["ipv4"])[:2] == ("deferred", "4.4.4")


def test_a_dead_protocol_is_never_tried_twice_in_a_row(dns):
    orders = [[":" in each for each in addresses("both.test")] for _ in range(60)]
    assert all(order[:4] in ([True, False] * 2, [False, True] * 2) for order in orders)
    assert {order[0] for order in orders} == {True, False}
    assert all(len(order) == 5 for order in orders)


def test_a_protocol_without_a_way_is_for_those_only_who_have_no_other(dns):
    ip("-6", "addr", "flush", "dev", "way0")
    try:
        assert addresses("both.test", smtp_mx_address_limit=2)[1].startswith("192.0.2.2")
        assert addresses("six.both.test") == ["2001:db8::23"]
    finally:
        ip("addr", "add", f"{HOME[1]}/64", "dev", "way0", "nodad")


def test_only_so_many_addresses_are_tried(dns):
    assert len(addresses("both.test", smtp_mx_address_limit=2)) == 2
    assert len(addresses("both.test", smtp_mx_address_limit=0)) == 5


def test_an_answer_too_long_for_a_packet_is_had_all_the_same(dns):
    assert addresses("many.test", smtp_mx_address_limit=0) == [
        f"198.51.100.{number}" for number in range(40)
    ]


@pytest.mark.parametrize(
    ("domain", "name", "address"),
    [
        ("пример.рф", "mx.xn--e1afmkfd.xn--p1ai", "192.0.2.30"),
        ("faß.de", "mx.xn--fa-hia.de", "192.0.2.31"),
    ],
)
def test_a_domain_in_other_letters_is_asked_for_in_those_of_dns(dns, domain, name, address):
    (server,) = hosts.servers(nexthop.parse(domain), configured())
    assert (server.name, server.address) == (name, address)


def test_what_is_known_is_not_asked_again(real):
    ask_here()
    names.forget()
    good, bad = addresses("alone.good.test"), refused("nosuch.test")
    real.stop()
    try:
        assert addresses("ALONE.good.test") == good
        assert refused("nosuch.test") == bad
    finally:
        real.update({})


def test_memory_has_an_end(monkeypatch):
    monkeypatch.setattr(names, "MOST_KEPT", 3)
    memory = names._Memory()
    for number in range(9):
        memory.keep((f"{number}", "A"), names.Answer(("192.0.2.1",)))
    assert [number for number in range(9) if memory.find((f"{number}", "A"))] == [6, 7, 8]


def test_many_ask_at_the_same_time(dns):
    questions = [(f"a-long-name-of-an-exchanger-{n}.many.test", "A") for n in range(40)]
    answers = names.ask_all(questions, names.deadline())
    assert [answer.records for answer in answers] == [(f"198.51.100.{n}",) for n in range(40)]


@pytest.mark.parametrize("text", ["good.test", "[one.good.test]"])
def test_without_a_network_nothing_is_known(online, monkeypatch, text):
    monkeypatch.setattr(names, "LIFETIME_OFFLINE", 1)
    ask_here("127.0.0.54")
    names.forget()
    ip("link", "set", "way0", "down")
    try:
        with deaf("127.0.0.54"):
            status, dsn, words = refused(text)
    finally:
        ip("link", "set", "way0", "up")
        ip("addr", "add", f"{HOME[1]}/64", "dev", "way0", "nodad")
    assert (status, dsn) == ("offline", "4.4.0")
    assert words.startswith("offline: ")


def test_the_name_that_is_said_is_one_that_resolves(dns):
    def said(here: str = HOME[0], *, direct: bool = True, **settings: object) -> str:
        return names.helo_name(configured(**settings), here, direct=direct)

    assert said(myhostname="one.good.test") == "one.good.test"
    assert said(myhostname="nosuch.good.test") == "[192.0.2.10]"
    assert said(myhostname="nosuch.good.test", direct=False) == "nosuch.good.test"
    assert said(HOME[1], myhostname="nosuch.good.test") == "[IPv6:2001:db8::10]"
    assert said(myhostname="empty.good.test") == "[192.0.2.10]"
    assert said(myhostname="lost.broken.test") == "lost.broken.test"
    assert said(myhostname="box", direct=False) == "[192.0.2.10]"
    assert said(myhostname="пример.рф") == "[192.0.2.10]"
    assert said(myhostname="one.good.test", smtp_helo_name="Any.Name") == "any.name"
    assert said(myhostname="one.good.test", smtp_helo_name="[192.0.2.9]") == "[192.0.2.9]"


def test_the_whole_of_a_silent_resolution_has_an_end(online, monkeypatch):
    monkeypatch.setattr(names, "LIFETIME", 2)
    ask_here("127.0.0.54")
    names.forget()
    with deaf("127.0.0.54"):
        until = names.deadline()
        questions = [(f"{number}.test", "A") for number in range(100)]
        answers = names.ask_all(questions, until)
        assert {answer.fault for answer in answers} == {"silent"}
        assert re.match("Host not found, try again", answers[0].words)
        assert socket.getdefaulttimeout() is None
