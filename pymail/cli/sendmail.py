"""sendmail: take a message from a program and put it into the spool.

Reads no configuration and resolves nothing, so that nothing but the disk can stop a message.
Which options there are, and what becomes of each, is the table below; it was made from what
seventy-seven callers pass (cron, git, PHP, mutt ...) and what seven MTAs do with it.
"""

import errno
import os
import sys

from pymail import __version__, errors, paths
from pymail.address import is_safe, mailboxes, reverse_path, specs
from pymail.envelope import Envelope
from pymail.errors import DataError, InputError, SealedError, TempError, TooBigError, UsageError
from pymail.message import HEADER_LIMIT, recipients, split
from pymail.queuefile import is_id
from pymail.spool import Spool
from pymail.stream import Intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = """\
usage: sendmail [-itvGm] [-f sender] [-F name] [-N notify] [-R hdrs|full] [-V envid]
                [-B type] [-o option] [-O option=value] [recipient ...]
       sendmail -bs | -bv address ... | -bp | -bi | -q[f] [-qIid] [-qRtext] [-qStext]
"""

# What an option takes: nothing, the rest of its word or else the next word, or only the rest.
_NOTHING = "itmnvcsxUGI"
_ARGUMENT = "frFbBNRVOLhpCDXoeAM"
_ATTACHED = "dEJTq"

_READ = 1 << 16
_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")


class Request:
    """What the command line asks for."""

    __slots__ = (
        "aliases",
        "body",
        "delivery",
        "dot",
        "envid",
        "from_header",
        "full_name",
        "gateway",
        "mode",
        "notify",
        "operands",
        "ret",
        "select",
        "sender",
        "verbose",
    )

    def __init__(self) -> None:
        self.mode = "m"
        self.sender: str | None = None
        name = os.environb.get(b"NAME")
        self.full_name = None if name is None else name.decode("utf-8", "surrogateescape")
        self.dot = True
        self.from_header = False
        self.gateway = False
        self.verbose = False
        self.body = self.notify = self.ret = self.envid = self.delivery = self.aliases = ""
        self.select: list[str] = []
        self.operands: list[str] = []


def parse(args: list[str]) -> Request:  # noqa: C901  (getopt, with its three kinds)
    """Return what `args` ask for.  POSIX order: options end at the first operand.

    Raise UsageError for what is unknown, and for what cannot be ignored without harm.
    """
    request = Request()
    at = 0
    while at < len(args):
        word = args[at]
        if word == "-":
            raise UsageError("a lone - is no recipient")
        if not word.startswith("-"):
            break
        at += 1
        if word == "--":
            break
        if word.startswith("--"):
            _long(word)
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            if letter in _NOTHING:
                _set(request, letter, "")
                continue
            if letter in _ATTACHED:
                value, rest = rest, ""
            elif letter in _ARGUMENT:
                value, rest = rest, ""
                if not value:
                    if at == len(args):
                        raise UsageError(f"option -{letter} needs an argument")
                    value = args[at]
                    at += 1
            else:
                raise UsageError(f"option -{letter}{rest} not supported")
            _set(request, letter, value)
    request.operands = args[at:]
    return request


def _long(word: str) -> None:
    if word == "--help":
        sys.stdout.write(USAGE)
        raise SystemExit(errors.EX_OK)
    if word == "--version":
        sys.stdout.write(f"pymail {__version__}\n")
        raise SystemExit(errors.EX_OK)
    raise UsageError(f"option {word} not supported")


def _set(request: Request, letter: str, value: str) -> None:  # noqa: C901, PLR0912  (a table)
    """Carry one option over.  Options that change nothing here are accepted and forgotten."""
    match letter:
        case "f" | "r":
            request.sender = _sender(value)
        case "F":
            request.full_name = value
        case "i":
            request.dot = False
        case "t":
            request.from_header = True
        case "v":
            request.verbose = True
        case "G":
            request.gateway = True
        case "I":
            request.mode = "i"
        case "b":
            if value not in ("m", "s", "p", "i", "v", "h", "H"):
                raise UsageError(f"mode -b{value} not supported")
            request.mode = value
        case "q":
            _queue(request, value)
        case "B":
            request.body = value.upper() if value.upper() in ("7BIT", "8BITMIME") else ""
        case "N":
            request.notify = _notify(value)
        case "R":
            request.ret = {"hdrs": "HDRS", "full": "FULL"}.get(value.lower(), "")
        case "V":
            request.envid = value if value.isprintable() else ""
        case "X" if value.startswith("V"):
            # Ignoring it would send a list's bounces to the wrong address.
            raise UsageError(f"option -X{value} (VERP) not supported")
        case "o":
            _sendmail_option(request, value)
        case "O":
            name, _, setting = value.partition("=")
            if name.lower() == "deliverymode":
                request.delivery = setting[:1]


def _sendmail_option(request: Request, value: str) -> None:
    match value[:1]:
        case "i":
            request.dot = False
        case "t":
            request.from_header = True
        case "d":
            request.delivery = value[1:2]
        case "A":
            request.aliases = value[1:]


def _queue(request: Request, value: str) -> None:
    request.mode = "q"
    match value[:1]:
        case "I" | "R" | "S":
            names = {"I": "--id", "R": "--recipient", "S": "--sender"}
            request.select = [names[value[0]], value[1:]]
        case "" | "f" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
            # An interval would start a daemon; here it is one run, of everything.
            request.select = ["--all"]
        case _:
            raise UsageError(f"option -q{value} not supported")


def _sender(value: str) -> str:
    text = _unfolded(value).strip()
    if not is_safe(text):
        raise UsageError(f"cannot use sender {value}: control character")
    if not text:
        return ""
    found = specs(text)
    if len(found) != 1 or not found[0].valid:
        raise UsageError(f"cannot use sender {value}: not one address")
    address = found[0].address
    if errors.printable(address) != address:
        raise UsageError(f"cannot use sender {value}: not printable")
    return reverse_path(address)


def _notify(value: str) -> str:
    words = [word.strip().upper() for word in value.split(",")]
    if words == ["NEVER"]:
        return "NEVER"
    return ",".join(words) if all(word in _NOTIFY for word in words) else ""


def _operand_addresses(operands: list[str]) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for operand in operands:
        text = _unfolded(operand)
        if not is_safe(text):
            raise DataError(f"cannot use recipient {operand}: control character")
        found += mailboxes(text)
    return found


def _unfolded(text: str) -> str:
    """Return an argument with a blank for each tab, and for a line end that folds (RFC 5322)."""
    return text.replace("\r\n", "\n").replace("\t", " ").replace("\n ", " ")


def _choose(found: list[tuple[str, bool]]) -> list[str]:
    """Return each address once.  An invalid one is kept beside valid ones, to be bounced."""
    if not any(valid for _, valid in found):
        raise DataError(f"cannot use recipient {found[0][0]}: not an address")
    once: dict[str, str] = {}
    for address, _ in found:
        safe = "".join(c if is_safe(c) else "\ufffd" for c in address)
        once.setdefault(safe.lower(), safe)
    return list(once.values())


def submit(request: Request, spool: Spool, read: "Callable[[], bytes]") -> str:
    """Read a message and queue it; return its id.

    Raise SealedError before anything was read, where nothing can be queued from here.
    """
    named = _operand_addresses(request.operands)
    if not named and not request.from_header:
        raise UsageError("no recipients: name them on the command line, or use -t")
    intake = Intake(dot=request.dot)
    start = b""
    if request.from_header:
        spool.reach()
        start = _read_header(intake, read)
        for value in recipients(split(start)[0]):
            named += mailboxes(value.decode("utf-8", "surrogateescape"))
        if not named:
            raise UsageError("no recipient addresses found in message header")
    chosen = _choose(named)
    envelope = Envelope(
        os.geteuid(),
        chosen,
        sender=request.sender,
        full_name=None if request.full_name is None else _plain(request.full_name),
        body=request.body,
        ret=request.ret,
        envid=request.envid,
        kind="raw" if request.gateway else "",
        notify=[request.notify] * len(chosen),
    )
    draft = spool.draft(envelope)
    try:
        limit = spool.size_limit()
        draft.write(start)
        while data := _more(intake, read):
            _refuse_too_big(draft.size + len(data), limit)
            draft.write(data)
        _refuse_too_big(draft.size, limit)
        return draft.commit()
    except BaseException:
        draft.abandon()
        raise


def _more(intake: Intake, read: "Callable[[], bytes]") -> bytes:
    """Return the next bytes of the message, nothing at its end."""
    while not intake.ended:
        data = read()
        if not data:
            out = intake.finish()
            intake.ended = True
            return out
        out = intake.feed(data)
        if out:
            return out
    return b""


def _read_header(intake: Intake, read: "Callable[[], bytes]") -> bytes:
    data = b""
    while more := _more(intake, read):
        data += more
        if b"\n\n" in data or len(data) >= HEADER_LIMIT:
            break
    return data


def _read() -> bytes:
    """Return the next bytes of standard input, nothing at its end."""
    try:
        return os.read(0, _READ)
    except OSError as error:
        text = f"cannot read message from standard input: {error.strerror}"
        if error.errno == errno.EBADF:
            raise InputError(text) from None
        raise TempError(text) from None


def _refuse_too_big(size: int, limit: int) -> None:
    if 0 < limit < size:
        raise TooBigError(f"cannot queue message: too big, over {limit} bytes (message_size_limit)")


def _plain(name: str) -> str:
    """Return a full name with blanks for control characters; bytes of any charset stay."""
    return "".join(c if is_safe(c) else " " for c in name)


def _deliver(request: Request, qid: str) -> int:
    """Start delivery at once where -od asks for it and we may; return our exit status.

    -odb delivers apart from us.  -odi waits, and fails where the message comes back, or where
    nobody would try it again.
    """
    if request.delivery not in ("b", "i"):
        return errors.EX_OK
    if paths.is_system(paths.spool()) and os.geteuid() != 0:
        return errors.EX_OK  # the queue is root's; the next flush delivers it
    waits = request.delivery == "i"
    attempt = ("admin", "queue", "try", "--submitted", qid)
    argv = paths.program(*attempt) if waits else paths.program("flush", qid)
    null = os.open(os.devnull, os.O_RDWR)
    # What goes wrong is told by who waits.
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in ((0, 1) if waits else (0, 1, 2))]
    try:
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsid=not waits)
    except OSError as error:  # the message is safe; the next flush delivers it
        if waits:
            errors.complain("sendmail", f"cannot start flush: {error.strerror}; {qid} waits")
        return errors.EX_OK
    if not waits:
        return errors.EX_OK
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else errors.EX_TEMPFAIL  # killed: nobody knows


def _say(text: str) -> None:
    """Tell a person; the message is safe, whether anybody hears it or not."""
    try:
        os.write(1, text.encode())
    except OSError:
        return


def _become(name: str, *args: str) -> int:
    argv = paths.program(name)
    sys.stdout.flush()
    # UTF-8 also where the locale has another character set: so `args` were read.
    words = [word.encode("utf-8", "surrogateescape") for word in args]
    os.execv(argv[0], [*map(os.fsencode, argv), *words])


def _dialogue(request: Request) -> int:
    """Take mail by SMTP on standard input and output."""
    from pymail import dialogue  # noqa: PLC0415  (costs the usual path nothing)

    if request.operands or request.from_header:
        raise UsageError("-bs takes its recipients from the dialogue only")
    return dialogue.serve(lambda qid: _deliver(request, qid))


def _run_queue(request: Request) -> int:
    nothing = request.select[0] == "--id" and not is_id(request.select[1])
    if nothing or (paths.is_system(paths.spool()) and os.geteuid() != 0):
        return errors.EX_OK  # no message has that id; root's flush serves the queue
    return _become("flush", *(["-v"] if request.verbose else []), *request.select)


def _accepted(request: Request, args: list[str]) -> str:
    """Have the message queued, by another where we cannot; return its id."""
    spool = Spool(paths.spool())
    try:
        return submit(request, spool, _read)
    except SealedError as error:
        if spool.path != paths.SYSTEM_SPOOL:
            raise
        sealed = error
    from pymail import inlet  # noqa: PLC0415  (costs the usual path nothing)

    request.delivery = ""  # root's flush does it
    return inlet.hand_over(args, request.full_name, _read, sealed)


def _main() -> int:
    args = sys.argv[1:]
    if not all(arg.isascii() for arg in args):
        args = [os.fsencode(arg).decode("utf-8", "surrogateescape") for arg in args]
    request = parse(args)
    match request.mode:
        case "p":
            return _become("mailq", *(["-v"] if request.verbose else []))
        case "i":
            return _become("newaliases", *([request.aliases] if request.aliases else []))
        case "v":
            sender = [] if request.sender is None else ["-f", request.sender]
            return _become("admin", "explain", "--verify", *sender, "--", *request.operands)
        case "q":
            return _run_queue(request)
        case "h" | "H":
            return errors.EX_OK  # the host status of a Sendmail that keeps one
        case "s":
            return _dialogue(request)
    qid = _accepted(request, args)
    if request.verbose:
        _say(f"{qid}: queued\n")
    return _deliver(request, qid)


def main() -> int:
    """Run sendmail; return its exit status."""
    return errors.run("sendmail", _main)
