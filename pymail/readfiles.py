"""What the commands of mail's reading side do with files and programs."""

import os
import time
from collections.abc import Callable, Sequence

from pymail import attachments, charset, console, display, keep, legible, mailverbs, mime
from pymail.errors import OutputError, UsageError
from pymail.reading import Reading


def save(here: Reading, text: str) -> None:
    """Append messages to a mailbox; those of the inbox go when it is left (unless `keepsave`)."""
    numbers = _append(here, text)
    if here.inbox and "keepsave" not in here.variables:
        for number in numbers:
            here.entries[number - 1].deleted = True


def copy(here: Reading, text: str) -> None:
    """Append messages to a mailbox."""
    _append(here, text)


def write(here: Reading, text: str) -> None:
    """Append the text of messages, without header, to a file."""
    words, name = mailverbs.last(text)
    if not name:
        raise UsageError("write to which file?")
    path = here.user.mailrc.expand(name)
    numbers = here.select(words)
    made = b""
    for number in numbers:
        part = mime.parse(here.data(number))
        texts = [display.plain(p, here.html, here.user.local) for p in _texts(part)]
        made += "".join(f"{each.rstrip()}\n" for each in texts).encode("utf-8", "replace")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(made)
    here.say(f'"{path}" {made.count(10)}/{len(made)}')
    here.dot = numbers[-1]


def detach(here: Reading, text: str) -> None:
    """Save the attachments of messages in a directory."""
    words = mailverbs.words(text)
    if not words:
        raise UsageError("detach into which directory?")
    directory = here.user.mailrc.expand(words.pop())
    for number in here.select(words):
        parts = display.attachments(mime.parse(here.data(number)))
        if not parts:
            here.say(f"Message {number} has no attachments.")
        for path in attachments.save(directory, parts):
            here.say(f'"{path}"')


def pipe(here: Reading, text: str) -> None:
    """Give messages, as they came, to a command; what it prints is shown."""
    words, command = mailverbs.piped(text)
    command = command or here.variables.get("cmd", "")
    if not command:
        raise UsageError("pipe to which command?")
    numbers = here.select(words)
    data = b"".join(here.data(number) for number in numbers)
    printed, status = console.output(command, here.value("SHELL", "/bin/sh"), data)
    here.dot = numbers[-1]
    if printed:
        here.show(legible.lines(charset.decode(printed, here.user.local)))
    if status:
        raise OutputError(f"{command}: exit status {status}")


def edit(variable: str, default: str) -> Callable[[Reading, str], None]:
    """Return what changes messages with the editor that a variable names."""

    def change(here: Reading, text: str) -> None:
        for number in here.select(mailverbs.words(text)):
            before = here.data(number)
            after = console.edited(before, here.value(variable, default))
            here.dot = number
            if after.strip() and after != before:
                here.entries[number - 1].text = after

    return change


def change_directory(here: Reading, text: str) -> None:
    """Go to a directory, or home."""
    os.chdir(here.user.mailrc.expand((mailverbs.words(text) or ["~"])[0]))


def _append(here: Reading, text: str) -> list[int]:
    """Append messages to the mailbox that is named last, or ~/mbox; return their numbers."""
    words, name = mailverbs.last(text)
    path = here.user.mailrc.expand(name) if name else here.user.path("MBOX", "~/mbox")
    numbers = here.select(words)
    size = 0
    for number in numbers:
        data = here.data(number)
        about = here.entries[number - 1].letter.about
        sender = about.address if about.address.isprintable() else ""
        keep.append(path, data, "".join(sender.split()) or "MAILER-DAEMON", int(time.time()))
        size += len(data)
    here.dot = numbers[-1]
    count = "1 message" if len(numbers) == 1 else f"{len(numbers)} messages"
    here.say(f'"{path}" {count}, {size} bytes')
    return numbers


def _texts(part: mime.Part) -> Sequence[mime.Part]:
    return [shown for shown in display.shown(part) if display.is_text(shown) and shown.body]
