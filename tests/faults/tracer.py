"""Run a command and strike at one chosen system call of its process tree.

A seccomp filter stops the tree at the calls that matter and nowhere else, ptrace looks at each,
and the calls that `watch` accepts are numbered in the order in which they happen, whichever
process makes them. A Fault says which calls it counts and what it does at the one with its
number. No privilege is needed to trace one's own programs. A program that says when it is loaded
is stopped from there on only, which halves the time: see Command.
"""

import contextlib
import ctypes
import errno
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import syscalls

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

_CONT, _GETREGS, _SETREGS, _SYSCALL = 7, 12, 13, 24
_GETEVENTMSG, _SEIZE, _LISTEN = 0x4201, 0x4206, 0x4208
_OPTIONS = (
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
)  # sysgood, fork, vfork, clone, exec, seccomp, exitkill
_EVENT_CHILD = (1, 2, 3)
_EVENT_EXEC, _EVENT_SECCOMP, _EVENT_STOP = 4, 7, 128
_WALL, _WNOTHREAD = 0x40000000, 0x20000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_GETRANDOM, _SECCOMP, _SET_MODE_FILTER = 318, 317, 1
_AT_FDCWD = 0xFFFFFF9C

LOADED = 4000
"""Bytes of randomness that a program asks for to say that it is loaded."""

# Places in struct user_regs_struct.
_RAX, _NR, _COUNT_REGS = 10, 15, 27
_ARGUMENTS = (14, 13, 12, 7, 9, 8)

_MAKES_FILE = os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
_FCNTL_COUNTED = (5, 6, 7, 36, 37, 38, 1024)  # locks and leases
_MINUS_ONE = 2**64 - 1


class Call:
    """One numbered system call: who makes it, and what it is about."""

    __slots__ = ("args", "name", "number", "path", "pid")

    def __init__(self, number: int, pid: int, name: str, args: tuple[int, ...], path: str) -> None:
        self.number = number
        self.pid = pid
        self.name = name
        self.args = args
        self.path = path

    def __str__(self) -> str:
        return f"{self.number}. {self.name}({self.path})"


class Result:
    """How a traced command ended: its exit status or None, and the calls that were counted."""

    __slots__ = ("calls", "hung", "status", "struck")

    def __init__(self) -> None:
        self.status: int | None = None  # None: killed; negative: by a signal that we did not send
        self.calls: list[Call] = []
        self.struck: Call | None = None
        self.hung = False


class Fault:
    """Nothing happens: the calls that change something are counted."""

    counts = syscalls.CHANGES | syscalls.SAYS
    word = "watched"

    def __init__(self, at: int = 0) -> None:
        self.at = at

    def meets(self, call: Call) -> bool:
        """Say whether a call is one of those that this fault counts."""
        return self.counts is not Fault.counts or call.name in syscalls.SAYS or changes(call)

    def strike(self, tree: "Tree", call: Call) -> None:
        """Act at the call with the chosen number; the caller is stopped before it."""

    def after(self, tree: "Tree", call: Call) -> None:
        """Act at a later call."""


class KillTree(Fault):
    """Everything before the call has happened; then every process is gone."""

    word = "killed"

    def strike(self, tree: "Tree", call: Call) -> None:
        tree.kill()


class KillOne(Fault):
    """Only the process that makes the call dies; parents and children go on."""

    word = "one process killed"

    def strike(self, tree: "Tree", call: Call) -> None:
        os.kill(call.pid, signal.SIGKILL)


class KillMidWrite(Fault):
    """Half of a write reaches the file, then every process is gone."""

    counts = syscalls.WRITES
    word = "killed in the middle of a write"

    def strike(self, tree: "Tree", call: Call) -> None:
        tree.halve(call)
        tree.on_return(call.pid, lambda _pid: tree.kill())


class Fail(Fault):
    """The call is not made and fails with an error; with `times`, later ones of its name too."""

    counts = syscalls.ALL - {"exit_group"}

    def __init__(self, at: int = 0, code: int = errno.EIO, times: int = 1) -> None:
        super().__init__(at)
        self.code = code
        self.left = times
        self.name = ""
        self.word = f"{errno.errorcode[code]} {'once' if times == 1 else 'from then on'}"

    def meets(self, call: Call) -> bool:
        # No file system fails the close of what was only read.
        return call.name != "close" or _writable(call.pid, call.args[0])

    def strike(self, tree: "Tree", call: Call) -> None:
        self.name = call.name
        self.after(tree, call)

    def after(self, tree: "Tree", call: Call) -> None:
        if call.name != self.name or self.left == 0:
            return
        self.left -= 1
        if call.name == "close":  # a failed close has closed all the same
            tree.on_return(call.pid, lambda pid: tree.answer(pid, -self.code))
        else:
            tree.refuse(call.pid, -self.code)


class Short(Fault):
    """A read or a write moves half of what was asked, as it may at any time."""

    counts = frozenset(syscalls.COUNT)
    word = "a short transfer"

    def strike(self, tree: "Tree", call: Call) -> None:
        tree.halve(call)


class Pause(Fault):
    """The command stands still before the call while somebody else acts."""

    counts = syscalls.ALL
    word = "stopped, and somebody else acted"

    def __init__(self, at: int, act: Callable[[Call], object]) -> None:
        super().__init__(at)
        self.act = act

    def strike(self, tree: "Tree", call: Call) -> None:
        with tree.patience():
            self.act(call)


def changes(call: Call) -> bool:
    """Say whether a call can change a file, a lock or a lease."""
    if call.name in ("open", "openat"):
        return bool(call.args[1 if call.name == "open" else 2] & _MAKES_FILE)
    if call.name == "fcntl":
        return call.args[1] in _FCNTL_COUNTED
    return call.name in syscalls.CHANGES


def below(*roots: str) -> Callable[[Call], bool]:
    """Watch what happens below directories, on standard input, and to processes."""
    whole = tuple(sorted({path for root in roots for path in (root, os.path.realpath(root))}))
    inside = tuple(path + "/" for path in whole)

    def watch(call: Call) -> bool:
        if call.name in syscalls.CONTROL or call.name == "exit_group":
            return True
        if call.name in syscalls.READS and call.args[0] == 0:
            return True
        return call.path in whole or call.path.startswith(inside)

    return watch


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: `stdin` and `output` (appended to) are files; no `uid` means our own.

    One that `tells` calls getrandom(2) for LOADED bytes when it is loaded: nothing before counts.
    """

    argv: Sequence[str]
    stdin: str = os.devnull
    output: str = os.devnull
    env: dict[str, str] | None = None
    cwd: str = "/"
    uid: int | None = None
    gid: int = 0
    tells: bool = False


def run(
    command: Command, fault: Fault, watch: Callable[[Call], bool], patience: float = 60.0
) -> Result:
    """Run a command under a fault and return when every process of its tree has ended.

    A tree that lives longer than `patience` seconds is killed and has `hung`; a flush may wait for
    two locks of an mbox, fifteen seconds each.
    """
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            os.setsid()
            os.read(ready, 1)  # until we are traced
            _become(command, fault)
        finally:
            os._exit(127)
    os.close(ready)
    try:
        _ptrace(_SEIZE, pid, 0, _OPTIONS)
        os.write(go, b"!")
    finally:
        os.close(go)
    return Tree(pid, fault, watch, tells=command.tells).follow(patience)


class Tree:
    """The traced processes.  Used from the thread that started them, as ptrace demands."""

    def __init__(
        self, pid: int, fault: Fault, watch: Callable[[Call], bool], *, tells: bool
    ) -> None:
        self._main = pid
        self._live = {pid}
        self._ended: set[int] = set()  # a child's end may be told before its birth
        self._fault = fault
        self._watch = watch
        self._result = Result()
        self._tells = tells
        self._begun = False  # the first execve has been done, or it has told: now calls count
        self._killed = False
        self._returns: dict[int, Callable[[int], object]] = {}
        self._deadline = float("inf")

    def follow(self, patience: float) -> Result:
        self._deadline = time.monotonic() + patience
        over = threading.Event()
        dog = threading.Thread(target=self._watchdog, args=(over,), daemon=True)
        dog.start()
        try:
            while self._live:
                # Without the other threads' children: a test may have programs of its own.
                pid, status = os.waitpid(-1, _WALL | _WNOTHREAD)
                if os.WIFSTOPPED(status):
                    self._live.add(pid)
                    self._stopped(pid, status)
                else:
                    self._gone(pid, status)
        finally:
            over.set()
            dog.join()
        return self._result

    # What a fault may do.

    def kill(self) -> None:
        self._killed = True
        for pid in tuple(self._live):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def refuse(self, pid: int, answer: int) -> None:
        """Skip the call at which a process stands and let it return `answer`."""
        registers = _registers(pid)
        registers[_NR] = _MINUS_ONE
        registers[_RAX] = answer & _MINUS_ONE
        _set_registers(pid, registers)

    def answer(self, pid: int, answer: int) -> None:
        """Change what the call from which a process returns gives back."""
        registers = _registers(pid)
        registers[_RAX] = answer & _MINUS_ONE
        _set_registers(pid, registers)

    def halve(self, call: Call) -> None:
        """Let a transfer move only half (at least one byte) of what it was asked to."""
        registers = _registers(call.pid)
        place = _ARGUMENTS[syscalls.COUNT[call.name]]
        if call.name in syscalls.VECTORS:
            _shorten_vector(call.pid, registers[_ARGUMENTS[1]])
            registers[place] = 1
        elif registers[place] > 1:
            registers[place] //= 2
        _set_registers(call.pid, registers)

    def on_return(self, pid: int, act: Callable[[int], object]) -> None:
        """Let the call be made, then act before the process sees what it returned."""
        self._returns[pid] = act

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Stop the clock while somebody else is at work."""
        begun, self._deadline, deadline = time.monotonic(), float("inf"), self._deadline
        try:
            yield
        finally:
            self._deadline = deadline + time.monotonic() - begun

    # What ptrace tells.

    def _stopped(self, pid: int, status: int) -> None:
        sig, event = os.WSTOPSIG(status), status >> 16
        try:
            if event == _EVENT_SECCOMP:
                self._at_call(pid)
                _ptrace(_SYSCALL if pid in self._returns else _CONT, pid)
            elif sig == signal.SIGTRAP | 0x80:
                act = self._returns.pop(pid, None)
                if act is not None:
                    act(pid)
                _ptrace(_CONT, pid)
            elif event == _EVENT_STOP and sig != signal.SIGTRAP:
                _ptrace(_LISTEN, pid)  # stopped by SIGSTOP and its like: it stays so
            elif event:
                if event == _EVENT_EXEC:
                    self._begun = not self._tells
                elif event in _EVENT_CHILD:
                    self._live |= {_child(pid)} - self._ended
                _ptrace(_CONT, pid)
            else:
                _ptrace(_CONT, pid, 0, sig)
        except ProcessLookupError:
            pass  # killed in between; waitpid tells

    def _gone(self, pid: int, status: int) -> None:
        self._live.discard(pid)
        self._ended.add(pid)
        self._returns.pop(pid, None)
        if pid == self._main:
            code = os.waitstatus_to_exitcode(status)
            self._result.status = None if code == -signal.SIGKILL else code

    def _at_call(self, pid: int) -> None:
        if self._killed:
            return
        registers = _registers(pid)
        if not self._begun:
            if self._tells and registers[_ARGUMENTS[1]] == LOADED:
                self._begin(pid, registers)
            return
        if registers[_NR] == _GETRANDOM:
            return
        name = syscalls.NAME[registers[_NR]]
        args = tuple(registers[place] for place in _ARGUMENTS)
        call = Call(len(self._result.calls) + 1, pid, name, args, _object(pid, name, args))
        if not self._fault.meets(call) or not self._watch(call):
            return
        self._result.calls.append(call)
        if call.number == self._fault.at:
            self._result.struck = call
            self._fault.strike(self, call)
        elif self._result.struck is not None:
            self._fault.after(self, call)

    def _begin(self, pid: int, registers: "ctypes.Array[ctypes.c_ulonglong]") -> None:
        """Have a process take the filter, in the buffer and in place of the call it makes."""
        self._begun = True
        buffer = registers[_ARGUMENTS[0]]
        code = _instructions(self._fault.counts)
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(buffer)
            memory.write(struct.pack("HxxxxxxQ", len(code) // 8, buffer + 16) + code)
        usual = list(registers)
        registers[_NR] = _SECCOMP
        for place, value in zip(_ARGUMENTS, (_SET_MODE_FILTER, 0, buffer), strict=False):
            registers[place] = value
        _set_registers(pid, registers)

        def put_back(pid: int) -> None:
            if _registers(pid)[_RAX]:
                raise AssertionError("the program could not take the filter")
            usual[_RAX] = 0
            _set_registers(pid, (ctypes.c_ulonglong * _COUNT_REGS)(*usual))

        self.on_return(pid, put_back)

    def _watchdog(self, over: threading.Event) -> None:
        while not over.wait(max(0.01, min(1.0, self._deadline - time.monotonic()))):
            if time.monotonic() >= self._deadline:
                self._result.hung = True
                self.kill()


def _become(command: Command, fault: Fault) -> None:
    """Turn this child into the command: descriptors, filter, identity, exec."""
    source = os.open(command.stdin, os.O_RDONLY)
    sink = os.open(command.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in ((0, source), (1, sink), (2, sink)):
        os.dup2(descriptor, number)
    os.closerange(3, 64)
    os.chdir(command.cwd)
    if os.geteuid() != 0 or command.uid is not None:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = _instructions(frozenset() if command.tells else fault.counts)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0) != 0:
        os._exit(126)
    if command.uid is not None:
        os.setgroups([])
        os.setgid(command.gid)
        os.setuid(command.uid)
    os.execve(command.argv[0], command.argv, os.environ if command.env is None else command.env)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _instructions(counts: frozenset[str]) -> bytes:
    """Make the BPF code that hands these calls, and getrandom, to the tracer and allows others."""
    load_number, jump_equal, give = 0x20, 0x15, 0x06
    trace, allow = 0x7FF00000, 0x7FFF0000
    numbers = sorted({_GETRANDOM, *(syscalls.NUMBER[name] for name in counts)})
    code = [(load_number, 0, 0, 0)]
    code += [(jump_equal, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    code += [(give, 0, 0, allow), (give, 0, 0, trace)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _registers(pid: int) -> "ctypes.Array[ctypes.c_ulonglong]":
    registers = (ctypes.c_ulonglong * _COUNT_REGS)()
    _ptrace(_GETREGS, pid, 0, ctypes.addressof(registers))
    return registers


def _set_registers(pid: int, registers: "ctypes.Array[ctypes.c_ulonglong]") -> None:
    _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))


def _child(pid: int) -> int:
    message = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, pid, 0, ctypes.addressof(message))
    return message.value


def _object(pid: int, name: str, args: tuple[int, ...]) -> str:
    """Say what file a call is about, as an absolute path, or nothing."""
    kind = syscalls.OBJECT[name]
    if kind == "-":
        return ""
    if kind[0] == "F":
        return _descriptor(pid, args[int(kind[1])])
    base = _descriptor(pid, args[int(kind[1])] if kind[0] == "D" else _AT_FDCWD)
    address = args[int(kind[-1])]
    path = _string(pid, address) if address else ""
    return os.path.normpath(os.path.join(base, path)) if path else base


def _descriptor(pid: int, number: int) -> str:
    number &= 0xFFFFFFFF
    link = "cwd" if number == _AT_FDCWD else f"fd/{number}"
    try:
        return os.readlink(f"/proc/{pid}/{link}").removesuffix(" (deleted)")
    except OSError:
        return f"[{number}]"


def _writable(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{number & 0xFFFFFFFF}", encoding="ascii") as file:
            flags = next(line.split()[1] for line in file if line.startswith("flags:"))
    except OSError:
        return False
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _string(pid: int, address: int) -> str:
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            data = memory.read(4096 - address % 4096)
            if b"\0" not in data:
                data += memory.read(4096)
    except (OSError, OverflowError):  # gone, or an address that is none
        return "?"
    return os.fsdecode(data.split(b"\0", 1)[0])


def _shorten_vector(pid: int, address: int) -> None:
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(address + 8)
        (length,) = struct.unpack("Q", memory.read(8))
        memory.seek(address + 8)
        memory.write(struct.pack("Q", max(1, length // 2)))
