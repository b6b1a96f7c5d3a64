"""pymail login: what is stored is what will be used, also by cron, and goes when it is to go."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from authority import Authority
from harness import Box
from machine import Machine
from relays import Relay, relay

PASSWORD = b"pass word\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def server(authority: Authority, *names: str) -> contextlib.AbstractContextManager[Relay]:
    return relay(authority.context("good", *(names or ("127.0.0.1",))), users={"me": "pass word"})


def log_in(box: Box, *args: str, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
    done = box.run("pymail", "login", *args, stdin=stdin, env=env)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_what_works_only_here_is_told_with_what_cron_would_meet(
    box: Box, authority: Authority
) -> None:
    with server(authority) as there:
        given = {"PYMAIL_SMTP_TLS_CAFILE": str(authority.file)}
        status, _, told = log_in(box, there.hop, "me", stdin=PASSWORD, **given)
    assert (status, told.count("\n")) == (75, 1)
    start = f"it works here, but not as cron will run it: cannot log in at {there.hop}: "
    assert told.startswith(f"pymail: {start}")
    assert "cannot trust" in told


def test_a_login_that_an_earlier_file_hides_is_refused_as_the_server_says(
    box: Box, authority: Authority
) -> None:
    other = box.root / "logins"
    with server(authority) as there:
        box.config(f"smtp_tls_CAfile = '{authority.file}'\nsmtp_sasl_password_maps = '{other}'\n")
        other.write_text(f"{there.hop} me:of before\n")
        other.chmod(0o600)
        status, _, told = log_in(box, there.hop, "me", stdin=PASSWORD)
    assert status == 77
    assert f"as cron will run it: cannot log in at {there.hop} as me: " in told


def test_doctor_says_what_cron_meets_and_what_helps(
    box: Box, machine: Machine, authority: Authority
) -> None:
    def looked() -> str:
        said = box.run("pymail", "doctor").stdout.decode().splitlines()
        (line,) = (line for line in said if "local: " not in line)
        return line

    secrets = box.config_file.parent / "saslpass"
    with server(authority) as there:
        box.config(
            f"relayhost = '{there.hop}'\nsmtp_tls_CAfile = '{authority.file}'\n"
            f"smtp_sasl_password_maps = '{secrets}'\n"
        )
        secrets.write_text(f"{there.hop} me:wrong\n")
        secrets.chmod(0o600)
        refused = looked()
        assert refused.startswith(f"error: relay: cannot log in at {there.hop} as me: ")
        assert refused.endswith(": pymail login 127.0.0.1")
    silent = looked()
    assert silent.startswith(f"error: relay: cannot log in at {there.hop}: connect to 127.0.0.1")
    assert silent.endswith("Connection refused: see relayhost")
    box.config("relayhost = '[192.0.2.7]:25'\n")
    away = looked()
    assert away.startswith("error: relay: cannot reach [192.0.2.7]: ")
    assert away.endswith("Network is unreachable: connect this machine to a network")


def test_a_trial_without_an_end_is_told(box: Box) -> None:
    code = (
        "import os, sys; from pymail import login, nexthop, paths; login.PATIENCE = 0.1;"
        "paths.program = lambda *_: ['sleep', '9']; from pymail.errors import run;"
        "sys.exit(run('pymail', lambda: login.prove(nexthop.parse('[isp.example]:587'))))"
    )
    done = box.run(sys.executable, "-c", code)
    told = b"pymail: cannot log in at [isp.example]:587: no answer in 0.2 s\n"
    assert (done.returncode, done.stderr) == (75, told)


SPELLED = """\
# mine
[isp.example]:587\tme:old
isp.example:587 me:older
[ISP.example]:submission
  me:older yet
isp.example me:oldest

[isp.example]:465 me:other
you@isp.example:587 me:yours
"""
LEFT = "# mine\n\n[isp.example]:465 me:other\nyou@isp.example:587 me:yours\n"


@pytest.mark.parametrize("name", ["isp.example", "[ISP.example]:submission", "isp.example:587"])
def test_a_login_is_one_however_its_server_is_spelled(box: Box, name: str) -> None:
    secrets = box.config_file.parent / "saslpass"
    box.config(f"smtp_sasl_password_maps = '{secrets}'\n")
    secrets.write_text(SPELLED)
    secrets.chmod(0o600)
    assert log_in(box, "--no-test", name, "me", stdin=PASSWORD)[0] == 0
    shown = "isp.example:587" if name == "isp.example:587" else "[isp.example]:587"
    assert secrets.read_text() == f"{LEFT}{shown} me:pass word\n"
    secrets.write_text(SPELLED)
    assert log_in(box, "--remove", name)[0] == 0
    assert secrets.read_text() == LEFT
    assert log_in(box, "--remove", name)[0] == 65


RING = """\
import json, pathlib
from keyring.backend import KeyringBackend
FILE = pathlib.Path.home() / "ring.json"

class Ring(KeyringBackend):
    priority = 1
    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}
    def get_password(self, service, user):
        return self._all().get(f"{service} {user}")
    def set_password(self, service, user, password):
        FILE.write_text(json.dumps({**self._all(), f"{service} {user}": password}))
    def delete_password(self, service, user):
        left = self._all()
        del left[f"{service} {user}"]
        FILE.write_text(json.dumps(left))
"""


def with_keyring(box: Box) -> Path:
    """Give the trial a keyring that cron can ask; return the file that it keeps."""
    place = box.home / ".config/python_keyring"
    place.mkdir(parents=True)
    (place / "ring.py").write_text(RING)
    rc = f"[backend]\ndefault-keyring=ring.Ring\nkeyring-path={place}\n"
    (place / "keyringrc.cfg").write_text(rc)
    (box.home / ".local/share/python_keyring").mkdir(parents=True)
    shutil.copy(place / "keyringrc.cfg", box.home / ".local/share/python_keyring")
    return box.home / "ring.json"


def test_what_was_put_into_the_keyring_goes_with_the_login(box: Box) -> None:
    ring = with_keyring(box)
    hop = "[isp.example]:587"
    _, said, _ = log_in(box, "--no-test", hop, "me", stdin=PASSWORD)
    assert said == f"{hop}: stored in the keyring, not tested\n"
    (box.config_file.parent / "saslpass").write_text(f"{hop} me\n[isp.example]:465 you\n")
    assert json.loads(ring.read_text()) == {"pymail:isp.example me": "pass word"}
    assert log_in(box, "--remove", hop) == (0, f"{hop}: forgotten\n", "")
    assert json.loads(ring.read_text()) == {}


@pytest.mark.parametrize("used", ["", "[isp.example]:465", "[fetch.isp]"])
def test_a_password_of_the_keyring_that_others_use_stays(box: Box, used: str) -> None:
    ring = with_keyring(box)
    hop = "[isp.example]:587"
    log_in(box, "--no-test", hop, "me", stdin=PASSWORD)
    if used == "[fetch.isp]":
        box.config(f"{used}\nserver = 'isp.example'\nuser = 'me'\n")
    elif used:
        log_in(box, "--no-test", used, "me", stdin=PASSWORD)
    assert log_in(box, "--remove", hop) == (0, f"{hop}: forgotten\n", "")
    assert ("pass word" in ring.read_text()) is bool(used)


def test_nothing_is_stored_where_the_configuration_has_a_table(box: Box) -> None:
    ring = with_keyring(box)
    box.config("[smtp_sasl_password_maps]\n'[other.example]:587' = 'me:secret'\n")
    box.config_file.chmod(0o600)
    status, _, told = log_in(box, "--no-test", "[isp.example]:587", "me", stdin=PASSWORD)
    assert status == 65
    assert "smtp_sasl_password_maps is a table" in told
    assert not ring.exists()
    assert [each.name for each in box.config_file.parent.iterdir()] == ["config.toml"]


def test_a_login_is_tried_at_the_next_address_as_mail_is(
    box: Box, machine: Machine, authority: Authority
) -> None:
    table = Path("/etc/hosts")
    before = table.read_text()
    with server(authority, "two.example") as there:
        # Nobody listens at the first that is tried, ::1.
        table.write_text(f"{before}::1 two.example\n127.0.0.1 two.example\n")
        try:
            box.config(f"smtp_tls_CAfile = '{authority.file}'\n")
            hop = f"[two.example]:{there.port}"
            status, said, told = log_in(box, hop, "me", stdin=PASSWORD)
            refused = log_in(box, hop, "me", stdin=b"wrong\n")
        finally:
            table.write_text(before)
        assert (status, told) == (0, "")
        assert "the login works, also from cron" in said
        assert (refused[0], there.logins) == (77, 3)
