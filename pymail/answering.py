"""What the commands of mail's reading side send: answers, messages passed on, new ones."""

import os
from collections.abc import Callable

from pymail import address, config, mailverbs, paths, recipients, replying
from pymail.compose import Draft
from pymail.errors import MailError, UsageError
from pymail.mailargs import Options
from pymail.reading import Reading
from pymail.recipients import Book
from pymail.sending import Sending


def reply(*, everybody: bool) -> Callable[[Reading, str], None]:
    """Return what answers messages: to their authors, or to everybody who got them.

    A message counts as answered once the answer is in the spool.
    """

    def answer(here: Reading, text: str) -> None:
        for number in here.select(mailverbs.words(text)):
            here.dot = number
            draft = replying.reply(here.data(number), _mine(here), everybody=everybody)
            here.say(f"To: {', '.join(box.shown for box in draft.to)}")
            if draft.cc:
                here.say(f"Cc: {', '.join(box.shown for box in draft.cc)}")
            here.say(f"Subject: {draft.subject}")
            if _send(here, draft):
                here.entries[number - 1].flags |= {"R", "S"}

    return answer


def write(here: Reading, text: str) -> None:
    """Write a new message."""
    if not text:
        raise UsageError("mail to whom?")
    _send(here, Draft(to=recipients.resolve(text, _book(here))))


def forward(here: Reading, text: str) -> None:
    """Pass a message on, with a text before it; its attachments go with it."""
    words = mailverbs.words(text)
    listed = words[:1] if len(words) > 1 else []
    to = recipients.resolve(", ".join(words[len(listed) :]), _book(here))
    if not to:
        raise UsageError("forward to whom?")
    for number in here.select(listed):
        draft = replying.forward(here.data(number))
        draft.to = to
        here.dot = number
        if _send(here, draft):
            here.entries[number - 1].flags |= {"P", "S"}


def _send(here: Reading, draft: Draft) -> bool:
    """Let the person write the message; say whether it was put into the spool."""
    options = Options(interactive=True)

    def quote(text: str, prefix: str) -> bytes:
        numbers = here.select(mailverbs.words(text))
        return b"".join(replying.indented(here.lines(at), prefix) for at in numbers)

    if Sending(options, here.user, draft, here.screen, quote).send():
        here.say("The message is given up.")
        return False
    return True


def _book(here: Reading) -> Book:
    metoo = "metoo" in here.variables
    return Book(here.user.mailrc.aliases, "" if metoo else here.user.name)


def _mine(here: Reading) -> replying.Mine:
    """Return what tells the user's own addresses from others."""
    name = here.user.name
    domains = {"", "localhost", os.uname().nodename, *_destinations()}
    own = {address.fold(f"{name}@{domain}" if domain else name) for domain in domains}
    for text in (*here.user.mailrc.others, here.variables.get("from", "")):
        try:
            own |= {address.fold(box.address) for box in recipients.parse(text)}
        except MailError:
            continue  # it names nobody, so not the user either
    return lambda other: address.fold(other) in own and "metoo" not in here.variables


def _destinations() -> list[str]:
    """Return the domains of this machine, as far as the configuration can be read."""
    try:
        held = config.here(paths.spool())
    except MailError:
        return []
    return [held.myorigin, held.myhostname, *held.mydestination]
