"""Measure everything and print it: `python -m tests.bench`, as root, about a quarter of an hour."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from statistics import median

from . import disk, packages, shells, table
from .systems import ALL
from .table import PIP, Samples
from .worker import PYTHON

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = ("sendmail", "mailq", "newaliases", "flush")
NAMESPACES = ("-m", "-n", "-u", "-i", "-p", "-f", "--kill-child=SIGKILL", "--mount-proc")
CONNECTIONS = 20
ROUND_TRIP = 0.05
LAUNCHER = """\
#!{python} -IS
import sys
sys.path.insert(0, {lib!r})
from pymail.cli.{name} import main
from pymail.errors import leave
leave(main())
"""


class Actor:
    """The worker of one system, at the other end of two pipes."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self.name = name
        self.place = f"{given.work}/{name}"
        shutil.rmtree(self.place, ignore_errors=True)
        inside = [sys.executable, "-m", "tests.bench.worker", name, self.place]
        inside += [f"{given.work}/store", "" if given.plain else f"{given.work}/disk"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, *inside],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, do: str, **arguments: object) -> object:
        """Have something measured; None, with a word on stderr, if that failed."""
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline() or '{"error": "it has ended"}')
        except BrokenPipeError:
            answer = {"error": "it has ended"}
        if "error" in answer:
            print(f"bench: {self.name}: cannot measure {do} {arguments}: {answer['error']}",
                  file=sys.stderr)  # fmt: skip
            return None
        return answer["result"]

    def end(self) -> None:
        """End the worker; the kernel ends whatever runs on its stage."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


def launchers(store: str) -> None:
    """Install pymail as `pymail setup` does: a compiled copy, and scripts without site."""
    lib = f"{store}/lib"
    shutil.rmtree(lib, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(f"{ROOT}/pymail", f"{lib}/pymail", ignore=skip)
    subprocess.run([PYTHON, "-m", "compileall", "-q", lib], check=True)
    os.makedirs(f"{store}/launchers", exist_ok=True)
    for name in PROGRAMS:
        with open(f"{store}/launchers/{name}", "w") as file:
            file.write(LAUNCHER.format(python=PYTHON, lib=lib, name=name))
        os.chmod(f"{store}/launchers/{name}", 0o755)


def installed(store: str) -> str:
    """Install pymail with pip into an environment; return that, or "" if it cannot be done."""
    venv = f"{store}/venv"
    shutil.rmtree(venv, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "-w", f"{store}/wheel", ROOT]
    steps = [
        [PYTHON, "-m", "venv", "--without-pip", venv],
        [*pip, "--python", f"{venv}/bin/python", "install", "--no-deps", "--no-index",
         "-f", f"{store}/wheel", "pymail"],
    ]  # fmt: skip
    shutil.rmtree(f"{store}/wheel", ignore_errors=True)
    try:
        try:
            subprocess.run([*wheel, "--no-build-isolation"], check=True, capture_output=True)
        except subprocess.CalledProcessError:
            subprocess.run(wheel, check=True, capture_output=True)
        for step in steps:
            subprocess.run(step, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        print(f"bench: cannot install with pip: {error.stderr.decode()[-300:]}", file=sys.stderr)
        return ""
    return venv


def facts(store: str, work: str, *, plain: bool) -> str:
    """Return one line about what the numbers were measured on."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", work], capture_output=True, text=True, check=True
    ).stdout.strip()
    kind = kind if plain else "new ext4 in a file"
    python = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True)
    peers = [f"{name} {packages.version(name, store) or 'missing'}" for name in ("postfix", "dma")]
    return ", ".join(
        [
            f"{os.cpu_count()} cores",
            f"Linux {platform.release()}",
            kind,
            python.stdout.strip(),
            *peers,
        ]
    )


class Bench:
    """Goes round all systems and keeps one value a run of everything."""

    def __init__(self, names: list[str], venv: str, given: argparse.Namespace) -> None:
        self.names, self.venv, self.given = names, venv, given
        self.samples: Samples = {}

    def keep(self, row: str, column: str, value: object) -> None:
        """Keep one value; of a list, the median; of nothing, nothing."""
        if isinstance(value, list):
            value = median(value)
        if isinstance(value, float | int):
            self.samples.setdefault((row, column), []).append(value)

    def measure(self) -> None:
        """Measure everything, `runs` times, each time from a new disk."""
        for run in range(self.given.runs):
            for name in self.names:
                say(f"run {run + 1} of {self.given.runs}: {name}")
                actor = Actor(name, self.given)
                try:
                    actor.ask("start")
                    self.play(actor)
                finally:
                    actor.end()

    def play(self, actor: Actor) -> None:
        """Measure one system once."""
        self.submission(actor, actor.name)
        if actor.name == "pymail":
            self.interpreters(actor)
            self.shells(actor)
        self.big(actor)
        self.queue(actor)
        if actor.name != "dma":
            self.aliases(actor)
        self.relay(actor)
        # Once more, since looking at memory costs time.
        done = actor.ask("deliver", count=self.given.many, users=50, memory=True)
        if isinstance(done, dict):
            self.keep("flush of 10,000: memory", actor.name, done["peak"])

    def interpreters(self, actor: Actor) -> None:
        """Measure bare interpreters, and pymail as pip installs it."""
        row, times = "python3 -I -S -c pass", self.given.latency
        bare = [PYTHON, "-I", "-S", "-c", "pass"]
        self.keep(row, actor.name, actor.ask("bare", argv=bare, times=times))
        if self.venv:
            bare = [f"{self.venv}/bin/python", "-c", "pass"]
            self.keep(row, PIP, actor.ask("bare", argv=bare, times=times))
            self.submission(actor, PIP, [f"{self.venv}/bin/sendmail"])

    def shells(self, actor: Actor) -> None:
        """Measure what it costs a shell to find that there is no mail."""
        for shell in shells.STARTS:
            done = actor.ask("shell", shell=shell, times=self.given.latency)
            for row, value in done.items() if isinstance(done, dict) else ():
                self.keep(row, actor.name, value)

    def submission(self, actor: Actor, column: str, program: object = None) -> None:
        """Measure small submissions: one, many, and eight at a time."""
        for row, times, at_once in (
            ("sendmail, 1 KiB", self.given.latency, 1),
            ("submissions one after another", self.given.few, 1),
            ("submissions 8 at a time", self.given.few, 8),
        ):
            done = actor.ask("submit", times=times, at_once=at_once, program=program)
            if isinstance(done, dict):
                latency = row == "sendmail, 1 KiB"
                self.keep(row, column, done["each"] if latency else times / done["total"])

    def big(self, actor: Actor) -> None:
        """Measure a big submission, beside a synced copy of the same bytes."""
        done = actor.ask("big", size=self.given.big)
        if isinstance(done, dict):
            self.keep("sendmail, 10 MB", actor.name, done["seconds"])
            self.keep("dd with fsync, 10 MB", actor.name, done["copy"])
            self.keep("sendmail, 10 MB: memory", actor.name, done["peak"] - done["idle"])

    def queue(self, actor: Actor) -> None:
        """Measure what is done with a queue: nothing, looking at it, delivering it."""
        given, name = self.given, actor.name
        self.keep("flush with nothing to do", name, actor.ask("idle", times=given.latency))
        self.keep("resident while idle", name, actor.ask("resident"))
        for label, count in (("1,000", given.few), ("10,000", given.many)):
            for users in (1, 50):
                done = actor.ask("deliver", count=count, users=users)
                if isinstance(done, dict):
                    words = f"{label} queued to {users} Maildir{'s' * (users > 1)}"
                    self.keep(words, name, count / done["seconds"])
        self.keep("mailq on 10,000", name, actor.ask("mailq", count=given.many, times=5))

    def relay(self, actor: Actor) -> None:
        """Measure mail that leaves: to a server beside us, to one far away, past a dead one."""
        given, name = self.given, actor.name
        for label, count in (("1,000", given.few), ("10,000", given.many)):
            done = actor.ask("relay", count=count, connections=CONNECTIONS)
            if isinstance(done, dict):
                self.keep(f"{label} to an SMTP sink", name, count / done["seconds"])
        for connections, words in ((CONNECTIONS, "far away"), (1, "far away, 1 connection")):
            count = given.far if connections > 1 else given.far // 10
            done = actor.ask("relay", count=count, connections=connections, way=ROUND_TRIP / 2)
            if isinstance(done, dict):
                self.keep(f"200 to a sink {words}", name, count / done["seconds"])
                if connections > 1:
                    self.keep("connections for 200 far away", name, done["connections"])
                else:
                    # Without a connection's first and last, which are EHLO and QUIT.
                    turns = done["turns"] - 2 * done["connections"]
                    self.keep("round trips a message", name, turns / count)
        if name != "dma":  # it knows only one relay
            done = actor.ask("relay", count=given.few, connections=CONNECTIONS, dead=given.few)
            if isinstance(done, dict):
                self.keep("1,000 beside 1,000 for a dead server", name, given.few / done["seconds"])

    def aliases(self, actor: Actor) -> None:
        """Measure the indexing of many aliases, and whether many of them make mail slow."""
        many = self.given.aliases
        self.keep("index 100,000 aliases", actor.name, actor.ask("aliases", count=many, times=3))
        if actor.name == "pymail":
            for words, count in (("no aliases", 1), ("100,000 aliases", many)):
                row = f"flush of one message, {words}"
                self.keep(row, actor.name, actor.ask("lookup", aliases=count))


def say(words: str) -> None:
    """Tell a person who waits how far it is."""
    if sys.stderr.isatty():
        print(words, file=sys.stderr)


def main() -> int:
    """Measure, print, and end with 0: a slow machine is not an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds over all systems")
    parser.add_argument("--work", default="/var/tmp/pymail-bench", help="a directory on a disk")
    parser.add_argument("--plain", action="store_true", help="no disk of our own: use --work's")
    parser.add_argument("--only", default="pymail,Postfix,dma", help="systems to measure")
    parser.add_argument("--latency", type=int, default=50, help="starts of a program, a run")
    parser.add_argument("--few", type=int, default=1000, help="what stands for 1,000")
    parser.add_argument("--many", type=int, default=10000, help="what stands for 10,000")
    parser.add_argument("--far", type=int, default=200, help="what stands for 200")
    parser.add_argument("--aliases", type=int, default=100000, help="what stands for 100,000")
    parser.add_argument("--big", type=int, default=10_000_000, help="bytes of the big message")
    parser.add_argument("--json", help="write every value of every run to this file")
    given = parser.parse_args()
    wanted = given.only.split(",")
    if not set(wanted) <= ALL.keys():
        parser.error(f"--only names some of these: {','.join(ALL)}")
    if os.getuid() != 0:
        parser.error("root is needed: every system gets mounts and users of its own")
    store = f"{given.work}/store"
    os.makedirs(store, exist_ok=True)
    shutil.copy(f"{ROOT}/tests/bench/clock.py", store)
    launchers(store)
    venv = installed(store)
    if not given.plain:
        disk.image(f"{given.work}/disk")
    names = []
    for name in wanted:
        if name == "pymail" or packages.unpack(name.lower(), store):
            names.append(name)
        else:
            print(f"bench: cannot measure {name}: no package to be had", file=sys.stderr)
    bench = Bench(names, venv, given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bench.measure()
    except KeyboardInterrupt:
        print("bench: stopped; this is what was measured until then", file=sys.stderr)
    samples = bench.samples
    print(facts(store, given.work, plain=given.plain))
    print(f"medians of {given.runs} runs; dma delivers to an mbox that it does not sync\n")
    print("\n".join(table.table(samples)), "\n")
    print("\n".join(table.verdicts(samples)))
    if given.json:
        with open(given.json, "w") as file:
            json.dump({" | ".join(key): values for key, values in samples.items()}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
