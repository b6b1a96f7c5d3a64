"""pymail queue: look at messages in the queue, and change what becomes of them."""

import os
import sys
from typing import TYPE_CHECKING

import click

from pymail import errors, paths
from pymail.cli.terminal import say
from pymail.spool import Spool

if TYPE_CHECKING:
    from pymail.log import Log


@click.group("queue")
def queue_face() -> None:
    """Look at queued messages, and change what becomes of them."""


@queue_face.command("list")
@click.option("-j", "as_json", is_flag=True, help="One JSON object a line.")
def list_queue(*, as_json: bool) -> None:
    """Show the queue, as mailq does."""
    sys.stdout.flush()
    argv = paths.program("mailq", *(["-j"] if as_json else []))
    os.execv(argv[0], argv)


@queue_face.command("show")
@click.argument("qid", metavar="ID")
@click.option("-e", "envelope", is_flag=True, help="Only envelope and attempts.")
@click.option("-m", "message", is_flag=True, help="Only the message.")
@click.option("--raw", is_flag=True, help="The message as it is, byte for byte.")
def show_message(qid: str, *, envelope: bool, message: bool, raw: bool) -> None:
    """Show one message: envelope, what happened so far, and the text."""
    from pymail import queued  # noqa: PLC0415

    active, state = queued.read(Spool(paths.spool()), qid)
    try:
        if raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(active.message())
            return
        if not message:
            for line in queued.about(active, state):
                say(line)
        if not message and not envelope:
            say("")
        if not envelope:
            for part in active.message().decode("utf-8", "replace").splitlines():
                say(part.expandtabs())
    finally:
        active.close()


def _apply(verb: str, ids: tuple[str, ...]) -> int:
    from pymail import queued  # noqa: PLC0415

    spool = Spool(paths.spool())
    log = _log(spool)

    def tell(qid: str, words: str) -> None:
        log.event("postsuper", f"{qid}: {words}")
        say(f"{qid}: {words}")

    troubles = queued.apply(spool, verb, ids, tell)
    for trouble in troubles:
        errors.complain("pymail", trouble)
    return errors.EX_DATAERR if troubles else errors.EX_OK


def _log(spool: Spool) -> "Log":
    from pymail.log import Log  # noqa: PLC0415

    return Log(None if spool.system else f"{spool.path}/log")


_IDS = click.argument("ids", nargs=-1, required=True, metavar="ID...|ALL")


@queue_face.command("try")
@click.option("--submitted", is_flag=True, help="Remove it where nothing would try it again.")
@click.argument("qid", metavar="ID")
def try_message(qid: str, *, submitted: bool) -> int:
    """Try to deliver one message now.

    Status 69 if it comes back to its sender, 75 if it has to wait. With --submitted, for who has
    just submitted it: 0 where something starts flush again and again; else it is removed.
    """
    from pymail import attempt  # noqa: PLC0415

    trial = attempt.submission if submitted else attempt.trial
    return trial(Spool(paths.spool()), qid)


@queue_face.command("hold")
@_IDS
def hold_messages(ids: tuple[str, ...]) -> int:
    """Keep messages from being tried until they are released."""
    return _apply("hold", ids)


@queue_face.command("release")
@_IDS
def release_messages(ids: tuple[str, ...]) -> int:
    """Let messages on hold be tried by the next flush."""
    return _apply("release", ids)


@queue_face.command("delete")
@_IDS
def delete_messages(ids: tuple[str, ...]) -> int:
    """Remove messages from the queue; nobody is told."""
    return _apply("delete", ids)


@queue_face.command("requeue")
@_IDS
def requeue_messages(ids: tuple[str, ...]) -> int:
    """Let messages be tried by the next flush, on hold or not yet due."""
    return _apply("requeue", ids)
