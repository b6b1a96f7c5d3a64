"""What the commands of mail's reading side send: answers, messages passed on, new ones."""

from collections.abc import Callable

from pymail import mailverbs, readfiles, recipients, replying
from pymail.compose import Draft
from pymail.errors import UsageError
from pymail.mailargs import Options
from pymail.reading import Reading
from pymail.recipients import Book
from pymail.sending import Sending


def reply(*, recorded: bool = False) -> Callable[[Reading, str], None]:
    """Return what answers each message, to everybody who got it.

    A message counts as answered once the answer is in the spool.  A copy of one that is to be
    `recorded` goes into the mailbox that is called as the author.
    """

    def answer(here: Reading, text: str) -> None:
        for number in here.select(mailverbs.words(text)):
            draft = replying.reply(here.data(number), _mine(here), everybody=True)
            _answer(here, draft, [number], recorded=recorded)

    return answer


def reply_to_authors(*, recorded: bool = False) -> Callable[[Reading, str], None]:
    """Return what answers the first of some messages, to the authors of all of them."""

    def answer(here: Reading, text: str) -> None:
        numbers = here.select(mailverbs.words(text))
        first, *others = (
            replying.reply(here.data(number), _mine(here), everybody=False) for number in numbers
        )
        first.to = recipients.unique([*first.to, *(box for each in others for box in each.to)])
        _answer(here, first, numbers, recorded=recorded)

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


def _answer(here: Reading, draft: Draft, numbers: list[int], *, recorded: bool) -> None:
    here.dot = numbers[0]
    copy = readfiles.of_author(here, numbers[0]) if recorded else ""
    here.say(f"To: {', '.join(box.shown for box in draft.to)}")
    if draft.cc:
        here.say(f"Cc: {', '.join(box.shown for box in draft.cc)}")
    here.say(f"Subject: {draft.subject}")
    if _send(here, draft, copy):
        for number in numbers:
            here.entries[number - 1].flags |= {"R", "S"}


def _send(here: Reading, draft: Draft, copy: str = "") -> bool:
    """Let the person write the message; say whether it was put into the spool."""
    options = Options(interactive=True)

    def quote(text: str, prefix: str, *, every_field: bool) -> bytes:
        numbers = here.select(mailverbs.words(text))
        shown = (here.lines(at, every_field=every_field) for at in numbers)
        return b"".join(replying.indented(lines, prefix) for lines in shown)

    sending = Sending(options, here.user, draft, here.screen, quote)
    sending.copy = copy
    if sending.send():
        here.say("The message is given up.")
        return False
    return True


def _book(here: Reading) -> Book:
    metoo = "metoo" in here.variables
    return Book(here.user.mailrc.aliases, "" if metoo else here.user.name)


def _mine(here: Reading) -> replying.Mine:
    """Return what tells to whom no copy goes: to the user, unless `metoo` is set."""
    return (lambda _: False) if "metoo" in here.variables else here.mine()
