"""The tilde escapes: what a person can do to a message while typing it.

Where they are obeyed the caller has made sure that a person sits there, or asked for it: a line
of a script's mail that begins with "~!" is text.  ~. ~q ~x end the message and belong to
session.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pymail import charset, compose, console, recipients
from pymail.compose import Draft
from pymail.errors import MailError, OutputError, printable
from pymail.mailrc import Mailrc
from pymail.recipients import Book
from pymail.screen import Screen

HELP = """\
~~ text     a line that begins with ~     ~. or a lone .  end, and send
~t names    add recipients                ~x              end without sending
~c names    add carbon copies             ~q              end, to dead.letter
~b names    add blind copies              ~p              print the message
~s subject  set the subject               ~v              edit with $VISUAL
~h          ask for the header again      ~e              edit with $EDITOR
~@ file     attach files                  ~| command      filter the text
~r file     read a file (or !command) in  ~! command      run a command
~< file     the same                      ~: command      set, unset, alias
~d          read dead.letter in           ~w file         write the text out
~a ~A       insert $sign, $Sign           ~i name         insert a variable
~m list     insert messages, indented     ~f list         not indented
~M ~F list  the same with every field     ~?              this help
"""


class Quote(Protocol):
    """What gives the messages of a message list as text, each line behind an indentation."""

    def __call__(self, text: str, prefix: str, *, every_field: bool) -> bytes:
        """Return the text.  Raise MailError."""
        ...


_LISTS = (("To", "to"), ("Cc", "cc"), ("Bcc", "bcc"))


@dataclass(slots=True)
class Writing:
    """A message while it is typed; its text grows in `text`, the rest is in the draft.

    limit  bytes that a message may have, 0 for any number
    """

    draft: Draft
    screen: Screen
    mailrc: Mailrc
    book: Book
    env: Mapping[str, str]
    text: bytearray = field(default_factory=bytearray)
    quote: Quote | None = None
    limit: int = 0

    @property
    def escape(self) -> str:
        """The character that begins an escape; `set escape` alone turns them off."""
        return self.mailrc.variables.get("escape", "~")[:1]

    def is_set(self, variable: str) -> bool:
        """Say whether a variable of mail is set, if only to nothing."""
        return variable in self.mailrc.variables


def obey(writing: Writing, letter: str, argument: str) -> None:
    """Obey one escape.  What cannot be done is said, and the message goes on."""
    try:
        if "\0" in argument:
            raise MailError("no escape has a NUL in it")  # noqa: TRY301
        _ACTIONS.get(letter, _unknown)(writing, argument)
    except MailError as error:
        writing.screen.say(str(error))
    except OSError as error:
        writing.screen.say(f"{error.filename or 'cannot do it'}: {error.strerror}")


def _add(name: str) -> Callable[[Writing, str], None]:
    def add(writing: Writing, text: str) -> None:
        boxes = [*getattr(writing.draft, name), *recipients.resolve(text, writing.book)]
        setattr(writing.draft, name, recipients.unique(boxes))

    return add


def _subject(writing: Writing, text: str) -> None:
    writing.draft.set("Subject", text)


def _header(writing: Writing, _argument: str) -> None:
    draft = writing.draft
    for title, name in _LISTS:
        text = _again(writing, title, ", ".join(b.shown for b in getattr(draft, name)))
        setattr(draft, name, recipients.unique(recipients.resolve(text, writing.book)))
    draft.set("Subject", _again(writing, "Subject", draft.subject))


def _again(writing: Writing, title: str, value: str) -> str:
    """Return the answer, the old value where it is empty, "" where it is "-"."""
    prompt = f"{title} [{printable(value)}]: " if value else f"{title}: "
    answer = writing.screen.ask(prompt)
    return "" if answer == "-" else answer or value


def _attach(writing: Writing, argument: str) -> None:
    for name in argument.split() if argument else [writing.screen.ask("Attach: ")]:
        path = writing.mailrc.expand(name)
        if path:
            file = compose.attachment(path, writing.screen.local, writing.limit)
            writing.draft.attachments.append(file)
            writing.screen.say(f"attached {path}")


def _read(writing: Writing, argument: str) -> None:
    if argument.startswith("!"):
        _insert(writing, _output(writing, argument[1:].strip()), argument)
        return
    path = _path(writing, argument)
    _insert(writing, compose.contents(path, writing.limit), path)


def _dead(writing: Writing, _argument: str) -> None:
    _read(writing, writing.mailrc.path("DEAD", writing.env, "~/dead.letter"))


def _insert(writing: Writing, data: bytes, name: str) -> None:
    data = data.replace(b"\r\n", b"\n")
    data += b"" if data.endswith(b"\n") or not data else b"\n"
    writing.text += data
    writing.screen.say(f'"{name}" {data.count(10)}/{len(data)}')


def _letters(*, indented: bool, every_field: bool = False) -> Callable[[Writing, str], None]:
    def insert(writing: Writing, argument: str) -> None:
        if writing.quote is None:
            raise MailError("no messages are being read")
        prefix = writing.mailrc.variables.get("indentprefix", "\t") if indented else ""
        text = writing.quote(argument, prefix, every_field=every_field)
        _insert(writing, text, argument or "message")

    return insert


def _write(writing: Writing, argument: str) -> None:
    path = _path(writing, argument)
    try:
        with open(path, "xb") as file:
            file.write(writing.text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    writing.screen.say(f'"{path}" {writing.text.count(10)}/{len(writing.text)}')


def _path(writing: Writing, argument: str) -> str:
    if not argument:
        raise MailError("no file name given")
    return writing.mailrc.expand(argument)


def _variable(writing: Writing, name: str) -> None:
    value = writing.mailrc.variables.get(name)
    value = value or charset.argument(writing.env.get(name, ""), writing.screen.local)
    if not value:
        raise MailError(f"no variable {name}")
    text = value.replace("\\n", "\n").replace("\\t", "\t")
    writing.text += text.encode() + b"\n"
    writing.screen.say(text)


def _mailrc(writing: Writing, line: str) -> None:
    writing.mailrc.obey(line)


def _print(writing: Writing, _argument: str) -> None:
    draft = writing.draft
    lines = ["-------", "Message contains:"]
    lists = ((title, getattr(draft, name)) for title, name in _LISTS)
    lines += [f"{title}: {', '.join(b.shown for b in boxes)}" for title, boxes in lists if boxes]
    lines += [f"Subject: {draft.subject}"] if draft.subject else []
    lines += [f"{name}: {value}" for name, value in draft.fields]
    lines += [f"Attached: {a.name} ({len(a.data)} bytes)" for a in draft.attachments]
    text = charset.decode(bytes(writing.text), writing.screen.local)
    lines += ["", text.removesuffix("\n"), "(continue)"]
    writing.screen.say("\n".join(lines))


def _edit(variable: str, default: str) -> Callable[[Writing, str], None]:
    def edit(writing: Writing, _argument: str) -> None:
        editor = writing.mailrc.value(variable, writing.env) or default
        writing.text[:] = _ended(console.edited(bytes(writing.text), editor))
        writing.screen.say("(continue)")

    return edit


def _pipe(writing: Writing, command: str) -> None:
    if not command:
        raise MailError("no command given")
    output = _output(writing, command, bytes(writing.text))
    if not output:
        raise MailError(f"{command}: no output; the text is unchanged")
    writing.text[:] = _ended(output)
    writing.screen.say("(continue)")


def _command(writing: Writing, command: str) -> None:
    console.shell(command, _shell(writing))
    writing.screen.say("!")


def _unknown(_writing: Writing, _argument: str) -> None:
    raise MailError("unknown escape; ~? shows them all")


def _help(writing: Writing, _argument: str) -> None:
    writing.screen.prompt(HELP)


def _ended(text: bytes) -> bytes:
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _shell(writing: Writing) -> str:
    return writing.mailrc.value("SHELL", writing.env) or "/bin/sh"


def _output(writing: Writing, command: str, stdin: bytes | None = None) -> bytes:
    printed, status = console.output(command, _shell(writing), stdin)
    if status:
        raise MailError(f"{command}: exit status {status}; the text is unchanged")
    return printed


_ACTIONS: dict[str, Callable[[Writing, str], None]] = {
    "!": _command,
    "|": _pipe,
    ":": _mailrc,
    "_": _mailrc,
    "<": _read,
    "r": _read,
    "d": _dead,
    "w": _write,
    "e": _edit("EDITOR", "ed"),
    "v": _edit("VISUAL", "vi"),
    "p": _print,
    "h": _header,
    "t": _add("to"),
    "c": _add("cc"),
    "b": _add("bcc"),
    "s": _subject,
    "@": _attach,
    "a": lambda writing, _: _variable(writing, "sign"),
    "A": lambda writing, _: _variable(writing, "Sign"),
    "i": _variable,
    "m": _letters(indented=True),
    "M": _letters(indented=True, every_field=True),
    "f": _letters(indented=False),
    "F": _letters(indented=False, every_field=True),
    "?": _help,
}
