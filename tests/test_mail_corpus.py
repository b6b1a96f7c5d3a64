"""Command lines of mail that were observed in three programs of that name."""

import base64
import json
import re
from email.header import decode_header, make_header

import pytest
from harness import corpus
from machine import Machine
from queued import Queued, queued

CASES = [json.loads(line) for line in (corpus() / "mailx.jsonl").read_text().splitlines()]


def standard_input(case: dict) -> bytes:
    if "stdin_b64" in case:
        return base64.b64decode(case["stdin_b64"])
    return case.get("stdin", "").encode()


def decoded(value: str) -> str:
    return str(make_header(decode_header(value)))


def raw_values(message: Queued, name: str) -> list[str]:
    unfolded = re.sub(r"\n[ \t]+", " ", message.head)
    pairs = [line.partition(":") for line in unfolded.splitlines()]
    return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]


def differences(wanted: dict, message: Queued) -> list[str]:
    """Tell where a message is not what the case wants."""
    found = {
        "recipients": sorted(message.envelope.recipients),
        "envelope_sender": message.envelope.sender,
        "subject": decoded("".join(raw_values(message, "subject"))),
        "from_": decoded("".join(raw_values(message, "from"))),
        "cc": decoded("".join(raw_values(message, "cc"))),
        "attachment": "".join(p.get_filename() or "" for p in message.mime.iter_attachments()),
    }
    bad = [
        f"{key}: {found[key]!r}, not {wanted[key]!r}"
        for key in found
        if key in wanted and found[key] != wanted[key]
    ]
    if "body" in wanted and message.text != wanted["body"]:
        bad.append(f"body: {message.text!r}")
    for line in wanted.get("headers", []):
        name, _, value = line.partition(": ")
        if raw_values(message, name) != [value]:
            bad.append(f"{name}: {raw_values(message, name)}")
    bad += [f"has {name}" for name in wanted.get("header_absent", []) if raw_values(message, name)]
    if wanted.get("subject_rfc2047") and not raw_values(message, "subject")[0].isascii():
        bad.append("the subject is not encoded")
    return bad


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_mail_does_what_its_users_expect(machine: Machine, case: dict) -> None:
    user = case["user"]
    here = machine.home(user)
    machine.write(user, "tmp/qf", "qbody\n")
    machine.write(
        user,
        "f.mbox",
        "From a@example.org Mon Nov 23 00:00:00 2026\nFrom: A <a@x>\nSubject: one\n\n1\n\n"
        "From b@example.org Mon Nov 23 00:01:00 2026\nFrom: b@x\nSubject: two\n\n2\n\n",
    )
    for name, text in case.get("files", {}).items():
        machine.write(user, name.removeprefix(f"{here}/"), text)
    if "mailrc" in case:
        machine.write(user, ".mailrc", case["mailrc"])
    # The cases speak of /tmp, where tests that run side by side would meet.
    case = json.loads(json.dumps(case).replace("/tmp/", f"{here}/tmp/"))
    before = {path for path in here.rglob("*") if ".coverage" not in path.name}
    login = {"HOME": str(here), "LOGNAME": user, "USER": user, "LANG": "C.UTF-8"}
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **login, **case.get("env", {})}
    done = machine.run(
        user,
        *case["argv"],
        stdin=standard_input(case),
        env=case.get("env_only", env),
        cwd=here / "tmp",
    )
    wanted = case["recommend"]
    assert done.returncode in wanted.get("exit_in", [wanted.get("exit", done.returncode)]), done
    sent = queued(machine.spool)
    if done.returncode != 0:
        assert sent == []
        assert done.returncode == 1 or done.stderr.count(b"\n") == 1
    if "sent" in wanted:
        assert len(sent) == wanted["sent"], done
    for message in sent:
        assert differences(wanted, message) == []
    after = {path for path in here.rglob("*") if ".coverage" not in path.name}
    record = {here / "tmp" / "alice"} if "-F" in case["argv"] else set()
    assert after - before == record, "it wrote a file that nobody asked for"


def test_no_option_of_a_case_ends_up_as_a_recipient(machine: Machine) -> None:
    done = machine.run("bob", "mail", "-s", "subj", "alice", "-s", "late", stdin=b"body\n")
    assert done.returncode == 0
    (message,) = queued(machine.spool)
    assert message.envelope.recipients == ["alice"]
    assert message.mime["subject"] == "late"
