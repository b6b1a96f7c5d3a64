"""Fetching beside fetchmail, getmail and mpop: `python -m tests.bench.fetching`, as root.

One Dovecot with the same messages for all, 50 ms away (see distance.py), no TLS.  Each program
delivers to a Maildir of its own, fetchmail to a file of BSMTP: its fastest way.  What stays on
the server is there for the next.  Who is not installed is left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from authority import Authority  # noqa: E402
from mailstores import PASSWORD, USER, Store, dovecot  # noqa: E402
from relays import free_port  # noqa: E402

TOOLS = {"pymail": "pymail", "mpop": "mpop", "getmail": "getmail", "fetchmail": "fetchmail"}
NOBODY = 65534
"""Who fetches with getmail, which refuses to do it as root."""

KINDS = {"mpop": ("pop3",)}


@contextmanager
def far(port: int, seconds: float) -> Iterator[int]:
    """Have that port a round trip of so many seconds away; yield the port to ask."""
    ours = free_port()
    argv = [sys.executable, str(HERE / "distance.py"), str(ours), str(port), str(seconds / 2)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    process.stdout.readline()
    try:
        yield ours
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def command(tool: str, kind: str, port: int, home: Path) -> tuple[list[str], dict[str, str]]:
    """Write a program's configuration; return its command line and environment."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "USER": "root"}
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)

    def write(name: str, text: str) -> str:
        path = home / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    if tool == "pymail":
        text = (
            f"[fetch.bench]\nprotocol = '{kind}'\nserver = 'localhost'\nport = {port}\n"
            f"user = '{USER}'\npassword = '{PASSWORD}'\ntls_security_level = 'none'\n"
            "maildir = '~/Maildir'\n"
        )
        env |= {"PYMAIL_CONFIG": write("config.toml", text), "PYMAIL_SPOOL": f"{home}/spool"}
        return ["pymail", "fetch"], env
    if tool == "mpop":
        text = (
            f"account default\nhost localhost\nport {port}\nuser {USER}\npassword {PASSWORD}\n"
            f"auth user\ntls off\nkeep on\ndelivery maildir {home}/Maildir\n"
            f"uidls_file {home}/uidls\n"
        )
        return ["mpop", "-q", "-C", write("mpoprc", text)], env
    if tool == "getmail":
        retriever = {"imap": "SimpleIMAPRetriever", "pop3": "SimplePOP3Retriever"}[kind]
        text = (
            f"[retriever]\ntype = {retriever}\nserver = localhost\nport = {port}\n"
            f"username = {USER}\npassword = {PASSWORD}\n"
            f"[destination]\ntype = Maildir\npath = {home}/Maildir/\n"
            "[options]\nread_all = true\ndelete = false\nverbose = 0\n"
        )
        return ["getmail", "-g", str(home), "-r", write("getmailrc", text)], env
    text = (
        f"set no bouncemail\npoll localhost protocol {kind} port {port} auth password\n"
        f" user '{USER}' password '{PASSWORD}' keep fetchall bsmtp {home}/bsmtp sslproto ''\n"
    )
    return ["fetchmail", "-s", "-f", write("fetchmailrc", text), "-i", f"{home}/ids"], env


def arrived(home: Path) -> int:
    """Return how many messages a program has delivered."""
    file = home / "bsmtp"
    if file.exists():
        return file.read_bytes().count(b"\nDATA\r\n") or file.read_bytes().count(b"DATA\n")
    return len(os.listdir(home / "Maildir" / "new"))


def measure(tool: str, kind: str, port: int, count: int) -> float:
    """Return the messages a second of one fetch."""
    home = Path(tempfile.mkdtemp())
    try:
        argv, env = command(tool, kind, port, home)
        uid = NOBODY if tool == "getmail" else os.getuid()
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, uid)
        began = time.monotonic()
        done = subprocess.run(
            argv, env=env, capture_output=True, check=False, timeout=600, cwd=home,
            user=uid, group=uid, extra_groups=(),
        )  # fmt: skip
        taken = time.monotonic() - began
        got = arrived(home)
        if got != count:
            words = (done.stderr + done.stdout).decode("utf-8", "replace")[-500:]
            raise SystemExit(f"{tool} has fetched {got} of {count} by {kind}: {words}")
        return count / taken
    finally:
        shutil.rmtree(home)


def fill(store: Store, count: int) -> None:
    """Put messages of 2 KiB into the store."""
    body = b"".join(b"%065d\n" % line for line in range(30))
    store.put(*(b"From: a@x.org\nSubject: %d\n\n" % n + body for n in range(count)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tools = [tool for tool, program in TOOLS.items() if shutil.which(program)]
    found: dict[str, dict[str, list[float]]] = {"imap": {}, "pop3": {}}
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "ca").mkdir()
        pem = Authority(Path(top) / "ca").pem("good", "localhost")
        with dovecot(Path(top) / "dovecot", pem) as store:
            fill(store, given.messages)
            for kind, rates in found.items():
                with far(store.ports[kind], 0.05) as port:
                    for _ in range(given.runs):
                        for tool in tools:
                            if kind in KINDS.get(tool, (kind,)):
                                rate = measure(tool, kind, port, given.messages)
                                rates.setdefault(tool, []).append(rate)
    if given.json:
        print(json.dumps(found))
        return
    for kind, rates in found.items():
        ours = median(rates["pymail"])
        print(f"{kind}, {given.messages} messages of 2 KiB, 50 ms: messages a second")
        for tool, each in rates.items():
            rate = median(each)
            print(f"    {tool:10} {rate:8.1f}   pymail has {ours / rate:.2f} of it")


if __name__ == "__main__":
    main()
