"""The compatibility corpus: what real callers do, and what must become of it.

Every case is run through the real sendmail as the case's user; one flush then hands everything
to an LMTP server that writes down what it gets. The queue id in Received tells whose it was.
"""

import base64
import hashlib
import json
import os
import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import corpus
from machine import Machine

from pymail.address import specs

SINK = "/run/sink"
OURS = b"Received: by box.example.net (pymail, from userid "
CONFIG = f"""
myhostname = "box.example.net"
myorigin = "example.net"
mydestination = []
recipient_delimiter = "+"
default_transport = "lmtp:unix:{SINK}"
"""


class Recorder(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An LMTP server that accepts everything: (sender, recipients, message) by queue id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(SINK, Dialogue)
        os.chmod(SINK, 0o666)
        self.got: dict[str, tuple[str, list[str], bytes]] = {}
        self.lock = threading.Lock()


class Dialogue(socketserver.StreamRequestHandler):
    server: Recorder

    def handle(self) -> None:
        sender, recipients = "", []
        self.wfile.write(b"220 sink LMTP\r\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"LHLO":
                self.wfile.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
            elif word == b"MAIL":
                sender, recipients = _path(line), []
                self.wfile.write(b"250 2.1.0 ok\r\n")
            elif word == b"RCPT":
                recipients.append(_path(line))
                self.wfile.write(b"250 2.1.5 ok\r\n")
            elif word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                data = self._data()
                qid = re.search(rb"id (\w+);", data)
                assert qid is not None
                with self.server.lock:
                    known = self.server.got.setdefault(qid[1].decode(), (sender, [], data))
                    known[1].extend(recipients)
                self.wfile.write(b"250 2.0.0 kept\r\n" * len(recipients))
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")

    def _data(self) -> bytes:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            assert line.endswith(b"\r\n")
            lines.append(line[line.startswith(b".") : -2] + b"\n")
        return b"".join(lines)


def _path(line: bytes) -> str:
    inner = line[line.index(b"<") + 1 : line.rindex(b">")].decode("utf-8", "surrogateescape")
    return specs(inner)[0].address if inner else ""


@pytest.fixture
def recorder(machine: Machine) -> Iterator[Recorder]:
    Path(SINK).unlink(missing_ok=True)
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def stdin_of(case: dict[str, Any]) -> bytes:
    if "stdin_gen" in case:
        made = case["stdin_gen"]
        return (made["prefix"] + made["unit"] * made["count"] + made["suffix"]).encode()
    if "stdin_b64" in case:
        return base64.b64decode(case["stdin_b64"])
    return case.get("stdin", "").encode()


def queued(machine: Machine) -> set[str]:
    found = {name for name in machine.queue() if name.isalnum()}
    for drop in (machine.spool / "drop").iterdir():
        found.update(name for name in os.listdir(drop) if name.isalnum())
    return found


def observe(machine: Machine, case: dict[str, Any]) -> Any:
    env = case.get("env_only")
    if env is None:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        home = "/root" if case["user"] == "root" else f"/home/{case['user']}"
        env |= {"HOME": home, "USER": case["user"], "LOGNAME": case["user"]} | case.get("env", {})
    program, *args = case["argv"]
    if "/" not in program:
        place = "/usr/sbin" if program in ("sendmail", "flush") else "/usr/bin"
        program = f"{place}/{program}"
    argv = [program, *args]
    if closed := case.get("closed_fds"):
        ends = " ".join(f"{fd}>&-" for fd in closed)
        argv = ["/bin/sh", "-c", f'exec "$0" "$@" {ends}', *argv]
    return machine.run(
        case["user"],
        argv[0],
        *argv[1:],
        stdin=stdin_of(case),
        env=env,
        cwd=case.get("cwd", "/tmp"),
    )


def header_of(raw: bytes) -> list[tuple[str, bytes]]:
    head = b"" if raw.startswith(b"\n") else raw.partition(b"\n\n")[0]
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", head).split(b"\n")
    pairs = [line.partition(b":") for line in unfolded if line]
    return [(name.decode("latin-1").lower(), value.strip()) for name, _, value in pairs]


def body_of(raw: bytes) -> bytes:
    return raw[1:] if raw.startswith(b"\n") else raw.partition(b"\n\n")[2]


def is_header(want: dict[str, Any], name: str, value: bytes) -> bool:
    """Say whether a field is the one that is expected."""
    wanted = want["value"].encode() if "value" in want else None
    if "value_b64" in want:
        wanted = base64.b64decode(want["value_b64"])
    return (
        name == want["name"].lower()
        and (wanted is None or wanted.strip() == value)
        and re.search(want.get("regex", ""), value.decode("utf-8", "replace")) is not None
        and want.get("value_len", len(value)) == len(value)
    )


def wrong_message(want: dict[str, Any], got: tuple[str, list[str], bytes]) -> Iterator[str]:
    """Say in what a message differs from what is expected of it."""
    sender, recipients, raw = got
    if want.get("envelope_sender", sender) != sender:
        yield f"sender {sender!r} is not {want['envelope_sender']!r}"
    if "recipients" in want and set(want["recipients"]) != set(recipients):
        yield f"recipients {sorted(recipients)[:6]} are not {want['recipients'][:6]}"
    fields = header_of(raw)[1:]  # the first is our Received
    for header in want.get("headers_present", []):
        if "(Postfix, from userid" in header.get("value", ""):
            continue  # its trace header; ours is another
        hit = next((field for field in fields if is_header(header, *field)), None)
        if hit is None:
            similar = [v for n, v in fields if n == header["name"].lower()]
            yield f"no header {header} but {similar}"
        else:
            fields.remove(hit)
    names = {name for name, _ in header_of(raw)}
    for name in want.get("headers_absent", []):
        if name in names:
            yield f"header {name} must be gone"
    yield from wrong_body(want, body_of(raw))


def wrong_body(want: dict[str, Any], body: bytes) -> Iterator[str]:
    """Say in what a body differs from what is expected of it."""
    expected = want["body"].encode() if "body" in want else None
    if "body_b64" in want:
        expected = base64.b64decode(want["body_b64"])
    if expected is not None and expected.rstrip(b"\n") != body.rstrip(b"\n"):
        yield f"body {body[:80]!r} is not {expected[:80]!r}"
    if "body_sha256" in want and hashlib.sha256(body).hexdigest() != want["body_sha256"]:
        yield "body has another hash"


def wrong_words(want: dict[str, Any], done: Any) -> Iterator[str]:
    """Say in what the output differs from what is expected."""
    both = (done.stdout + done.stderr).decode("utf-8", "replace").lower()
    for name in ("stdout", "stderr"):
        said = getattr(done, name).decode("utf-8", "replace")
        if want.get(name, said) != said:
            yield f"{name} is {said[:200]!r}"
        if want.get(f"{name}_contains", "").lower() not in both:
            yield f"{name} lacks {want[f'{name}_contains']!r}: {both[:200]!r}"


def wrong_run(want: dict[str, Any], done: Any, messages: list[Any]) -> Iterator[str]:
    """Say in what a run differs from what is expected of it."""
    if want.get("exit", done.returncode) != done.returncode:
        yield f"exit {done.returncode} is not {want['exit']}: {done.stderr.decode()[:200]}"
    if done.returncode not in want.get("exit_in", [done.returncode]):
        yield f"exit {done.returncode} is not one of {want['exit_in']}"
    yield from wrong_words(want, done)
    if "smtp_reply_codes" in want:
        lines = done.stdout.split(b"\r\n")
        codes = [line[:1].decode() for line in lines if re.match(rb"\d{3}( |$)", line)]
        if codes != [code[0] for code in want["smtp_reply_codes"]]:
            yield f"replies {done.stdout!r} are not {want['smtp_reply_codes']}"
    if want.get("submitted", len(messages)) != len(messages):
        yield f"{len(messages)} messages are not {want['submitted']}: {messages}"[:1000]
    elif "messages" in want:
        for expected, got in zip(want["messages"], messages, strict=True):
            yield from wrong_message(expected, got)
    elif messages:
        yield from wrong_message(want, messages[0])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ["submissions.jsonl", "more.jsonl"])
def test_every_submission_of_the_corpus_becomes_what_it_must(
    machine: Machine, recorder: Recorder, file: str
) -> None:
    machine.config(CONFIG)
    cases = [json.loads(line) for line in (corpus() / file).read_text().split("\n") if line]
    runs = []
    seen: set[str] = set()
    for case in cases:
        done = observe(machine, case)
        now = queued(machine) | set(recorder.got)
        runs.append((case, done, sorted(now - seen)))
        seen |= now
    machine.flush()
    wrong = []
    for case, done, qids in runs:
        want = case["expect"]
        if want.get("observed_only"):
            continue
        messages = [recorder.got[qid] for qid in qids if qid in recorder.got]
        # A queue run (-q) makes reports of what earlier cases have sent to nowhere.
        messages = [
            got
            for got in messages
            if got[2].startswith(b"Received: by box.example.net (pymail, from")
        ]
        wrong += [
            f"{case['id']} ({case['level']}): {each}" for each in wrong_run(want, done, messages)
        ]
    print(f"{len(cases)} cases of {file}, {len(wrong)} differences")
    assert not wrong, "\n".join(wrong)
    assert not [name for name in machine.queue() if name.isalnum()]
    assert not Path("/tmp/pwn").exists()
