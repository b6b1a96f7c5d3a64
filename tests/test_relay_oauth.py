"""Logins by token (OAuth2) at a real Postfix whose Dovecot asks a service about the token."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import Box
from postfixes import Postfix, dovecot_auth, postfix
from tokens import GOOD, introspection

USER = "me@isp.example"
LETTER = b"Subject: s\n\ntext\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def relay(tmp_path_factory, authority: Authority) -> Iterator[Postfix]:
    place = tmp_path_factory.mktemp("oauth")
    pem = authority.pem("good", "127.0.0.1")
    with (
        introspection(USER) as url,
        dovecot_auth(place / "dovecot", {USER: "no password for tokens"}, url) as sasl,
        postfix(place / "postfix", tls=pem, sasl=sasl) as server,
    ):
        yield server


def configured(box: Box, relay: Postfix, ca: Path, mechanism: str, token: str) -> None:
    secrets = box.config_file.parent / "saslpass"
    secrets.write_text(f"{relay.hop()} {USER}\n")
    secrets.chmod(0o600)
    box.config(
        f"relayhost = '{relay.hop()}'\nsmtp_tls_CAfile = '{ca}'\n"
        f"smtp_sasl_password_maps = '{secrets}'\nsmtp_sasl_mechanism_filter = '{mechanism}'\n"
        f"password_command = 'printf %s\\\\n {token}'\n"
    )


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_a_token_of_a_command_logs_in(box: Box, relay: Postfix, authority: Authority, mechanism):
    configured(box, relay, authority.file, mechanism, GOOD)
    before = len(relay.letters("relayed", "joe", 0))
    box.send(LETTER, "boss@elsewhere.example")
    said = box.flush("-v").stdout
    assert box.queue() == [], said
    assert len(relay.letters("relayed", "joe", before + 1)) == before + 1
    assert f"sasl_method={mechanism.upper()}, sasl_username={USER}" in relay.log()


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_a_token_that_is_refused_holds_the_destination_and_is_told_to_nobody(
    box: Box, relay: Postfix, authority: Authority, mechanism
):
    configured(box, relay, authority.file, mechanism, "stale-token")
    before = len(relay.letters("relayed", "joe", 0))
    box.send(LETTER, "boss@elsewhere.example")
    box.send(LETTER, "ann@elsewhere.example")
    said = box.flush("-v").stdout
    (first, *_) = box.run("mailq", "-j").stdout.splitlines()
    (recipient,) = json.loads(first)["recipients"]
    assert "(the token is refused: " in recipient["delay_reason"]
    assert "535 5.7.8" in recipient["delay_reason"]
    assert "what password_command prints" in box.run("mailq").stdout.decode()
    assert len(box.queue()) == 2
    assert len(relay.letters("relayed", "joe", 0)) == before
    assert b"stale-token" not in said
    # One refusal is enough: the provider is not asked once a message.
    assert relay.log().count(f"SASL {mechanism.upper()} authentication failed") == 1
