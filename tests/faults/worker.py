"""Workers: processes with a world each, which play cases that they are given."""

import atexit
import ctypes
import functools
import itertools
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from . import attacks, mutants, world
from .stress import Load
from .sweep import NO_FAULT, OTHERS, Case, Outcome, Stage, Tally

_PR_SET_PDEATHSIG = 1
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Pool:
    """Plays cases in several worlds at once."""

    def __init__(self, size: int) -> None:
        if os.geteuid() == 0:
            world.remove_stale_users()
        self._top = tempfile.mkdtemp(prefix="pymail-faults-", dir=_scratch())
        os.chmod(self._top, 0o755)
        self._workers = [_Worker(f"{self._top}/{number}") for number in range(size)]

    def close(self) -> None:
        """End the workers; nothing is left of them."""
        for each in self._workers:
            each.close()
        shutil.rmtree(self._top, ignore_errors=True)

    def play(self, cases: Iterable[Case]) -> Iterator[Outcome]:
        """Play cases and yield their outcomes in any order; stop when nobody listens."""
        todo = iter(cases)
        done: queue.SimpleQueue[Outcome | Exception | None] = queue.SimpleQueue()
        lock = threading.Lock()
        enough = threading.Event()

        def drive(one: _Worker) -> None:
            try:
                while not enough.is_set():
                    with lock:
                        case = next(todo, None)
                    if case is None:
                        break
                    done.put(one.ask(case))
            except Exception as error:  # noqa: BLE001  # raised again where play() was called
                done.put(error)
            done.put(None)

        threads = [
            threading.Thread(target=drive, args=(each,), daemon=True) for each in self._workers
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                outcome = done.get()
                if outcome is None:
                    running -= 1
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    yield outcome
        finally:
            enough.set()
            for thread in threads:
                thread.join()

    def sweep(
        self, title: str, case: Case, most: int = 0, near: str = "", mix: Sequence[str] = ()
    ) -> Tally:
        """Play a case at every call, or at `most` of them, spread evenly, and count.

        With `near`, only calls with that in their label. With a `mix` of faults that count the
        same calls, each point meets the next of them. With a power cut the moment after the
        command's end is a point too.
        """
        tally = Tally(title)
        cases = self.points(case, most, near)
        if mix:
            faults = itertools.cycle(mix)
            cases = [replace(each, fault=next(faults)) for each in cases]
        for outcome in self.play(cases):
            if outcome.struck or case.cut:
                tally.add(outcome)
        return tally

    def first_bad(self, case: Case, near: str = "") -> Outcome | None:
        """Play a case at every call until something is wrong; return that."""
        for outcome in self.play(self.points(case, 0, near)):
            if not NO_FAULT.issuperset(outcome.verdicts):
                return outcome
        return None

    def points(self, case: Case, most: int, near: str) -> list[Case]:
        """Return the cases of a sweep."""
        (clean,) = self.play([replace(case, at=0)])
        if clean.verdicts:
            return [replace(case, at=0)]  # a mutant that not even runs
        labels = [*clean.trace, "end"] if case.cut else clean.trace
        numbers = [number for number, label in enumerate(labels, 1) if near in label]
        return [replace(case, at=numbers[place]) for place in spread(len(numbers), most)]

    def notices(self, mutant: str) -> str:
        """Play the sweeps that have to notice a mutant; say what was seen, or nothing."""
        for case, near in mutants.MUTANTS[mutant].sweeps:
            outcome = self.first_bad(replace(Case.parse(case), mutant=mutant), near)
            if outcome is not None:
                return f"noticed: {' '.join(outcome.verdicts)} at {outcome.struck or 'its end'}"
        return ""

    def jump(self, times: Iterable[str]) -> Iterator[str]:
        """Let clocks jump, and yield what came of it."""
        for when in times:
            yield self._workers[0].ask(when)

    def stress(self, seconds: float) -> Load:
        """Put one world under load."""
        load = self._workers[0].ask(seconds)
        assert isinstance(load, Load)
        return load


@functools.cache
def shared(size: int) -> Pool:
    """Return the pool of this process, made at first use and closed at exit."""
    pool = Pool(size)
    atexit.register(pool.close)
    return pool


def spread(length: int, most: int) -> list[int]:
    """Return 0 up to `length`, or `most` of these with both ends."""
    if most < 2 or length <= most:
        return list(range(length))
    return [number * (length - 1) // (most - 1) for number in range(most)]


class _Worker:
    """A worker as its parent sees it: cases in, outcomes out, pickled, through pipes."""

    def __init__(self, top: str) -> None:
        module = __name__.rpartition(".")[0]
        start = f"import sys; sys.path.insert(0, {_root(module)!r})\n"
        start += f"from {module}.worker import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start, top, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def ask(self, question: object) -> typing.Any:
        """Have a case played, or a world put under load."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(question, self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, _Failure):
            raise RuntimeError(f"{question}\n{answer}")  # noqa: TRY004  # the worker's error
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class _Failure(str):
    """A traceback of a worker."""

    __slots__ = ()


def _answer(stage: Stage, question: object) -> object:
    match question:
        case Case():
            return stage.play(question)
        case str():
            return stage.jump(question)
        case int() | float():
            return stage.stress(question)
    raise TypeError(question)


def main() -> None:
    """Be a worker: play what comes on standard input."""
    top, parent = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the programs print is no outcome
    world.enter()
    here = world.World(top)
    stage = Stage(here, OTHERS | attacks.ATTACKS)
    try:
        while True:
            try:
                case = pickle.load(source)
            except EOFError:
                break
            try:
                answer: object = _answer(stage, case)
            except Exception:  # noqa: BLE001  # raised again in the parent
                answer = _Failure(traceback.format_exc())
            pickle.dump(answer, sink)
            sink.flush()
    finally:
        here.close()


def _root(module: str) -> str:
    """Return the directory from which this package is imported under its present name."""
    root = _HOME
    for _ in range(module.count(".")):
        root = os.path.dirname(root)
    return root


def _scratch() -> str | None:
    """Memory is faster than a disk, and what is tested here is not the disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
