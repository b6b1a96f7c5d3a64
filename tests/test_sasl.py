"""SASL mechanisms: the examples of the RFCs, the order of strength, servers that lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import sasl
from pymail.sasl import RefusedError, choose

ALL = ("LOGIN", "PLAIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER")


def test_cram_md5_answers_as_in_rfc_2195() -> None:
    cram = sasl.CramMd5("tim", "tanstaaftanstaaf")
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert cram.answer(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_scram_sha_1_talks_as_in_rfc_5802() -> None:
    scram = sasl.ScramSha1("user", "pencil", "fyko+d2lbbFgONRv9qkxdawL")
    assert scram.first == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    assert scram.answer(
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    ) == (b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    scram.finish(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


def test_scram_sha_256_talks_as_in_rfc_7677() -> None:
    scram = sasl.Scram("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert scram.answer(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    ) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    scram.finish(b"")


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        (b"r=other,s=QSXCR+Q6sek8bf92,i=4096", "another question"),
        (b"r=abc,s=QSXCR+Q6sek8bf92,i=4096", "another question"),
        (b"r=abcd,s=QSXCR+Q6sek8bf92,i=1", "strange number"),
        (b"r=abcd,s=QSXCR+Q6sek8bf92,i=999999999", "strange number"),
        (b"r=abcd,s=!,i=4096", "no base64"),
        (b"", "another question"),
    ],
)
def test_a_challenge_that_is_none_ends_scram(challenge: bytes, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        sasl.Scram("user", "pencil", "abc").answer(challenge)


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    scram = sasl.Scram("user", "pencil", "abc")
    with pytest.raises(RefusedError, match="does not know the password"):
        scram.finish(b"")
    scram.answer(b"r=abcd,s=QSXCR+Q6sek8bf92,i=4096")
    with pytest.raises(RefusedError, match="does not know the password"):
        scram.finish(b"v=AAAA")


def test_plain_and_login_say_name_and_password() -> None:
    assert sasl.Plain("joe", "pässword").first == "\0joe\0pässword".encode()
    login = sasl.Login("joe", "secret")
    assert login.first is None
    assert (login.answer(b"Username:"), login.answer(b"what?")) == (b"joe", b"secret")
    with pytest.raises(RefusedError, match="third time"):
        login.answer(b"and?")


def test_a_token_goes_as_its_mechanisms_want_it_and_an_error_is_answered() -> None:
    assert sasl.XOAuth2("joe@x", "tok").first == b"user=joe@x\1auth=Bearer tok\1\1"
    bearer = sasl.OAuthBearer("joe@x", "tok")
    assert bearer.first == b"n,a=joe@x,\1auth=Bearer tok\1\1"
    assert bearer.answer(b'{"status":"invalid_token"}') == b"\1"
    assert bearer.fault == "invalid_token"
    with pytest.raises(RefusedError, match="no JSON"):
        bearer.answer(b"nonsense")


@pytest.mark.parametrize(
    ("offered", "options", "only", "name"),
    [
        (ALL, ("noanonymous",), (), "SCRAM-SHA-256"),
        (("plain", "login", "cram-md5"), ("noanonymous",), (), "CRAM-MD5"),
        (("LOGIN", "PLAIN"), ("noanonymous",), (), "PLAIN"),
        (("LOGIN",), (), (), "LOGIN"),
        (("LOGIN", "PLAIN"), ("noplaintext",), (), None),
        (ALL, ("noplaintext",), ("plain", "login"), None),
        (ALL, ("noanonymous",), ("xoauth2",), "XOAUTH2"),
        (ALL, ("noanonymous",), ("plain",), "PLAIN"),
        (ALL, ("mutual_auth",), (), "SCRAM-SHA-256"),
        (("CRAM-MD5", "PLAIN"), ("mutual_auth",), (), None),
        (ALL, ("nodictionary",), (), None),
        (("ANONYMOUS", "GSSAPI"), (), (), None),
    ],
)
def test_the_strongest_mechanism_that_is_allowed_is_taken(offered, options, only, name) -> None:
    mechanism = choose(offered, "joe", "secret", options=options, only=only)
    assert (mechanism.name if mechanism else None) == name


@given(data=st.binary(max_size=300), name=st.sampled_from(ALL))
def test_no_challenge_whatever_breaks_a_mechanism(data: bytes, name: str) -> None:
    mechanism = choose((name,), "joe", "secret", options=(), only=(name,))
    assert mechanism
    for said in (mechanism.answer, mechanism.answer, mechanism.finish):
        try:
            said(data)
        except RefusedError as error:
            assert "secret" not in str(error)  # noqa: PT017
