"""TLS: how much of it is asked for, and which certificates are the right ones."""

import ssl
import subprocess
from contextlib import suppress

import pytest
from authority import Authority
from dialogues import configured, playing, read, server
from harness import DATA, needs

from pymail import tls
from pymail.nexthop import parse
from pymail.transport.smtp import Session
from pymail.transport.tunnel import Tunnel
from pymail.transport.wire import LostError


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def policy(hop="[mx.example.net]", host="mx.example.net", *, login=False, sts=(), **settings):
    """Return the policy for a server; "port" comes from the next hop."""
    next_hop = parse(hop)
    config = configured(**settings)
    return tls.policy(config, next_hop, host, next_hop.port, login=login, sts=sts)


def test_a_login_is_worth_a_verified_server_and_mail_alone_is_not():
    assert policy().level == "may"
    assert policy(login=True).level == "secure"
    assert policy(login=True, smtp_tls_security_level="may").level == "may"
    assert policy(smtp_tls_security_level="none").level == "none"


@pytest.mark.parametrize("level", ["", "none", "may", "encrypt"])
@pytest.mark.parametrize(
    ("hop", "settings"),
    [("[mx.example.net]:465", {}), ("[mx.example.net]:587", {"smtp_tls_wrappermode": True})],
)
def test_tls_from_the_first_byte_is_never_optional(level, hop, settings):
    asked = policy(hop, smtp_tls_security_level=level, **settings)
    assert (asked.level, asked.wrapped) == ("encrypt", True)
    assert asked.required


@pytest.mark.parametrize(
    ("level", "hop", "host", "names"),
    [
        ("encrypt", "example.org", "mx1.example.org", ()),
        ("verify", "example.org", "mx1.example.org", ("mx1.example.org",)),
        ("secure", "example.org", "mx.elsewhere.net", ("example.org", ".example.org")),
        ("secure", "[smtp.isp.ru]:587", "smtp.isp.ru", ("smtp.isp.ru", ".smtp.isp.ru")),
        ("secure", "[192.0.2.1]", "192.0.2.1", ("192.0.2.1",)),
        ("secure", "[2001:db8::1]", "2001:db8::1", ("2001:db8::1",)),
        ("verify", "почта.рф", "mx.почта.рф", ("mx.xn--80a1acny.xn--p1ai",)),
        ("verify", "faß.de", "mx.faß.de", ("mx.xn--fa-hia.de",)),
        ("secure", "почта.рф", "mx", ("xn--80a1acny.xn--p1ai", ".xn--80a1acny.xn--p1ai")),
    ],
)
def test_a_certificate_is_for_the_host_or_for_the_next_hop(level, hop, host, names):
    asked = policy(hop, host, smtp_tls_security_level=level)
    assert asked.names == ((names,) if names else ())


def test_the_names_can_be_chosen():
    asked = policy(
        "example.org",
        "mx1.example.org",
        smtp_tls_security_level="secure",
        smtp_tls_secure_cert_match=["hostname", "nexthop", "Mail.Example.com"],
    )
    assert asked.names == (("mx1.example.org", "example.org", "mail.example.com"),)


def test_a_policy_of_mta_sts_asks_for_the_name_of_the_mx():
    asked = policy("example.org", "mx1.mail.org", sts=("*.mail.org",))
    assert (asked.level, asked.names) == ("verify", (("mx1.mail.org",),))
    asked = policy(
        "example.org", "mx1.mail.org", sts=("MX1.mail.org",), smtp_tls_security_level="none"
    )
    assert (asked.level, asked.names) == ("verify", (("mx1.mail.org",),))
    asked = policy(
        "example.org", "mx1.mail.org", sts=("*.mail.org",), smtp_tls_security_level="secure"
    )
    assert asked.level == "secure"
    assert asked.names == (("example.org", ".example.org"), ("mx1.mail.org",))
    for host in ("mail.org", "a.b.mail.org", "mx1.evil.org", "mail.org.evil"):
        with pytest.raises(tls.UntrustedError, match="is no server of the MTA-STS policy"):
            policy("example.org", host, sts=("*.mail.org", "mx.other.org"))


@pytest.mark.parametrize(
    ("name", "wanted", "right"),
    [
        ("mx.example.net", "mx.example.net", True),
        ("mx.example.net", "example.net", False),
        ("example.net", "mx.example.net", False),
        ("*.example.net", "mx.example.net", True),
        ("*.example.net", "a.mx.example.net", False),
        ("*.example.net", "example.net", False),
        ("*.net", "example.net", False),
        ("*", "mx", False),
        ("m*.example.net", "mx.example.net", False),
        ("*.example.net", ".example.net", True),
        ("mx.example.net", ".example.net", True),
        ("a.b.example.net", ".example.net", True),
        ("example.net", ".example.net", False),
        ("evilexample.net", ".example.net", False),
        (".example.net", ".example.net", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1", True),
        ("*.0.2.1", "192.0.2.1", False),
        ("", "mx.example.net", False),
    ],
)
def test_a_name_in_a_certificate_is_the_one_that_is_wanted_or_is_not(name, wanted, right):
    assert tls._certifies(name, wanted) is right


def deliver(
    authority,
    kind,
    *names,
    hop="mx.example.net",
    mx=False,
    name="mx.example.net",
    sts=(),
    **settings,
):
    """Open a session with a server that has a certificate; return why it is not trusted."""
    talk = [*read(DATA / "dialogues" / "tls-secure.txt").talks[0][:10], "C: QUIT"]
    talk[talk.index("tls good mx.example.net")] = f"tls {kind} {' '.join(names)}"
    settings = {"smtp_tls_CAfile": str(authority.file), **settings}
    why = ""
    with playing([talk], authority) as player:
        there = server(player.port, hop, mx=mx, name=name, sts=sts)
        try:
            Session(there, configured(**settings)).quit()
        except LostError as lost:
            why = f"{lost.kind} {lost.outcome.status} {lost.outcome.dsn} {lost}"
    secret = player.raw[len(player.clear) :]
    assert secret == (b"" if why else b"EHLO box.example.net\r\nQUIT\r\n")
    assert why.startswith("host deferred 4.7.5 " if why else "")
    return why


@pytest.mark.parametrize("kind", ["good", "strange", "expired"])
@pytest.mark.parametrize("names", [("mx.example.net",), ("other.example",)])
@pytest.mark.parametrize("level", ["may", "encrypt", "verify", "secure"])
def test_a_certificate_is_asked_for_where_that_was_asked(authority, kind, names, level):
    why = deliver(authority, kind, *names, smtp_tls_security_level=level)
    if level in ("may", "encrypt"):
        assert not why
    elif kind != "good":
        assert "its certificate: " in why
    elif names == ("other.example",):
        assert "its certificate is for other.example, not for mx.example.net" in why
    else:
        assert not why


@pytest.mark.parametrize(("kind", "alert"), [("strange", "unknown ca"), ("expired", "expired")])
def test_a_server_is_told_what_is_wrong_with_its_certificate(authority, kind, alert):
    talk = read(DATA / "dialogues" / f"tls-{kind}.txt").talks[0]
    config = configured(smtp_tls_CAfile=str(authority.file), smtp_tls_security_level="secure")
    with playing([[*talk, "hear"]], authority) as player, pytest.raises(LostError):
        Session(server(player.port), config)
    (mistake,) = player.mistakes
    assert f"alert {alert}" in mistake.lower().replace("certificate ", "").replace("_", " ")


def test_a_forged_mx_is_found_out_at_level_secure_only(authority):
    there = {"hop": "example.org", "mx": True, "name": "mx.evil.example"}
    certificate = ("good", "mx.evil.example")
    assert not deliver(authority, *certificate, smtp_tls_security_level="verify", **there)
    why = deliver(authority, *certificate, smtp_tls_security_level="secure", **there)
    assert "not for example.org or .example.org" in why


def test_an_mta_sts_policy_holds_whatever_the_level_is(authority):
    there = {"hop": "example.org", "mx": True, "sts": ("*.example.net",)}
    for level in ("none", "may", "encrypt", "verify"):
        settings = {"smtp_tls_security_level": level, **there}
        assert not deliver(authority, "good", "mx.example.net", **settings)
        why = deliver(authority, "good", "example.org", **settings)
        assert "its certificate is for example.org, not for mx.example.net" in why
        assert "its certificate: " in deliver(authority, "strange", "mx.example.net", **settings)


def test_a_server_that_is_not_in_the_mta_sts_policy_is_not_even_called(authority):
    there = server(1, "example.org", mx=True, sts=("mx.example.com",))
    with pytest.raises(LostError) as caught:
        Session(there, configured())
    assert caught.value.outcome.dsn == "4.7.5"
    assert caught.value.outcome.relay == "mx.example.net[127.0.0.1]:1"


@pytest.mark.parametrize(
    "name", [f"{'x' * 64}.example", ".example", "a..example", "a\0b", "ё" * 64]
)
def test_a_strange_name_of_an_mx_is_no_name_for_tls(authority, name):
    there = {"hop": "example.org", "mx": True, "name": name}
    assert not deliver(authority, "good", "mx.example.net", **there)
    why = deliver(authority, "good", "mx.example.net", smtp_tls_security_level="verify", **there)
    assert "its certificate is for mx.example.net, not for " in why


def test_what_comes_behind_the_end_of_tls_is_not_gathered(authority):
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = authority.context("good", "mx.example.org").wrap_bio(came, goes, server_side=True)
    tunnel = Tunnel(configured(), tls.Policy("encrypt"), "mx.example.org")
    done = False
    while not done:
        said, done = tunnel.shake(goes.read())
        came.write(said)
        with suppress(ssl.SSLWantReadError):
            there.do_handshake()
    there.write(b"250 ok\r\n")
    with suppress(ssl.SSLWantReadError):
        there.unwrap()
    assert tunnel.unseal(goes.read()) == b"250 ok\r\n"
    assert tunnel.unseal(b"") == b""
    with pytest.raises(OSError, match="behind the end of TLS"):
        tunnel.unseal(b"x" * 1000)


def test_an_address_is_a_name_of_a_certificate_too(authority):
    there = {"hop": "127.0.0.1", "name": "127.0.0.1", "smtp_tls_security_level": "secure"}
    assert not deliver(authority, "good", "127.0.0.1", **there)
    assert "not for 127.0.0.1" in deliver(authority, "good", "127.0.0.2", **there)
    assert "not for 127.0.0.1" in deliver(authority, "good", "mx.example.net", **there)


def test_without_a_file_of_authorities_the_machines_count(authority):
    settings = {"smtp_tls_security_level": "secure", "smtp_tls_CAfile": ""}
    why = deliver(authority, "good", "mx.example.net", **settings)
    assert "unable to get local issuer certificate" in why


def test_a_directory_of_authorities_is_used(authority, tmp_path):
    needs("openssl")
    (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
    subprocess.run(["openssl", "rehash", tmp_path], check=True)
    settings = {
        "smtp_tls_security_level": "secure",
        "smtp_tls_CAfile": "",
        "smtp_tls_CApath": str(tmp_path),
    }
    assert not deliver(authority, "good", "mx.example.net", **settings)


def test_authorities_that_cannot_be_read_are_our_own_trouble(tmp_path):
    (tmp_path / "bad").write_text("what")
    for name in ("no", "bad"):
        with playing([read(DATA / "dialogues" / "tls-secure.txt").talks[0][:6]]) as player:
            config = configured(
                smtp_tls_security_level="secure", smtp_tls_CAfile=f"{tmp_path}/{name}"
            )
            with pytest.raises(LostError) as caught:
                Session(server(player.port), config)
        assert caught.value.outcome.status == "kept"
        assert f"cannot read the authorities in {tmp_path}/{name}: " in str(caught.value)


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_the_fingerprints_are_those_that_others_make(authority, digest):
    der = authority.der("strange", "other.example")
    others = authority.fingerprints("strange", "other.example", digest=digest)
    assert tls.fingerprints(der, digest) == others
    for cut in range(len(der)):
        assert len(tls.fingerprints(der[:cut], digest)) in (1, 2)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("shape", [str, str.upper, lambda text: bytes.fromhex(text).hex(":")])
def test_a_known_fingerprint_is_enough(authority, which, shape):
    known = shape(authority.fingerprints("strange", "other.example")[which])
    settings = {
        "smtp_tls_security_level": "fingerprint",
        "smtp_tls_fingerprint_cert_match": ["00:11", known],
    }
    assert not deliver(authority, "strange", "other.example", **settings)


def test_another_fingerprint_is_said(authority):
    settings = {
        "smtp_tls_security_level": "fingerprint",
        "smtp_tls_fingerprint_cert_match": ["00" * 32],
    }
    why = deliver(authority, "good", "mx.example.net", **settings)
    certificate = authority.fingerprints("good", "mx.example.net")[0]
    assert f"its fingerprint {certificate} is not in smtp_tls_fingerprint_cert_match" in why
