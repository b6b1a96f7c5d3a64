"""MTA-STS: policies read from a real HTTPS server, kept, and obeyed."""

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from authority import Authority
from dialogues import configured
from harness import needs
from hypothesis import given
from hypothesis import strategies as st
from nameserver import NameServer, ask_here, name_server

from pymail import hosts, mtasts, names, nexthop
from pymail.hosts import UnresolvedError

NOW = 1_800_000_000
DAY = 86400
GOOD = (
    "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmx: *.other.test\r\nmax_age: 864000\r\n"
)
ENFORCED = ("mx.good.test", "*.other.test")


@dataclass
class Site:
    """What the policy host of good.test answers, and how often it was asked."""

    text: str = GOOD
    status: int = 200
    kind: str = "text/plain; charset=utf-8"
    pause: float = 0
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(site: Site, context: ssl.SSLContext, port: int = 443) -> Iterator[None]:
    """Run an HTTPS server with one page, and another one where redirects lead."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(f"{self.headers['Host']} {self.path}")
            moved = self.path.startswith("/.well") and 300 <= site.status < 400
            self.send_response(site.status if moved or site.status > 399 else 200)
            self.send_header("Content-Type", site.kind)
            self.send_header("Location", "https://mta-sts.good.test/moved")
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in site.text if site.pause else [site.text]:
                    self.wfile.write(piece.encode())
                    time.sleep(site.pause)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", port), Page)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def zone(record: str) -> str:
    return f"""
        @    MX 10 mx
        @    MX 20 mx.other.test.
        @    MX 30 evil.test.
        mx   A 192.0.2.1
        mta-sts A 127.0.0.1
        {record}
    """


def announced(name: str) -> str:
    return f'_mta-sts TXT "v=STSv1; " "id={name};"'


@pytest.fixture(scope="module")
def dns(factory, tmp_path_factory) -> Iterator[NameServer]:
    factory()
    others = {"other.test": "mx A 192.0.2.2", "evil.test": "@ A 192.0.2.3\n@ MX 10 @"}
    place = tmp_path_factory.mktemp("dns")
    with name_server(place, {"good.test": zone(announced("one")), **others}) as server:
        yield server


@pytest.fixture
def site(dns, authority) -> Iterator[Site]:
    ask_here()
    names.forget()
    here = Site()
    with serving(here, authority.context("good", "mta-sts.good.test")):
        yield here


@pytest.fixture
def cache(tmp_path) -> Path:
    place = tmp_path / "cache"
    place.mkdir()
    return place


@pytest.fixture
def policy(authority, cache):
    config = configured(smtp_tls_CAfile=str(authority.file))
    return lambda now=NOW: mtasts.policy("good.test", config, str(cache), now)


def test_a_policy_is_read_once_and_kept(site, policy, cache):
    assert policy() == ENFORCED
    assert policy(NOW + 60) == ENFORCED
    assert site.asked == ["mta-sts.good.test /.well-known/mta-sts.txt"]
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    assert (file.name, kept["id"], kept["until"]) == ("good.test", "one", NOW + 864000)


def test_without_a_directory_a_policy_counts_all_the_same(site, authority):
    config = configured(smtp_tls_CAfile=str(authority.file))
    assert mtasts.policy("good.test", config, "", NOW) == ENFORCED
    assert mtasts.policy("good.test", config, "/nonexistent", NOW) == ENFORCED


@pytest.mark.parametrize(
    ("mode", "patterns"), [("enforce", ENFORCED), ("testing", ()), ("none", ())]
)
def test_only_an_enforced_policy_counts(site, policy, mode, patterns):
    site.text = GOOD.replace("enforce", mode)
    assert policy() == patterns
    assert policy() == patterns
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"status": 404},
        {"status": 301},
        {"status": 302},
        {"status": 307},
        {"status": 500},
        {"kind": "text/html"},
        {"text": ""},
        {"text": GOOD + "x" * mtasts.SIZE},
        {"text": "<html>sign in</html>"},
    ],
)
def test_what_is_no_policy_is_not_asked_for_again_at_once(site, policy, facts):
    for name, value in facts.items():
        setattr(site, name, value)
    assert policy() == ()
    assert policy(NOW + 299) == ()
    assert len(site.asked) == 1
    site.text, site.status, site.kind = GOOD, 200, "text/plain"
    assert policy(NOW + 300) == ENFORCED


def test_a_policy_holds_though_it_cannot_be_read_any_more(dns, site, policy):
    assert policy() == ENFORCED
    site.status = 500
    dns.update({"good.test": zone(announced("two"))})
    names.forget()
    assert policy(NOW + 60) == ENFORCED
    dns.update({"good.test": zone("")})
    names.forget()
    assert policy(NOW + 60) == ENFORCED
    dns.update({"good.test": None})
    names.forget()
    assert policy(NOW + 863999) == ENFORCED
    assert policy(NOW + 864000) == ()
    dns.update({"good.test": zone(announced("one"))})


def test_a_new_policy_replaces_the_old_one(dns, site, policy):
    assert policy() == ENFORCED
    site.text = GOOD.replace("mx.good.test", "new.good.test")
    assert policy(NOW + 60) == ENFORCED
    dns.update({"good.test": zone(announced("three"))})
    names.forget()
    assert policy(NOW + 60) == ("new.good.test", "*.other.test")
    dns.update({"good.test": zone(announced("one"))})


def test_a_policy_is_read_again_every_day(site, policy):
    assert policy() == ENFORCED
    site.status = 500
    assert policy(NOW + DAY) == ENFORCED
    assert policy(NOW + DAY + 60) == ENFORCED
    assert len(site.asked) == 2
    site.status = 200
    assert policy(NOW + DAY + 300) == ENFORCED
    assert policy(NOW + 12 * DAY - 1) == ENFORCED
    assert len(site.asked) == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"mx": 1}', '{"mx": [], "x": 1}', "\0"])
def test_a_damaged_memory_is_none(site, policy, cache, damage):
    (cache / "good.test").write_text(damage)
    assert policy() == ENFORCED
    assert policy() == ENFORCED
    assert len(site.asked) == 1


def test_memory_has_an_end(site, policy, cache, monkeypatch):
    monkeypatch.setattr(mtasts, "MOST_DOMAINS", 3)
    for number in range(5):
        file = cache / f"{number}.test"
        file.write_text("{}")
        os.utime(file, (NOW, NOW + number - 3))
    assert policy() == ENFORCED
    assert sorted(os.listdir(cache)) == ["3.test", "4.test", "good.test"]


@pytest.mark.parametrize("kind", ["expired", "strange", "old", "wrong"])
def test_only_the_right_server_may_tell_a_policy(dns, authority, policy, kind):
    ask_here()
    names.forget()
    name = "good.test" if kind == "wrong" else "mta-sts.good.test"
    site = Site()
    with serving(site, authority.context(kind.replace("wrong", "good"), name)):
        assert policy() == ()
    assert site.asked == []


def test_a_slow_server_holds_nobody_up(site, policy, monkeypatch):
    monkeypatch.setattr(mtasts, "FETCH_TIME", 1)
    site.pause = 0.5
    begun = time.monotonic()
    assert policy() == ()
    assert time.monotonic() - begun < 20


def test_no_server_is_no_policy(dns, policy):
    ask_here()
    names.forget()
    assert policy() == ()


def test_who_announces_nothing_is_not_asked(dns, site, policy):
    dns.update({"good.test": zone('_mta-sts TXT "v=STSv2; id=one"')})
    names.forget()
    assert policy() == ()
    assert site.asked == []
    dns.update({"good.test": zone(announced("one"))})


@pytest.fixture
def way() -> Iterator[None]:
    """Give this machine a network, so that want of answers is not want of a network."""
    needs("ip")
    for words in (
        "link add way2 type veth peer name way3",
        "addr add 203.0.113.1/24 dev way2",
        "link set way2 up",
        "link set way3 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    yield
    subprocess.run(["ip", "link", "del", "way2"], check=True)


def test_servers_outside_of_the_policy_are_left_out(site, way, authority, cache):
    config = configured(smtp_tls_CAfile=str(authority.file))
    found = hosts.servers(nexthop.parse("good.test"), config, str(cache))
    assert [(server.name, server.sts) for server in found] == [
        ("mx.good.test", ENFORCED),
        ("mx.other.test", ENFORCED),
    ]


def test_mail_waits_where_no_server_is_in_the_policy(site, way, authority, cache):
    config = configured(smtp_tls_CAfile=str(authority.file))
    site.text = GOOD.replace("mx: mx.good.test\r\nmx: *.other.test", "mx: mx.elsewhere.test")
    with pytest.raises(UnresolvedError) as caught:
        hosts.servers(nexthop.parse("good.test"), config, str(cache))
    outcome = caught.value.outcome
    words = "no mail exchanger of good.test is one that its MTA-STS policy allows"
    assert (outcome.status, outcome.dsn, outcome.words) == ("deferred", "4.7.5", words)


@pytest.mark.parametrize(
    "settings", [{"smtp_tls_mta_sts": False}, {"relayhost": ["good.test"]}], ids=["off", "relay"]
)
def test_no_policy_is_asked_for_where_none_counts(site, way, authority, settings):
    config = configured(smtp_tls_CAfile=str(authority.file), **settings)
    found = hosts.servers(nexthop.parse("good.test"), config)
    assert [server.name for server in found] == ["mx.good.test", "mx.other.test", "evil.test"]
    assert {server.sts for server in found} == {()}
    assert site.asked == []


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=a"], "a"),
        (["v=STSv1 ; x=y ; id = a ;"], "a"),
        (["v=spf1 -all", "v=STSv1; id=a"], "a"),
        (["v=STSv1; id=a", "v=STSv1; id=b"], ""),
        (["v=STSv1; id=a-b"], ""),
        (["v=STSv1; id=" + "a" * 33], ""),
        (["v=STSv1; xid=a"], ""),
        (["v=STSv10; id=a"], ""),
        (["v=STSv1"], ""),
        (["id=a; v=STSv1"], ""),
        ([], ""),
    ],
)
def test_a_record_says_which_policy_there_is(records, found):
    assert mtasts.identify(tuple(records)) == found


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\r\n", "\n"),
        GOOD.replace(": ", ":"),
        GOOD.replace(": ", ": \t"),
        GOOD.removesuffix("\r\n"),
        GOOD + "extra: anything: at all\r\nnonsense\r\n",
        GOOD + "mode: none\r\nmax_age: 1\r\nversion: STSv2\r\n",
        GOOD.replace("mx.good.test", "MX.Good.Test."),
    ],
)
def test_a_policy_may_be_written_in_several_ways(text):
    found = mtasts.parse(text, "one", NOW)
    assert found == mtasts.Policy("one", "enforce", ENFORCED, NOW, NOW + 864000)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("STSv1", "STSv2"),
        ("version: STSv1\r\n", ""),
        ("enforce", "enforced"),
        ("mode: enforce\r\n", ""),
        ("max_age: 864000\r\n", ""),
        ("864000", "-1"),
        ("864000", "1e3"),
        ("864000", "٣"),
        ("864000", "1" * 11),
        ("mx: mx.good.test\r\nmx: *.other.test\r\n", ""),
        ("mx.good.test", "*"),
        ("mx.good.test", "mx.*.test"),
        ("mx.good.test", ""),
        ("mx.good.test", "a b"),
        ("mx: mx.good.test\r\n", "mx: mx.good.test\r\n" * 101),
    ],
)
def test_what_says_no_policy_is_none(old, new):
    assert old in GOOD
    assert mtasts.parse(GOOD.replace(old, new), "one", NOW) is None


def test_a_policy_holds_for_a_year_at_most():
    found = mtasts.parse(GOOD.replace("864000", "9999999999"), "one", NOW)
    assert found
    assert found.until == NOW + mtasts.MOST_AGE


@given(st.text())
def test_any_text_is_a_policy_or_none(text):
    for each in (text, GOOD + text, GOOD.replace("enforce", text)):
        found = mtasts.parse(each, "one", NOW)
        assert found is None or found.mode in ("enforce", "testing", "none")
    mtasts.identify((text, "v=STSv1;" + text))


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("mx.good.test", True),
        ("MX.GOOD.TEST.", True),
        ("a.other.test", True),
        ("a.b.other.test", False),
        ("other.test", False),
        ("good.test", False),
        ("evilother.test", False),
        ("", False),
    ],
)
def test_a_pattern_stands_for_one_label(name, fits):
    assert mtasts.matches(name, ENFORCED) is fits
