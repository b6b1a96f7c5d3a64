"""What a caller is told when something cannot be done: one line, and a status of sysexits.

A MailError carries the text for a person and the exit status; every program catches it once,
in run().  Any other exception is a bug and may show its traceback.
"""

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_OSERR = 71
EX_OSFILE = 72
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_PROTOCOL = 76
EX_NOPERM = 77
EX_CONFIG = 78


class MailError(Exception):
    """Something the caller must hear: str() is the sentence, `status` the exit status."""

    status = EX_SOFTWARE


class UsageError(MailError):
    """The command line cannot be understood, or names no recipient."""

    status = EX_USAGE


class DataError(MailError):
    """The message, an address or a file has a form that cannot be used."""

    status = EX_DATAERR


class InputError(MailError):
    """There is nothing to read the message from."""

    status = EX_NOINPUT


class OutputError(MailError):
    """Standard output cannot be written."""

    status = EX_IOERR


class NoUserError(MailError):
    """There is no such recipient on this machine."""

    status = EX_NOUSER


class TooBigError(MailError):
    """The message is larger than message_size_limit."""

    status = EX_UNAVAILABLE


class TempError(MailError):
    """Something of this machine failed; the same call may succeed later."""

    status = EX_TEMPFAIL


class SealedError(TempError):
    """The spool cannot be written to from here, whoever may do it elsewhere."""


class PermError(MailError):
    """The caller may not do this."""

    status = EX_NOPERM


class ConfigError(MailError):
    """A configuration file cannot be used."""

    status = EX_CONFIG


class UnheardError(Exception):
    """Nobody reads standard output any more.  The program ends, and that is no error.

    It is no OSError: click would end with a status of its own, and the reader would take it for
    one of the mailbox.
    """


def printable(text: str) -> str:
    """Return `text` as one line that is safe on a terminal and in a log.

    C0 and C1 control characters, line and paragraph separators, bidirectional overrides,
    zero-width characters and undecodable bytes become "?".
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)


def complain(program: str, text: str) -> None:
    """Write one line to standard error, whatever characters `text` has."""
    line = f"{program}: {printable(text)}\n"
    try:
        os.write(2, line.encode("utf-8", "replace"))
    except OSError:
        # Nobody is left to hear it: the exit status still says it.
        return


def write(data: bytes | memoryview) -> int:
    """Write all of `data` to standard output; return its length.

    Raise OutputError, or UnheardError where nobody reads it any more.
    """
    view = memoryview(data)
    size = view.nbytes
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        raise UnheardError from None
    except OSError as error:
        raise OutputError(f"cannot write output: {error.strerror}") from None
    return size


class _Output(io.FileIO):
    """What sys.stdout writes into.

    Its OSError would be taken for that of the file or mailbox at hand, and be told as such.
    """

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        return write(data)  # a BufferedWriter gives nothing else


def ensure_descriptors() -> None:
    """Make sure that descriptors 0 to 2 are open.

    GNU mail starts sendmail with 1 and 2 closed; the next file opened would become the
    standard output.  A closed standard input becomes one that cannot be read, so that its
    absence is not mistaken for an empty message.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if fd == 0 else os.O_RDWR)
    if sys.stdout is None:  # as Python has it where 1 was closed
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def run(program: str, main: "Callable[[], int]") -> int:
    """Call main() and return the exit status of the program.

    A MailError is told in one line on standard error, and so is memory that does not suffice.  A
    reader of our output that goes away (`mailq | head`) is no error.
    """
    ensure_descriptors()
    _prepare_output()
    try:
        status = _ended(main)
        if sys.stdout is not None:
            sys.stdout.flush()
    except MailError as error:
        if isinstance(error, OutputError):
            _silence()
        complain(program, str(error))
        return error.status
    except (UnheardError, BrokenPipeError):
        _silence()
        return EX_OK
    except MemoryError:
        complain(program, "out of memory")
        return EX_OSERR
    except KeyboardInterrupt:
        return 130
    return status


def _prepare_output() -> None:
    """Have sys.stdout raise what write() does, and show letters that the locale lacks as "?"."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(1, "w", closefd=False)),
            encoding=out.encoding,
            errors="replace" if out.errors == "strict" else out.errors,
            line_buffering=out.line_buffering or out.write_through,
        )


def _ended(main: "Callable[[], int]") -> int:
    """Return the status with which main() ends, from wherever it ends the program."""
    try:
        return main()
    except SystemExit as end:
        return int(end.code or EX_OK)


def _silence() -> None:
    """Let what is still to be written go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave(status: int) -> None:
    """End the process at once, with what was written flushed.

    Taking the interpreter down in order costs a fifth of what a whole sendmail costs.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass  # run() has told of it
    os._exit(status)
