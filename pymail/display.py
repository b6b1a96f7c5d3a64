"""What is shown of a message: the fields that matter, the text, a line for each attachment.  Pure.

Of alternatives plain text is chosen before HTML.  What is returned is safe for a terminal.
"""

from collections.abc import Callable, Iterator, Sequence

from pymail import htmltext, legible
from pymail.message import Field
from pymail.mime import Part

FIELDS = ("date", "from", "reply-to", "to", "cc", "bcc", "subject")
"""The fields that are shown, unless the user chooses others."""

MOST_TEXT = 1 << 24
"""Characters of a message that are shown."""

_SHOWN_FIELD = 8000

Html = Callable[[str], str]


def message(
    whole: Part, html: Html = htmltext.text, local: str = "", names: Sequence[str] | None = FIELDS
) -> Iterator[str]:
    """Yield the lines of a message: the fields called `names`, in this order, and its text.

    None stands for every field.
    """
    label = next((leaf.charset for leaf in whole.leaves()), "")
    for field in whole.fields if names is None else _chosen(whole.fields, names):
        yield _shown(field, label, local)
    yield ""
    yield from body(whole, html, local)


def body(whole: Part, html: Html = htmltext.text, local: str = "") -> Iterator[str]:
    """Yield the lines of the text of a message, and one for each part that is no text."""
    left = MOST_TEXT
    for part in shown(whole):
        if _is_header(part):
            yield "----- message -----"
            yield from (_shown(field, "", local) for field in _chosen(part.fields, FIELDS))
            yield ""
            continue
        if not is_text(part):
            yield attachment(part)
            continue
        for row in legible.lines(plain(part, html, local)[:left]):
            left -= len(row) + 1
            yield row


def plain(part: Part, html: Html = htmltext.text, local: str = "") -> str:
    """Return the text of a part, not yet safe for a terminal; HTML becomes text."""
    text = part.text(local)
    return html(text) if part.kind == "text/html" else text


def shown(part: Part) -> Iterator[Part]:
    """Yield the parts that a person sees, in order: texts, attachments, messages within."""
    if not part.children:
        yield part
    elif part.kind == "multipart/alternative":
        yield from shown(_best(part.children))
    elif part.kind == "message/rfc822":
        inner = part.children[0]
        yield Part(inner.number, "message/rfc822", inner.fields, b"")
        yield from shown(inner)
    else:
        for child in part.children:
            yield from shown(child)


def attachments(whole: Part) -> list[Part]:
    """Return the parts that a person would save."""
    return [leaf for leaf in whole.leaves() if not is_text(leaf) or leaf.name]


def is_text(part: Part) -> bool:
    """Say whether a part is shown as text."""
    texts = {"message/delivery-status", "message/disposition-notification"}
    return not part.attached and (part.kind.startswith("text/") or part.kind in texts)


def attachment(part: Part) -> str:
    """Return the line about a part that is not shown."""
    name = legible.line(part.name) or "without a name"
    return f"[{part.number}: {name}, {legible.line(part.kind)}, {size(len(part.content))}]"


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{count} bytes" if count < 10_000 else f"{count // 1000} kB"


def _best(choices: Sequence[Part]) -> Part:
    """Return the alternative that is shown: plain text with words in it, else the richest."""
    for kind in ("text/plain", "text/html"):
        for choice in choices:
            leaves = list(choice.leaves())
            if any(leaf.kind == kind and leaf.body.strip() for leaf in leaves):
                return choice
    return choices[-1]


def _is_header(part: Part) -> bool:
    return part.kind == "message/rfc822" and not part.attached and not part.body


def _chosen(fields: Sequence[Field], names: Sequence[str]) -> list[Field]:
    return [f for name in names for f in fields if f.name == name.encode("utf-8", "replace")]


def _shown(field: Field, label: str, local: str) -> str:
    name = field.raw[: len(field.name)].decode("ascii")
    return f"{name}: {legible.line(legible.field(field.value[:_SHOWN_FIELD], label, local))}"
