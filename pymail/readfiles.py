"""What the commands of mail's reading side do with files and programs."""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pymail import address, attachments, charset, console, display, legible, mailverbs, mime
from pymail.errors import DataError, OutputError, TempError, UsageError
from pymail.reading import Reading


def save(here: Reading, text: str) -> None:
    """Append messages to a mailbox; those of the inbox go when it is left (unless `keepsave`)."""
    _delete_saved(here, _append(here, *_to_file(here, text)))


def copy(here: Reading, text: str) -> None:
    """Append messages to a mailbox."""
    _append(here, *_to_file(here, text))


def save_by_author(here: Reading, text: str) -> None:
    """Do as save() does, with a mailbox that is called as the author of the first message."""
    _delete_saved(here, _append(here, *_to_author(here, text)))


def copy_by_author(here: Reading, text: str) -> None:
    """Append messages to a mailbox that is called as the author of the first of them."""
    _append(here, *_to_author(here, text))


def of_author(here: Reading, number: int) -> str:
    """Return the mailbox that is called as the author of a message.

    A stranger has chosen that name: it leads nowhere else, and where something is called so
    already that is no mailbox, that is an error.
    """
    local = address.split(here.entries[number - 1].letter.about.address)[0]
    name = os.path.basename(local).lstrip(".")
    if not (name and name.isprintable()):
        raise DataError(f"message {number} names no author that a file can be called by")
    path = os.path.join(".", name)
    if "outfolder" in here.variables:
        path = here.user.mailrc.expand(f"+{name}")
    if not _can_be_mailbox(path):
        raise DataError(f"{path} is no mailbox: save to another")
    return path


def folders(here: Reading, _text: str) -> None:
    """List the directory of `folder`."""
    if not here.variables.get("folder"):
        raise UsageError("set folder to the directory of your mailboxes first")
    place = shlex.quote(os.path.dirname(here.user.mailrc.expand("+x")))
    command = f"{here.value('LISTER', 'ls')} {place}"
    printed, status = console.output(command, here.value("SHELL", "/bin/sh"), b"")
    here.show(legible.lines(charset.decode(printed, here.user.local)))
    if status:
        raise OutputError(f"{command}: exit status {status}")


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
    with _writing(path), open(os.open(path, flags, 0o600), "wb") as file:
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
        with _writing(directory):
            saved = attachments.save(directory, parts)
        for path in saved:
            here.say(f'"{path}"')


def pipe(here: Reading, text: str) -> None:
    """Give messages, as they came, to a command; what it prints is shown."""
    words, command = mailverbs.piped(text)
    command = command or here.variables.get("cmd", "")
    if not command:
        raise UsageError("pipe to which command?")
    numbers = here.select(words)
    end = b"\f" if "page" in here.variables else b""
    data = b"".join(here.data(number) + end for number in numbers)
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
    """Go to a directory, or home.  The mailboxes stay those that they were."""
    here.folder.path = os.path.abspath(here.folder.path)
    path, own = here.before
    here.before = (path and os.path.abspath(path), own)
    os.chdir(here.user.mailrc.expand((mailverbs.words(text) or ["~"])[0]))


def _to_file(here: Reading, text: str) -> tuple[list[int], str]:
    """Return the messages that are named, and the mailbox that is named last, or ~/mbox."""
    words, name = mailverbs.last(text)
    path = here.user.mailrc.expand(name) if name else here.user.path("MBOX", "~/mbox")
    return here.select(words), path


def _to_author(here: Reading, text: str) -> tuple[list[int], str]:
    numbers = here.select(mailverbs.words(text))
    return numbers, of_author(here, numbers[0])


def _append(here: Reading, numbers: list[int], path: str) -> list[int]:
    """Append messages to a mailbox; return their numbers."""
    with _writing(path):
        size = sum(here.keep(here.entries[number - 1], path) for number in numbers)
    here.dot = numbers[-1]
    count = "1 message" if len(numbers) == 1 else f"{len(numbers)} messages"
    here.say(f'"{path}" {count}, {size} bytes')
    return numbers


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Say which file cannot be written: the error of a disk that is full does not name it."""
    try:
        yield
    except BlockingIOError as error:
        raise TempError(f"cannot write {path}: {error.strerror}; try again later") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def _delete_saved(here: Reading, numbers: list[int]) -> None:
    if here.inbox and "keepsave" not in here.variables:
        for number in numbers:
            here.entries[number - 1].deleted = True


def _can_be_mailbox(path: str) -> bool:
    if os.path.isdir(path):
        return os.path.isdir(f"{path}/cur")
    if not os.path.lexists(path):
        return True
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(5) in (b"", b"From ")


def _texts(part: mime.Part) -> Sequence[mime.Part]:
    return [shown for shown in display.shown(part) if display.is_text(shown) and shown.body]
