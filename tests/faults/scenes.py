"""What is done in the world: the commands that the faults strike, and what must come of them.

A scene prepares the world, names one command, and says which letters have to end up where. A
submission's letter exists only if the command says so; a delivery's letters were accepted
before it began.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from .relay import DOMAIN
from .world import User, World

SUBMISSION, DELIVERY, INDEX, ATTACKED = "submission", "delivery", "index", "attacked"
Command = tuple[User | None, list[str], str]
Expected = dict[tuple[str, str], int]
NOTHING = "/dev/null"


@dataclass(frozen=True, slots=True)
class Scene:
    """One command in one situation."""

    name: str
    title: str
    kind: str
    system: bool  # needs root and several users
    prepare: Callable[[World], None]
    command: Callable[[World], Command]
    expected: Callable[[World], Expected]
    repair: Callable[[World], None] = lambda _w: None  # what an administrator does afterwards


def _own_spool(w: World) -> None:
    """User mode, in which one letter has been and gone."""
    me = w.users[0]
    w.submit(me, "earlier", me.name)
    w.flush()
    _throw_away(w)


def _first_mail(_w: World) -> None:
    """User mode, and nobody has ever sent anything."""


def _drop(w: World) -> None:
    """System mode; the drop directory of the first user exists."""
    w.system_spool()
    w.submit(w.users[0], "earlier", w.users[1].name)
    w.flush()
    _throw_away(w)


def _no_drop(w: World) -> None:
    """System mode, and the first mail ever."""
    w.system_spool()


def _own_queue(w: World) -> None:
    """User mode with two letters in the queue."""
    me = w.users[0]
    w.submit(me, "m1", me.name)
    w.submit(me, "m2", me.name, lines=200)


def _two_letters(w: World) -> None:
    """System mode with two users' letters to several mailboxes, one through an alias."""
    a, b, c = w.users
    w.configure("", f"team: {b.name}, {c.name}\n")
    w.system_spool()
    w.run(None, w.program("newaliases"))
    w.submit(a, "m1", a.name, "team")
    w.submit(b, "m2", b.name, a.name, lines=200)


def _broken_mailbox(w: World) -> None:
    """System mode; one of three mailboxes cannot be written to for the present."""
    a, b, c = w.users
    w.system_spool()
    with open(f"{c.home}/Maildir", "wb"):
        os.chown(f"{c.home}/Maildir", c.uid, c.gid)
    w.submit(a, "m1", b.name, c.name, a.name)


def _mend_mailbox(w: World) -> None:
    path = f"{w.users[2].home}/Maildir"
    if os.path.isfile(path):
        os.unlink(path)


def _unknown_user(w: World) -> None:
    """System mode with a letter of which two recipients do not exist."""
    a, b, _ = w.users
    w.system_spool()
    w.submit(a, "m1", "nobody-of-that-name", b.name, "nor-this-one")


def _files(w: World) -> None:
    """System mode with a .forward into an mbox file."""
    a, b, c = w.users
    with open(f"{b.home}/.forward", "w", encoding="ascii") as file:
        file.write(f"{b.home}/mbox\n")
    os.chown(f"{b.home}/.forward", b.uid, b.gid)
    w.system_spool()
    w.submit(a, "m1", b.name, c.name)
    w.submit(c, "m2", b.name)


def _relay(w: World) -> None:
    w.configure(f'relayhost = "[127.0.0.1]:{w.relay.port}"\n', "")


def _away(w: World) -> None:
    """User mode with two letters for a relay, one of them to two recipients."""
    me = w.users[0]
    _relay(w)
    w.submit(me, "m1", f"x@{DOMAIN}")
    w.submit(me, "m2", f"x@{DOMAIN}", f"y@{DOMAIN}", lines=200)


def _here_and_away(w: World) -> None:
    """System mode with a letter for here and elsewhere, and one of which a part is refused."""
    a, b, _ = w.users
    _relay(w)
    w.system_spool()
    w.submit(a, "m1", b.name, f"x@{DOMAIN}")
    w.submit(a, "m2", f"refused@{DOMAIN}", f"y@{DOMAIN}", lines=200)


def _put_off(w: World) -> None:
    """User mode with a letter of which one recipient is refused for the present."""
    _relay(w)
    w.submit(w.users[0], "m1", f"later@{DOMAIN}", f"x@{DOMAIN}")


def _old_index(w: World) -> None:
    """System mode with an aliases file, large enough to be indexed, that has changed since."""
    _, b, c = w.users
    many = "".join(f"filler-{number}: {'nobody' * 16}\n" for number in range(700))
    w.configure("", f"{many}team: {b.name}\n")
    w.system_spool()
    w.run(None, w.program("newaliases"))
    w.configure("", f"{many}team: {c.name}\nother: {b.name}\n")


def _throw_away(w: World) -> None:
    for user in w.users:
        w.run(user, ["/bin/sh", "-c", "rm -f ~/Maildir/new/*"])


def _sends(
    *recipients: int, options: tuple[str, ...] = ("-i",), lines: int = 60
) -> Callable[[World], Command]:
    def command(w: World) -> Command:
        names = [w.users[number].name for number in recipients]
        place = w.letter("m1", ", ".join(names), lines)
        operands = [] if "-t" in options else names
        return w.users[0], w.program("sendmail", *options, *operands), place

    return command


def _to(*recipients: int) -> Callable[[World], Expected]:
    return lambda w: {(w.users[number].name, "m1"): 1 for number in recipients}


def _delivered(w: World) -> Expected:
    if not w.system:
        return {(w.users[0].name, "m1"): 1, (w.users[0].name, "m2"): 1}
    a, b, c = (user.name for user in w.users)
    return {(a, "m1"): 1, (b, "m1"): 1, (c, "m1"): 1, (b, "m2"): 1, (a, "m2"): 1}


def _all_three(w: World) -> Expected:
    return {(user.name, "m1"): 1 for user in w.users}


def _one_bounce(w: World) -> Expected:
    return {(w.users[0].name, "bounce-of-m1"): 1, (w.users[1].name, "m1"): 1}


def _filed(w: World) -> Expected:
    return {(w.users[1].name, "m1"): 1, (w.users[2].name, "m1"): 1, (w.users[1].name, "m2"): 1}


def _relayed(w: World) -> Expected:
    if not w.system:
        x, y = f"x@{DOMAIN}", f"y@{DOMAIN}"
        return {(x, "m1"): 1, (x, "m2"): 1, (y, "m2"): 1}
    a, b, _ = (user.name for user in w.users)
    here = {(b, "m1"): 1, (a, "bounce-of-m2"): 1}
    return here | {(f"x@{DOMAIN}", "m1"): 1, (f"y@{DOMAIN}", "m2"): 1}


def _relayed_later(_w: World) -> Expected:
    return {(f"later@{DOMAIN}", "m1"): 1, (f"x@{DOMAIN}", "m1"): 1}


def _flush(w: World) -> Command:
    return None if w.system else w.users[0], w.program("flush"), NOTHING


def _newaliases(w: World) -> Command:
    return None, w.program("newaliases"), NOTHING


SCENES = {
    scene.name: scene
    for scene in (
        Scene("submit", "sendmail, user mode", SUBMISSION, False, _own_spool, _sends(0), _to(0)),
        Scene(
            "submit-t",
            "sendmail -t, user mode",
            SUBMISSION,
            False,
            _own_spool,
            _sends(0, options=("-t", "-i")),
            _to(0),
        ),
        Scene(
            "submit-first",
            "sendmail, user mode, first mail ever",
            SUBMISSION,
            False,
            _first_mail,
            _sends(0),
            _to(0),
        ),
        Scene(
            "submit-big",
            "sendmail, user mode, 1 MB",
            SUBMISSION,
            False,
            _own_spool,
            _sends(0, lines=16000),
            _to(0),
        ),
        Scene("drop", "sendmail, system mode", SUBMISSION, True, _drop, _sends(1, 2), _to(1, 2)),
        Scene(
            "drop-t",
            "sendmail -t, system mode",
            SUBMISSION,
            True,
            _drop,
            _sends(1, 2, options=("-t", "-i")),
            _to(1, 2),
        ),
        Scene(
            "drop-first",
            "sendmail, system mode, first mail ever",
            SUBMISSION,
            True,
            _no_drop,
            _sends(1),
            _to(1),
        ),
        Scene("flush-own", "flush, user mode", DELIVERY, False, _own_queue, _flush, _delivered),
        Scene(
            "flush",
            "flush as root, five mailboxes, an alias",
            DELIVERY,
            True,
            _two_letters,
            _flush,
            _delivered,
        ),
        Scene(
            "flush-retry",
            "flush as root, a mailbox broken",
            DELIVERY,
            True,
            _broken_mailbox,
            _flush,
            _all_three,
            _mend_mailbox,
        ),
        Scene(
            "flush-bounce",
            "flush as root, unknown users",
            DELIVERY,
            True,
            _unknown_user,
            _flush,
            _one_bounce,
        ),
        Scene(
            "flush-file", "flush as root, into an mbox file", DELIVERY, True, _files, _flush, _filed
        ),
        Scene("relay-own", "flush to a relay, user mode", DELIVERY, False, _away, _flush, _relayed),
        Scene(
            "relay-later",
            "flush to a relay, a recipient put off",
            DELIVERY,
            False,
            _put_off,
            _flush,
            _relayed_later,
        ),
        Scene(
            "relay",
            "flush as root to a relay, a recipient refused",
            DELIVERY,
            True,
            _here_and_away,
            _flush,
            _relayed,
        ),
        Scene(
            "attacked",
            "flush as root, attacked",
            ATTACKED,
            True,
            _first_mail,
            _flush,
            lambda _w: {},
        ),
        Scene("newaliases", "newaliases", INDEX, True, _old_index, _newaliases, lambda _w: {}),
    )
}
