"""Measure one system, on its stage, by order: a JSON object a line in, one a line out.

Runs as process 1 of its namespace: when it ends, the kernel ends everything it started.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from . import shells
from .sink import FAR, PORT, Dead, Distance, Sink
from .stage import SENDER, Stage
from .systems import ALL, ELSEWHERE, ENV, NOWHERE, System, locals_

SMALL = "Subject: one kibibyte\nTo: u00\n\n" + "123456789012345678901234567890\n" * 32
PYTHON = "/usr/bin/python3"
PATIENCE = 600


class Footprint(threading.Thread):
    """The most memory that everything on this stage but the bench itself has had at once.

    `field` says what is added up: "Pss", which counts a page shared by several processes once;
    or "VmHWM", each process' own high-water mark, which misses no peak between two looks.
    """

    def __init__(self, field: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.field, self.pause, self.peak = field, pause, 0
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self.over.is_set():
            self.peak = max(self.peak, self.now(self.field))
            time.sleep(self.pause)

    @staticmethod
    def now(field: str) -> int:
        """Return what all processes but the bench's own have, in bytes."""
        found = 0
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or pid == "1":
                continue
            try:
                with open(f"/proc/{pid}/comm") as file:
                    if file.read().startswith("python"):
                        continue
                with open(f"/proc/{pid}/{'status' if field[0] == 'V' else 'smaps_rollup'}") as file:
                    lines = [line for line in file if line.startswith(f"{field}:")]
            except OSError:  # it has just ended
                continue
            found += sum(int(line.split()[1]) for line in lines) * 1024
        return found

    def stop(self) -> int:
        """Return the peak."""
        self.over.set()
        self.join()
        return self.peak


class Worker:
    """Carries out the orders of the main program."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.place = system.stage.place

    def clock(
        self, argv: Sequence[str], times: int, at_once: int = 1, stdin: str = "/dev/null",
        env: dict[str, str] | None = None, uid: int = 0,
    ) -> dict[str, object]:  # fmt: skip
        """Time a command, as root or as the user who sends."""
        orders = {
            "argv": [*argv],
            "env": self.system.env if env is None else env,
            "stdin": stdin,
            "times": times,
            "at_once": at_once,
        }
        command = [PYTHON, "-IS", f"{self.system.store}/clock.py", json.dumps(orders)]
        done = subprocess.run(
            command, capture_output=True, check=False, user=uid, group=uid, cwd="/", env=ENV
        )
        if done.returncode:
            raise RuntimeError(f"{argv}: {done.stderr.decode(errors='replace').strip()}")
        return json.loads(done.stdout)

    def text(self, message: str) -> str:
        """Write a message to a file that every user may read; return its path."""
        path = f"{self.place}/message"
        with open(path, "w") as file:
            file.write(message)
        return path

    def do_start(self) -> None:
        """Build the stage."""
        self.system.start()

    def do_bare(self, argv: list[str], times: int) -> object:
        """Time an interpreter that does nothing."""
        return self.clock(argv, times, uid=SENDER[1], env=ENV)["each"]

    def do_submit(self, times: int, at_once: int, program: list[str] | None = None) -> object:
        """Time submissions of one KiB each; nothing is delivered meanwhile."""
        sendmail = program or self.system.sendmail
        self.system.hold()
        done = self.clock([*sendmail, "u00"], times, at_once, self.text(SMALL), uid=SENDER[1])
        self.system.empty()
        return done

    def do_big(self, size: int) -> object:
        """Time one big submission, and another with a look at its memory."""
        path = self.text("Subject: big\nTo: u00\n\n" + ("x" * 75 + "\n") * (size // 76))
        sendmail = [*self.system.sendmail, "u00"]
        self.system.hold()
        os.sync()
        seconds = self.clock(sendmail, 1, stdin=path, uid=SENDER[1])["total"]
        copy = ["/usr/bin/dd", f"if={path}", f"of={self.place}/home/{SENDER[0]}/copy"]
        os.sync()
        copied = self.clock([*copy, "bs=128K", "conv=fsync", "status=none"], 1, uid=SENDER[1])
        idle = Footprint.now("VmHWM")
        watch = Footprint("VmHWM", 0.0005)
        watch.start()
        self.clock(sendmail, 1, stdin=path, uid=SENDER[1])
        peak = watch.stop()
        self.system.empty()
        return {"seconds": seconds, "copy": copied["total"], "peak": peak, "idle": idle}

    def do_deliver(self, count: int, users: int, *, memory: bool = False) -> object:
        """Fill the queue, then time from the start of flush to the last letter in new/."""
        self.system.empty()
        self.system.fill(count, locals_(users), SMALL)
        self.system.release()
        os.sync()
        watch = Footprint("Pss", 0.02)
        if memory:
            watch.start()
        begun = time.time()
        subprocess.run(self.system.flush, env=self.system.env, check=True, cwd="/")
        ended = time.time()
        deadline = time.monotonic() + PATIENCE
        maildir = self.system.name != "dma"
        while self.system.stage.arrived() < count if maildir else self.system.pending():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.system.stage.arrived()} of {count} delivered")
            time.sleep(0.1 if maildir else 0.01)
            ended = time.time()
        peak = watch.stop() if memory else 0
        if maildir:
            letters, last = self.system.stage.letters()
            if letters != count:
                raise RuntimeError(f"{letters} letters of {count} messages")
        else:
            last = ended
        self.system.empty()
        return {"seconds": last - begun, "flush": ended - begun, "peak": peak}

    def do_relay(self, count: int, connections: int, way: float = 0, dead: int = 0) -> object:
        """Fill the queue, then time from the start of flush to the last message at the sink.

        With `way` the sink is that many seconds away; `dead` more messages are for a server
        that does not answer.
        """
        self.system.empty()
        sink, line = Sink(self.system.store, self.place), None
        closing = [sink]
        try:
            if way:
                line = Distance(way)
            if dead:
                closing.append(Dead())
            self.system.relay(FAR if way else PORT, connections)
            self.system.hold()
            names = (ELSEWHERE, NOWHERE) if dead else (ELSEWHERE,)
            self.system.fill(count + dead, tuple(f"u@{name}" for name in names), SMALL)
            self.system.release()
            os.sync()
            begun = time.time()
            running = subprocess.Popen(self.system.flush, env=self.system.env, cwd="/")
            deadline = time.monotonic() + PATIENCE
            while sink.count() < count:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{sink.count()} of {count} sent")
                time.sleep(0.005)
            seconds = time.time() - begun
            if running.wait(PATIENCE):
                raise RuntimeError(f"flush ended with {running.returncode}")
            passed = line.close() if line else {}
            line = None
            return {"seconds": seconds, **passed}
        finally:
            if line:
                line.close()
            for each in closing:
                each.close()
            self.system.empty()

    def do_mailq(self, count: int, times: int) -> object:
        """Time mailq on a full queue."""
        self.system.empty()
        self.system.fill(count, locals_(50), SMALL)
        each = self.clock(self.system.mailq, times)["each"]
        self.system.empty()
        return each

    def do_idle(self, times: int) -> object:
        """Time a flush of the empty queue."""
        self.system.empty()
        return self.clock(self.system.flush, times, uid=0)["each"]

    def do_aliases(self, count: int, times: int) -> object:
        """Time the indexing of an aliases file."""
        with open(self.system.aliases_file, "w") as file:
            file.writelines(f"alias{number}: u{number % 50:02}\n" for number in range(count))
        return self.clock(self.system.aliases, times)["each"]

    def do_lookup(self, aliases: int) -> object:
        """Time a flush of one message to one of so many aliases."""
        self.system.empty()  # with the index of the aliases before
        with open(self.system.aliases_file, "w") as file:
            file.writelines(f"alias{number}: u{number % 50:02}\n" for number in range(aliases))
        self.clock(self.system.aliases, 1)
        name = f"alias{aliases - 1}"
        self.clock([*self.system.sendmail, name], 1, stdin=self.text(SMALL), uid=SENDER[1])
        seconds = self.clock(self.system.flush, 1)["total"]
        if self.system.stage.arrived() != 1:
            raise RuntimeError("the alias was not found")
        os.unlink(self.system.aliases_file)
        self.system.empty()
        return seconds

    def do_shell(self, shell: str, times: int) -> object:
        """Time the start of a shell, with and without the lines that look for new mail."""
        spool = self.system.env["PYMAIL_SPOOL"]
        rows, home = shells.commands(shell, self.place, spool)
        found: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(times):  # in turn: a busy moment falls on both
            for row, argv in rows.items():
                done = self.clock(argv, 1, uid=SENDER[1], env={**ENV, **home})
                found[row].append(done["total"])
        return found

    def do_resident(self) -> object:
        """Tell the memory of what runs while nothing happens."""
        return Footprint.now("Pss")

    def do_empty(self) -> None:
        """Begin anew."""
        self.system.empty()


def main() -> None:
    """Carry out one order a line until there are no more."""
    name, place, store, image = sys.argv[1:]
    worker = Worker(ALL[name](Stage(place, image), store))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"result": getattr(worker, f"do_{order.pop('do')}")(**order)}
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
