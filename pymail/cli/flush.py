"""flush: one queue run.

With nothing to do it ends before it has loaded more than mailq does.  From cron it prints
nothing for what is normal; a reason why no mail moves at all is said once a day.
"""

import os
import sys
import time

from pymail import __version__, errors, paths, pickup
from pymail.errors import MailError, OutputError, PermError, TempError, UnheardError, UsageError
from pymail.queuefile import NEVER, is_id
from pymail.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pymail.active import Active
    from pymail.flush import Selection
    from pymail.log import Log

USAGE = """\
usage: flush [-av] [--log FILE|-] [--site DOMAIN] [--recipient TEXT] [--sender TEXT] [ID ...]
"""

_DAY = 86400


class Request:
    """What the command line asks for."""

    __slots__ = ("everything", "ids", "log", "recipient", "sender", "site", "verbose")

    def __init__(self) -> None:
        self.everything = self.verbose = False
        self.log: str | None = None
        self.recipient = self.sender = self.site = ""
        self.ids: list[str] = []

    @property
    def selects(self) -> bool:
        """Whether only some messages are meant, due or not."""
        return bool(self.everything or self.ids or self.recipient or self.sender or self.site)


def parse(args: list[str]) -> Request:
    """Return what `args` ask for.  Raise UsageError for what is unknown."""
    request = Request()
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("--log", "--site", "--recipient", "--sender", "--id"):
            value = value if equals else next(words, "")
            if not value:
                raise UsageError(f"option {name} needs an argument")
            if name == "--id":
                request.ids.append(value)
            else:
                setattr(request, name[2:], value)
        elif word.startswith("--"):
            _switch(request, word)
        elif word.startswith("-"):
            for letter in word[1:] or "-":
                _switch(request, f"-{letter}")
        else:
            request.ids.append(word)
    for qid in request.ids:
        if not is_id(qid):
            raise UsageError(f"cannot flush {qid}: not a queue id")
    return request


def _switch(request: Request, word: str) -> None:
    match word:
        case "-v" | "--verbose":
            request.verbose = True
        case "-a" | "--all":
            request.everything = True
        case "-h" | "--help":
            sys.stdout.write(USAGE)
            raise SystemExit(errors.EX_OK)
        case "-V" | "--version":
            sys.stdout.write(f"pymail {__version__}\n")
            raise SystemExit(errors.EX_OK)
        case _:
            raise UsageError(f"option {word} not supported")


def _idle(spool: Spool, now: int) -> bool:
    """Say whether nothing is due, as far as names and times tell."""
    for _, due in spool.entries():
        # Far ahead but not held: written by a clock that was wrong.
        if due <= now or (due > now + _DAY and due != NEVER):
            return False
    return not (spool.system and pickup.waiting(spool)) and not _tended(spool, now)


def _tended(spool: Spool, now: int) -> bool:
    """Say whether there is something to tell of jobs of cron; see folding.py."""
    try:
        return os.stat(spool.cron).st_mtime <= now
    except OSError:
        return False


def _work(spool: Spool, request: Request) -> None:
    # Only now: an idle flush must not pay for these.
    from pymail import config, flush  # noqa: PLC0415

    flush.run(
        spool,
        config.here(spool.path),
        _log(spool, request),
        selection=_selection(request),
        tell=_say if request.verbose else lambda _: None,
    )


def _log(spool: Spool, request: Request) -> "Log":
    """Open the log; tell, cron once a day, where one that somebody named cannot be opened."""
    from pymail import complaint, log  # noqa: PLC0415

    named = request.log or os.environ.get("PYMAIL_LOG")
    opened = log.Log(named or (None if spool.system else f"{spool.path}/log"))
    told = f"{spool.queue}/.complaint.log"
    if not (named and opened.trouble):
        complaint.forget(told)
    elif sys.stderr.isatty() or not complaint.said_today(told, opened.trouble):
        errors.complain("flush", f"{opened.trouble}; mail is delivered all the same")
    return opened


def _selection(request: Request) -> "Selection":
    from pymail import flush  # noqa: PLC0415

    texts = (request.recipient, request.sender, request.site)

    def matches(active: "Active") -> bool:
        envelope = active.head.envelope
        names = [name.lower() for name in envelope.recipients]
        site = f"@{request.site.lower()}"
        return (
            any(request.recipient.lower() in name for name in names)
            and request.sender.lower() in (envelope.sender or "").lower()
            and (not request.site or any(name.endswith(site) for name in names))
        )

    return flush.Selection(
        frozenset(request.ids), request.everything, matches if any(texts) else None
    )


def _say(text: str) -> None:
    try:
        sys.stdout.write(f"{errors.printable(text)}\n")
        sys.stdout.flush()
    except (OutputError, UnheardError):
        # `flush -v | head`: no reason to break off deliveries, a command would run twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _main() -> int:
    request = parse(sys.argv[1:])
    os.umask(0o077)
    spool = Spool(paths.spool())
    if spool.system and os.geteuid() != 0:
        raise PermError(f"cannot flush {spool.path}: only root may; your mail is flushed by cron")
    try:
        if not request.selects and _idle(spool, int(time.time())):
            _forget_complaint(spool)  # it keeps no mail from moving now
            return errors.EX_OK
        _work(spool, request)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _complain(spool, _trouble(error))
    except MailError as error:
        return _complain(spool, error)
    _forget_complaint(spool)
    return errors.EX_OK


def _forget_complaint(spool: Spool) -> None:
    if not os.path.lexists(_complaint(spool)):
        return
    from pymail import complaint  # noqa: PLC0415 -- start-up

    complaint.forget(_complaint(spool))


def _trouble(error: OSError) -> TempError:
    """Say that a run ended early: nothing is lost by that, the next one goes on."""
    from pymail import complaint  # noqa: PLC0415 -- start-up

    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return TempError(f"{complaint.HALTED}: {error.strerror}{where}")


def _complaint(spool: Spool) -> str:
    return f"{spool.queue}/.complaint"


def _complain(spool: Spool, error: MailError) -> int:
    """Raise what stopped the run, once a day where cron is who hears it."""
    from pymail import complaint  # noqa: PLC0415 -- start-up

    if not sys.stderr.isatty() and complaint.said_today(_complaint(spool), str(error)):
        return error.status
    raise error


def main() -> int:
    """Run flush; return its exit status."""
    return errors.run("flush", _main)
