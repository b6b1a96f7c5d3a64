"""Mail for elsewhere, from sendmail to a real server: delivered, refused, put off, held."""

import contextlib
import email
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from authority import Authority
from harness import Box, argv
from peers import fake_lmtp
from relays import free_port, relay, silent

LETTER = b"From: root (Cron Daemon)\nTo: joe@example.org\nSubject: s\n\ntext\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def reasons(box: Box) -> list[str]:
    """Return why recipients wait, in order."""
    lines = box.run("mailq", "-j").stdout.splitlines()
    return [r["delay_reason"] for line in lines for r in json.loads(line)["recipients"]]


def test_a_message_goes_through_the_relay_completed_and_qualified(box: Box) -> None:
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\nmyorigin = 'box.example.net'\n")
        box.send(LETTER, "joe@example.org", "ann@example.org")
        done = box.flush("-v")
    (taken,) = server.taken
    assert taken.sender == f"{box.user}@box.example.net"
    assert sorted(taken.recipients) == ["ann@example.org", "joe@example.org"]
    head, _, body = taken.data.partition(b"\r\n\r\n")
    assert body == b"text\r\n"
    assert b"From: root@box.example.net (Cron Daemon)\r\n" in head
    assert b"Message-Id: <" in head
    assert b"Delivered-To" not in head
    assert b"Return-Path" not in head
    assert b"\n" not in taken.data.replace(b"\r\n", b"")
    assert box.queue() == []
    said = done.stdout.decode()
    assert f"relay=127.0.0.1[127.0.0.1]:{server.port}" in said
    assert "dsn=2.0.0, status=sent (250 2.0.0 queued as TEST)" in said


def test_one_refused_recipient_comes_back_and_the_other_is_delivered(box: Box) -> None:
    refusal = "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown"
    with relay(refuse={"nobody@example.org": refusal}) as server:
        box.config(f"relayhost = '{server.hop}'\n")
        box.send(LETTER, "nobody@example.org", "joe@example.org")
        box.flush()
    assert [taken.recipients for taken in server.taken] == [["joe@example.org"]]
    (bounce,) = box.maildir()
    assert refusal.partition(" 5.1.1 ")[2].encode() in bounce
    report = email.message_from_bytes(bounce)
    status = report.get_payload(1).as_string()
    assert "Final-Recipient: rfc822; nobody@example.org" in status
    assert "Status: 5.1.1" in status
    assert box.queue() == []


def test_what_the_server_puts_off_waits_with_its_words(box: Box) -> None:
    with relay(verdict="451 4.7.1 Greylisted, come back later") as server:
        box.config(f"relayhost = '{server.hop}'\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
        assert len(box.queue()) == 1
        (reason,) = reasons(box)
        assert "451 4.7.1 Greylisted, come back later" in reason
        server.verdict = "250 2.0.0 ok"
        box.flush("-a")
    assert len(server.taken) == 1
    assert box.queue() == []


def test_a_dead_host_is_tried_once_and_then_rests(box: Box) -> None:
    port = free_port()
    box.config(f"relayhost = '[127.0.0.1]:{port}'\n")
    for number in range(30):
        box.send(LETTER, f"joe{number}@example.org")
    box.flush()
    assert len(reasons(box)) == 30
    assert all("Connection refused" in reason for reason in reasons(box))
    with relay() as server:
        box.config(f"relayhost = '[127.0.0.1]:{port}'\nminimal_backoff_time = 1\n")
        assert server.port != port
    sites = json.loads((box.spool / "queue" / ".sites").read_text())
    assert sites[f"[127.0.0.1]:{port}"]["why"] == "dead"


def test_a_run_that_is_asked_for_tries_what_rests(box: Box) -> None:
    with relay() as server:
        hop = server.hop
        port = server.port
    box.config(f"relayhost = '{hop}'\n")
    box.send(LETTER, "joe@example.org")
    box.flush()
    with relay_at(port) as heard:
        box.send(LETTER, "ann@example.org")
        box.flush()
        assert heard() == 0
        box.flush("-a")
        assert heard() > 0


def relay_at(port: int):
    """Count who comes to a port, and send everybody away."""
    import contextlib
    import socket
    import threading

    @contextlib.contextmanager
    def counting():
        count = [0]
        with socket.create_server(("127.0.0.1", port)) as listener:

            def work() -> None:
                while True:
                    try:
                        there, _ = listener.accept()
                    except OSError:
                        return
                    count[0] += 1
                    there.sendall(b"421 4.3.2 closed\r\n")
                    there.close()

            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            yield lambda: count[0]
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    return counting()


def test_a_silent_destination_does_not_hold_up_another(box: Box) -> None:
    with silent() as dead, relay() as live:
        box.config(
            f"smtp_helo_timeout = 5\n[transport_maps]\n'dead.example' = 'smtp:{dead}'\n"
            f"'live.example' = 'smtp:{live.hop}'\n"
        )
        for number in range(60):
            box.send(LETTER, f"u{number}@dead.example")
            box.send(LETTER, f"u{number}@live.example")
        lines = box.flush("-v").stdout.decode().splitlines()
    ends = [re.search(r"to=<u\d+@(\w+)\.example>.*status=(\w+)", line) for line in lines]
    order = [(found[1], found[2]) for found in ends if found]
    assert order[:60] == [("live", "sent")] * 60
    assert order[60:] == [("dead", "deferred")] * 60
    assert len(live.taken) == 60


def test_what_cannot_be_reached_goes_through_the_fallback_relay(box: Box) -> None:
    with relay() as server:
        box.config(
            f"default_transport = 'smtp:[127.0.0.1]:{free_port()}'\n"
            f"smtp_fallback_relay = '{server.hop}'\n"
        )
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert len(server.taken) == 1


def test_the_next_relay_of_a_list_is_tried(box: Box) -> None:
    with relay() as server:
        box.config(f"relayhost = ['[127.0.0.1]:{free_port()}', '{server.hop}']\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert len(server.taken) == 1


def test_a_relay_that_does_not_answer_is_not_asked_again_for_each_message(box: Box) -> None:
    port = free_port()
    with relay_at(port) as heard, relay() as server:
        limit = "smtp_destination_concurrency_limit = 2\n"
        box.config(f"relayhost = ['[127.0.0.1]:{port}', '{server.hop}']\n{limit}")
        for number in range(40):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        assert heard() <= 2  # by each connection
    assert len(server.taken) == 40


def test_servers_that_allow_one_connection_each_share_the_mail(box: Box) -> None:
    with relay(most=1) as first, relay(most=1) as second:
        limit = "smtp_destination_concurrency_limit = 2\n"
        box.config(f"relayhost = ['{first.hop}', '{second.hop}']\n{limit}")
        for number in range(60):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        connections = first.connections + second.connections
    taken = [to for each in (*first.taken, *second.taken) for to in each.recipients]
    assert sorted(taken) == sorted(f"u{n}@example.org" for n in range(60))
    assert connections <= 6


def test_a_fallback_relay_is_asked_again_only_when_the_relay_was(box: Box) -> None:
    with relay(refuse={"grey@example.org": "450 4.2.0 greylisted"}) as first, relay() as second:
        limit = "smtp_destination_concurrency_limit = 1\n"
        box.config(f"relayhost = '{first.hop}'\nsmtp_fallback_relay = '{second.hop}'\n{limit}")
        box.send(LETTER, "grey@example.org")
        for number in range(9):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
    assert [taken.recipients for taken in second.taken] == [["grey@example.org"]]
    assert len(first.taken) == 9


PBL = "550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org (PBL)"


def test_who_is_refused_for_the_address_goes_out_through_the_fallback_relay(box: Box) -> None:
    refuse = {"joe@example.org": PBL, "gone@example.org": "550 5.1.1 no such user"}
    with relay(refuse=refuse) as first, relay(refuse=refuse) as other, relay() as second:
        box.config(
            f"relayhost = ['{first.hop}', '{other.hop}']\nsmtp_fallback_relay = '{second.hop}'\n"
        )
        box.send(LETTER, "joe@example.org")
        box.send(LETTER, "gone@example.org")
        box.flush()
    assert [taken.recipients for taken in second.taken] == [["joe@example.org"]]
    assert other.connections == 0
    (bounce,) = box.maildir()
    assert b"5.1.1 no such user" in bounce
    assert box.queue() == []


GREY = "450 4.7.1 greylisted"


@pytest.mark.parametrize(
    ("first", "second", "third"), [(GREY, GREY, ""), (GREY, PBL, ""), (GREY, PBL, GREY)]
)
def test_the_fallback_relay_is_reached_behind_any_number_of_relays(
    box: Box, first: str, second: str, third: str
) -> None:
    with contextlib.ExitStack() as stack:
        names = [
            stack.enter_context(relay(refuse={"joe@example.org": reply} if reply else {}))
            for reply in (first, second, third)
        ]
        last = stack.enter_context(relay())
        hops = ", ".join(f"'{server.hop}'" for server in names)
        box.config(f"relayhost = [{hops}]\nsmtp_fallback_relay = '{last.hop}'\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
        # Who takes nothing from this machine is not asked again at the other relays.
        wanted = names[2] if first == second else last
        assert len(wanted.taken) == 1
    assert box.queue() == []


def test_who_is_refused_for_the_address_waits_for_the_fallback_relay(box: Box) -> None:
    with relay(refuse={"joe@example.org": PBL}) as first:
        fallback = f"smtp_fallback_relay = '[127.0.0.1]:{free_port()}'\n"
        box.config(f"relayhost = '{first.hop}'\n{fallback}")
        box.send(LETTER, "joe@example.org")
        box.flush()
        (reason,) = reasons(box)
        assert "blocked using zen.spamhaus.org" in reason
        box.config(f"relayhost = '{first.hop}'\n")
        box.flush("-a")
    assert len(box.maildir()) == 1


def test_wishes_for_reports_go_on_as_they_came(box: Box) -> None:
    """RFC 6533 3: an address of type utf-8 has its letters coded already."""
    dialogue = (
        "EHLO x\r\nMAIL FROM:<ann@example.org> RET=HDRS ENVID=a+2Bb\r\n"
        "RCPT TO:<joe@example.org> NOTIFY=DELAY,FAILURE ORCPT=utf-8;\\x{436}\\x{5C}a@example.org"
        "\r\n"
        "RCPT TO:<bob@example.org> ORCPT=rfc822;a\\x{436}+2Bb@example.org\r\n"
        "DATA\r\nSubject: s\r\n\r\ntext\r\n.\r\nQUIT\r\n"
    )
    with fake_lmtp(None, EHLO=b"250-fake\r\n250 DSN\r\n") as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = '{hop}'\n")
        box.run("sendmail", "-bs", stdin=dialogue.encode())
        box.flush()
    ((sender, recipients, _),) = server.messages
    assert sender == "MAIL FROM:<ann@example.org> ENVID=a+2Bb RET=HDRS"
    assert recipients == [
        "RCPT TO:<joe@example.org> ORCPT=utf-8;\\x{436}\\x{5C}a@example.org NOTIFY=FAILURE,DELAY",
        "RCPT TO:<bob@example.org> ORCPT=rfc822;a\\x{436}+2Bb@example.org",
    ]


def test_what_a_server_says_between_two_messages_is_not_said_of_the_second(box: Box) -> None:
    def end(there: socket.socket, _: str) -> str:
        late = threading.Timer(0.3, there.sendall, [b"550 5.7.1 on second thoughts\r\n"])
        late.start()
        return "250 2.0.0 ok"

    with fake_lmtp(None, EHLO=b"250-fake\r\n250 PIPELINING\r\n", END=[end]) as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = '{hop}'\nsmtp_destination_rate_delay = 1\n")
        box.send(LETTER, "ann@example.org")
        box.send(LETTER, "joe@example.org")
        box.flush()
        assert server.connections == 2
    assert sorted(to for _, all_to, _ in server.messages for to in all_to) == [
        "RCPT TO:<ann@example.org>",
        "RCPT TO:<joe@example.org>",
    ]
    assert box.queue() == []


def test_trouble_of_this_machine_ages_and_bounces_nothing(box: Box, authority: Authority) -> None:
    login(box, f"[127.0.0.1]:{free_port()}", authority.file, "me")
    more = "password_command = 'echo locked >&2; exit 1'\nmaximal_queue_lifetime = 1\n"
    box.config(box.config_file.read_text() + more)
    for number in range(30):
        box.send(LETTER, f"u{number}@example.org")
    time.sleep(1.1)
    for _ in range(9):
        box.flush("-a")
    assert len(box.queue()) == 30


def test_one_who_is_put_off_and_a_dead_server_hold_up_nobody_else(box: Box) -> None:
    def verdict(_: socket.socket, line: str) -> str:
        return "450 4.2.0 greylisted" if "grey@" in line else "250 2.1.5 ok"

    with fake_lmtp(None, EHLO="250 fake", RCPT=verdict) as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = ['{hop}', '[127.0.0.1]:{free_port()}']\n")
        box.send(LETTER, "grey@example.org")
        for number in range(9):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        assert len(server.messages) == 9
    (reason,) = reasons(box)
    assert "greylisted" in reason


def test_a_message_in_doubt_is_not_given_to_another_server(box: Box) -> None:
    with fake_lmtp(None, EHLO="250 fake", END=[None]) as first, relay() as second:
        hop = first.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = ['{hop}', '{second.hop}']\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
        assert len(first.messages) == 1
    assert second.taken == []
    assert "may be sent more than once" in reasons(box)[0]


def test_a_server_that_makes_noise_at_the_dot_has_one_message_in_doubt(box: Box) -> None:
    ends = ["noise\r\n250 2.0.0 ok"] * 50
    with fake_lmtp(None, EHLO=b"250-fake\r\n250 PIPELINING\r\n", END=ends) as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = '{hop}'\nsmtp_destination_concurrency_limit = 1\n")
        for number in range(9):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        assert len(server.messages) == 9
        assert len(box.queue()) == 1
        box.flush("-a")
    assert box.queue() == []


@pytest.mark.parametrize("dies", ["at the dot", "at the next MAIL", "of the first"])
def test_a_message_that_was_announced_to_a_server_that_died_is_not_forgotten(
    box: Box, dies: str
) -> None:
    end: list[str | None] = ["250 2.0.0 ok", None] * 50 if dies == "of the first" else [None] * 50
    answers = {"END": end} if dies != "at the next MAIL" else {"MAIL": ["250 ok", None] * 50}
    with fake_lmtp(None, EHLO=b"250-fake\r\n250 PIPELINING\r\n", **answers) as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = '{hop}'\nsmtp_destination_concurrency_limit = 2\n")
        for number in range(30):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        left = len(box.queue())
        waiting = [reason for reason in reasons(box) if reason]
        assert len(waiting) == left
        server.answers = {"EHLO": server.answers["EHLO"]}
        box.flush("-a")
    sent = [to for _, recipients, _ in server.messages for to in recipients]
    assert {to.split("<")[1] for to in sent} == {f"u{n}@example.org>" for n in range(30)}
    if dies == "at the next MAIL":
        assert len(sent) == 30
    assert box.queue() == []


def test_generic_maps_name_us_as_the_provider_wants_and_local_mail_as_it_was(box: Box) -> None:
    with relay() as server:
        box.config(
            f"relayhost = '{server.hop}'\nmyorigin = 'laptop'\nmydestination = ['laptop']\n"
            "[smtp_generic_maps]\n'@laptop' = 'me@isp.example'\n"
        )
        box.send(b"From: root\nTo: root\nSubject: s\n\nx\n", "joe@example.org", box.user)
        box.flush()
    (taken,) = server.taken
    assert taken.sender == "me@isp.example"
    assert b"From: me@isp.example\r\n" in taken.data
    assert b"To: me@isp.example\r\n" in taken.data
    (letter,) = box.maildir()
    assert b"From: root@laptop\n" in letter


def login(box: Box, hop: str, ca: Path, text: str) -> None:
    """Configure a relay that wants a login."""
    secrets = box.config_file.parent / "saslpass"
    secrets.write_text(f"{hop} {text}\n")
    secrets.chmod(0o600)
    box.config(
        f"relayhost = '{hop}'\nsmtp_tls_CAfile = '{ca}'\n"
        f"smtp_sasl_password_maps = 'hash:{secrets}'\n"
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_login_goes_over_verified_tls(box: Box, authority: Authority, wrapped: bool) -> None:  # noqa: FBT001
    tls = authority.context("good", "127.0.0.1")
    with relay(tls, wrapped=wrapped, users={"me@isp.example": "se:cret"}) as server:
        login(box, server.hop, authority.file, "me@isp.example:se:cret")
        if wrapped:
            box.config(box.config_file.read_text() + "smtp_tls_wrappermode = true\n")
        box.send(LETTER, "joe@example.org")
        done = box.flush("-v")
    assert [taken.user for taken in server.taken] == ["me@isp.example"], done.stdout


def test_a_login_is_not_told_to_a_server_with_a_wrong_certificate(
    box: Box, authority: Authority
) -> None:
    tls = authority.context("good", "other.example")
    with relay(tls, users={"me": "secret"}) as server:
        login(box, server.hop, authority.file, "me:secret")
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert (server.logins, server.taken) == (0, [])
    assert "certificate" in reasons(box)[0]


def test_a_refused_login_holds_the_destination_until_it_is_another(
    box: Box, authority: Authority
) -> None:
    tls = authority.context("good", "127.0.0.1")
    with relay(tls, users={"me": "right"}) as server:
        login(box, server.hop, authority.file, "me:wrong")
        for number in range(5):
            box.send(LETTER, f"joe{number}@example.org")
        box.flush()
        tries = server.logins
        assert 1 <= tries <= 2
        assert all("authentication failed" in reason for reason in reasons(box))
        box.send(LETTER, "late@example.org")
        box.flush()
        assert server.logins == tries
        assert len(reasons(box)) == 6
        assert b"wrong" not in box.run("mailq").stdout
        login(box, server.hop, authority.file, "me:right")
        box.send(LETTER, "later@example.org")
        box.flush()
    assert [taken.recipients for taken in server.taken] == [["later@example.org"]]


def test_secrets_that_others_may_read_are_not_used(box: Box, authority: Authority) -> None:
    with relay() as server:
        login(box, server.hop, authority.file, "me:secret")
        secrets = box.config_file.parent / "saslpass"
        secrets.chmod(0o644)
        box.send(LETTER, "joe@example.org")
        box.send(b"Subject: here\n\nx\n", box.user)
        box.flush()
    assert server.taken == []
    assert f"cannot use {secrets}: it has a password, and others may read it" in reasons(box)[0]
    assert len(box.maildir()) == 1


def test_a_password_command_tells_the_password(box: Box, authority: Authority) -> None:
    tls = authority.context("good", "127.0.0.1")
    with relay(tls, users={"me": "from the command"}) as server:
        login(box, server.hop, authority.file, "me")
        box.config(
            box.config_file.read_text()
            + 'password_command = \'test "$PYMAIL_USER" = me && echo "from the command"\'\n'
        )
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert [taken.user for taken in server.taken] == ["me"]


def test_a_command_without_a_password_is_no_reason_to_bounce(
    box: Box, authority: Authority
) -> None:
    with relay(authority.context("good", "127.0.0.1"), users={"me": "x"}) as server:
        login(box, server.hop, authority.file, "me")
        box.config(box.config_file.read_text() + "password_command = 'echo no >&2; exit 3'\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
    assert "password_command failed with status 3: no" in reasons(box)[0]


def test_a_large_message_is_sent_from_the_file(box: Box) -> None:
    body = b"".join(b"%06d %s\n" % (number, b"x" * 60) for number in range(20_000))
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\n")
        box.send(b"Subject: big\n\n" + body, "joe@example.org", "ann@example.org")
        box.flush()
    (taken,) = server.taken
    assert taken.data.partition(b"\r\n\r\n")[2] == body.replace(b"\n", b"\r\n")
    assert box.queue() == []


def test_many_messages_are_sent_once_over_few_connections(box: Box) -> None:
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\n")
        for number in range(100):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
    assert sorted(t.recipients[0] for t in server.taken) == sorted(
        f"u{number}@example.org" for number in range(100)
    )
    assert server.connections <= 20
    assert box.queue() == []


def test_a_transport_can_hold_and_a_person_release(box: Box) -> None:
    with relay() as server:
        box.config("default_transport = 'hold:not before Monday'\n")
        box.send(LETTER, "joe@example.org")
        box.flush()
        assert reasons(box) == ["not before Monday"]
        assert b"!" in box.run("mailq").stdout
        box.config(f"relayhost = '{server.hop}'\n")
        box.flush("-a")
        assert server.taken == []
        (qid,) = box.queue()
        assert box.run("pymail", "queue", "release", qid).returncode == 0
        box.flush()
    assert len(server.taken) == 1


def test_a_killed_run_loses_nothing(box: Box) -> None:
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\n")
        for number in range(60):
            box.send(LETTER, f"u{number}@example.org")
        for _ in range(6):
            running = subprocess.Popen(argv("flush"), env=box.env, start_new_session=True)
            time.sleep(0.15)
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        deadline = time.monotonic() + 60
        while box.queue() and time.monotonic() < deadline:
            box.flush("-a")
    assert {t.recipients[0] for t in server.taken} == {f"u{n}@example.org" for n in range(60)}


def test_a_message_under_way_is_not_sent_when_its_run_dies(box: Box) -> None:
    runs: list[subprocess.Popen[bytes]] = []

    def die(there: socket.socket, _line: str) -> str:
        if runs[0].poll() is None:
            runs[0].kill()
            runs[0].wait()
            there.settimeout(1)
            with contextlib.suppress(OSError):  # who speaks with us hears of it, and is gone
                there.recv(1)
            there.settimeout(10)
        return "250 2.1.5 ok"

    with fake_lmtp(None, EHLO="250 fake", RCPT=die) as server:
        hop = server.address.replace("inet:127.0.0.1", "[127.0.0.1]")
        box.config(f"relayhost = '{hop}'\n")
        box.send(LETTER, "joe@example.org")
        runs.append(subprocess.Popen(argv("flush"), env=box.env))
        assert runs[0].wait(30) == -signal.SIGKILL
        box.flush("-a")
    assert len(server.messages) == 1
    assert box.queue() == []


def test_a_run_that_has_used_its_time_begins_nothing_more(box: Box) -> None:
    with relay() as server:
        setting = "run_time_limit = 6\nsmtp_destination_rate_delay = 1\n"
        box.config(f"relayhost = '{server.hop}'\n{setting}")
        for number in range(20):
            box.send(LETTER, f"u{number}@example.org")
        box.flush()
        first = len(server.taken)
        assert 0 < first < 20
        assert any("has used its time" in reason for reason in reasons(box))
        assert len(box.queue()) == 20 - first
        box.config(f"relayhost = '{server.hop}'\n")
        box.flush("-a")
    assert sorted(t.recipients[0] for t in server.taken) == sorted(
        f"u{n}@example.org" for n in range(20)
    )
    assert box.queue() == []


def test_thousands_of_recipients_of_a_large_message_need_one_descriptor(box: Box) -> None:
    with relay() as server:
        box.config(f"relayhost = '{server.hop}'\n")
        letter = LETTER + b"x" * 70 + b"\n" + (b"y" * 70 + b"\n") * 20_000
        box.run("sendmail", "-i", *(f"u{n}@example.org" for n in range(4500)), stdin=letter)
        done = box.flush()
        assert done.stderr == b""
    assert {to for taken in server.taken for to in taken.recipients} == {
        f"u{n}@example.org" for n in range(4500)
    }
    assert box.queue() == []


def test_a_courier_that_is_killed_does_not_end_the_run(box: Box) -> None:
    command = f"touch {box.home}/begun; sleep 2; cat > {box.home}/got"
    (box.home / ".forward").write_text(f'"|{command}"\n')
    with silent() as hop:
        box.config(f"relayhost = '{hop}'\n")
        box.send(LETTER)
        box.send(LETTER, "joe@example.org")
        run = subprocess.Popen(argv("flush"), env=box.env, stderr=subprocess.PIPE)

        def couriers() -> list[str]:
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            return [c for c in children if not Path(f"/proc/{c}/task/{c}/children").read_text()]

        deadline = time.monotonic() + 30
        while not ((box.home / "begun").exists() and couriers()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for pid in couriers():
            os.kill(int(pid), signal.SIGKILL)
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said) == (0, b"")
    assert b"\n\ntext\n" in (box.home / "got").read_bytes()
    assert len(box.queue()) == 1


def test_explain_tells_the_relay_and_never_the_secret(box: Box, authority: Authority) -> None:
    login(box, "[127.0.0.1]:587", authority.file, "me:secret")
    done = box.run("pymail", "explain", "joe@example.org")
    assert b"SMTP to [127.0.0.1]:587" in done.stdout
    assert b"secret" not in done.stdout.replace(b"secrets", b"")
