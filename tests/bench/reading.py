"""Opening a large Maildir, beside mutt: `python -m tests.bench.reading`.

The first time every header is read, from then on what is remembered.  mutt has its header cache.
Each reader opens the Maildir and leaves it at once.  Who is not installed is left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import argv  # noqa: E402
from typist import Terminal  # noqa: E402

HEAD = """\
Return-Path: <cron@host.example>
Received: by host.example (pymail) id {n}; Mon, 23 Nov 2026 03:04:05 +0000
From: =?koi8-r?B?6dfBziDwxdTSz9c=?= <ivan{n}@host.example>
To: root@host.example
Subject: =?utf-8?b?0J7RgtGH0ZHRgiDQt9CwINC00LXQvdGM?= {n}
Message-ID: <{n}@host.example>
Date: Mon, 23 Nov 2026 03:04:05 +0000
Content-Type: text/plain; charset=utf-8

"""


def fill(maildir: Path, count: int) -> None:
    """Put messages of about 2 KiB into a Maildir."""
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    body = "".join(f"{line:065}\n" for line in range(24))
    for n in range(count):
        (maildir / "cur" / f"{1_700_000_000 + n}.Q{n}.host:2,S").write_text(HEAD.format(n=n) + body)


def opened(reader: str, home: Path) -> float:
    """Return the seconds in which a reader opens the Maildir and leaves it."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "vt100", "LANG": "C.UTF-8"}
    env |= {"PYMAIL_SPOOL": f"{home}/spool", "PYMAIL_CONFIG": f"{home}/none.toml"}
    began = time.monotonic()
    if reader == "mutt":
        command = ["/usr/bin/env", "mutt", "-n", "-F", "/dev/null", "-f", str(home / "Maildir")]
        for text in (f"set header_cache={home}/hcache folder=/ quit=yes", "push <quit>"):
            command += ["-e", text]
        status = Terminal(command, env, home).end()
    else:
        words = {"mail": ["mail", "-n"], "mail -H": ["mail", "-n", "-H"]}
        command = argv(*words.get(reader, ["pymail", "list", "--json"]))
        done = subprocess.run(command, input=b"x\n", capture_output=True, env=env, check=False)
        status = done.returncode
    if status:
        raise SystemExit(f"{reader}: exit status {status}")
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as top:
        for reader in ("mail", "mail -H", "pymail list --json", "mutt"):
            if reader == "mutt" and not shutil.which("mutt"):
                continue
            home = Path(top) / reader.replace(" ", "")
            fill(home / "Maildir", given.messages)
            found[reader] = [opened(reader, home) for _ in range(given.runs + 1)]
            shutil.rmtree(home)
    if given.json:
        print(json.dumps(found))
        return
    print(f"a Maildir of {given.messages:,} messages, seconds: the first time, and from then on")
    for reader, times in found.items():
        print(f"    {reader:20} {times[0]:6.2f} {median(times[1:]):6.2f}")
    again = median(found["mail"][1:])
    print(f"mail again <= 1 s: {'reached' if again <= 1 else 'missed'}")


if __name__ == "__main__":
    main()
