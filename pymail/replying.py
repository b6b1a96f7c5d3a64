"""The message that answers another, or passes it on.  Pure."""

import re
from collections.abc import Callable, Sequence

from pymail import address, legible, mime, recipients, summary
from pymail.compose import Attachment, Draft
from pymail.errors import DataError
from pymail.message import Field
from pymail.recipients import Book, Mailbox

_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_MOST_IDS = 20
"""References of a long thread; its beginning and its end are kept."""

_FIELD = 1 << 16
_RE = re.compile(r"(?i)re(\[\d+\])?:")

Mine = Callable[[str], bool]
"""Says whether an address is the user's own."""


def reply(data: bytes, mine: Mine, *, everybody: bool) -> Draft:
    """Return the beginning of an answer: to the author, or to `everybody` who got the message.

    Raise DataError where it names nobody to answer to.
    """
    fields = mime.parse(data).fields
    first = summary.first(fields)
    author = _boxes(fields, b"reply-to") or _boxes(fields, b"from")
    to, cc = list(author), []
    if everybody:
        to += [box for box in _boxes(fields, b"to") if not mine(box.address)]
        cc = [box for box in _boxes(fields, b"cc") if not mine(box.address)]
    if not to:
        raise DataError("cannot reply: the message names no author with an address")
    draft = Draft(to=recipients.unique(to))
    named = {address.fold(box.address) for box in draft.to}
    draft.cc = [b for b in recipients.unique(cc) if address.fold(b.address) not in named]
    subject = _subject(first)
    draft.set("Subject", subject if _RE.match(subject) else f"Re: {subject}".rstrip())
    _thread(draft, first)
    return draft


def forward(data: bytes) -> Draft:
    """Return the beginning of a message that passes another on, attached as it is."""
    draft = Draft()
    draft.set("Subject", f"Fwd: {_subject(summary.first(mime.parse(data).fields))}".rstrip())
    draft.attachments.append(Attachment("message.eml", data))
    return draft


def indented(lines: Sequence[str], prefix: str) -> bytes:
    """Return lines of a message as text to answer to."""
    return "".join(f"{prefix}{line}\n" for line in lines).encode("utf-8", "replace")


def _subject(first: dict[bytes, bytes]) -> str:
    label = summary.label_of(first)
    return legible.line(legible.field(first.get(b"subject", b""), label)).strip()


def _thread(draft: Draft, first: dict[bytes, bytes]) -> None:
    """Say what is answered (RFC 5322 3.6.4)."""
    own = _ids(first.get(b"message-id", b""))[:1]
    if not own:
        return
    before = _ids(first.get(b"references", b"")) or _ids(first.get(b"in-reply-to", b""))[:1]
    chain = [*dict.fromkeys(one for one in before if one != own[0]), own[0]]
    if len(chain) > _MOST_IDS:
        chain = [chain[0], *chain[1 - _MOST_IDS :]]
    draft.set("In-Reply-To", own[0])
    draft.set("References", "\n ".join(chain))


def _ids(value: bytes) -> list[str]:
    return _ID.findall(value[:_FIELD].decode("ascii", "replace"))


def _boxes(fields: Sequence[Field], name: bytes) -> list[Mailbox]:
    """Return the mailboxes in the fields of a name; what is no address is left out."""
    found: list[Mailbox] = []
    label = summary.label_of(summary.first(list(fields)))
    for field in fields:
        if field.name != name:
            continue
        text = legible.text(b" ".join(field.value[:_FIELD].split()), label)
        for box in _addresses(text):
            shown = legible.line(legible.encoded_words(box.name)).strip()
            found.append(Mailbox(shown, box.address))
    return found


def _addresses(text: str) -> list[Mailbox]:
    """Return the addresses of a list; where one is none, those that can be told from it."""
    try:
        return recipients.resolve(text, Book())
    except DataError:
        pieces = text.split(",")
        return [box for piece in pieces for box in _addresses(piece)] if len(pieces) > 1 else []
