"""Mail read at a prompt: the mailbox that is open, the current message, what is to become of it.

Nothing in the mailbox changes before `quit` or the end of the input; `exit`, an error and a
terminal that goes away leave it as it was.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pymail import (
    address,
    charset,
    columns,
    config,
    console,
    display,
    errors,
    htmltext,
    inbox,
    keep,
    messagelist,
    mime,
    paths,
    recipients,
    summary,
)
from pymail.branches import Branches
from pymail.caller import Caller
from pymail.errors import MailError
from pymail.folder import Change, Folder, Letter
from pymail.mailargs import Options
from pymail.messagelist import Known
from pymail.screen import Screen

_WIDTH, _HEIGHT = 80, 24


@dataclass(slots=True)
class Entry:
    """A message in the listing, and what is to become of it.

    boxed  it goes to the mailbox of MBOX when this one is left
    """

    letter: Letter
    flags: set[str]
    deleted: bool = False
    boxed: bool = False
    text: bytes = b""

    @property
    def known(self) -> Known:
        """What a message list may ask."""
        return Known(
            self.letter.about.address,
            self.letter.about.subject,
            new=self.letter.new and "S" not in self.flags,
            read="S" in self.flags,
            replied="R" in self.flags,
            flagged="F" in self.flags,
            deleted=self.deleted,
        )

    @property
    def state(self) -> str:
        """The sign of the message in a listing."""
        if self.deleted or self.boxed:
            return "D" if self.deleted else "M"
        return summary.sign(self.flags, new=self.letter.new)

    def change(self) -> Change | None:
        """Return what is to be done to the mailbox, None where that is nothing."""
        before = set(self.letter.flags)
        add, remove = self.flags - before, before - self.flags
        if not (add or remove or self.deleted or self.text or self.letter.new):
            return None
        return Change(
            self.letter, "".join(add), "".join(remove), delete=self.deleted, text=self.text
        )


@dataclass(slots=True)
class Reading:
    """What is on the screen, and where the person is.

    dot    the number of the current message, 0 where there is none
    shown  whether it has been shown
    top    the number of the first message on the page of the listing
    inbox  whether the mailbox is one's inbox, whose saved messages go at the end
    depth  how many files that source one another are open
    before the path of the mailbox that was read before, and whether that was an inbox
    """

    folder: Folder
    user: Caller
    options: Options
    screen: Screen
    inbox: bool
    entries: list[Entry] = field(default_factory=list)
    dot: int = 0
    shown: bool = False
    top: int = 1
    ended: bool = False
    branches: Branches = field(default_factory=Branches)
    depth: int = 0
    before: tuple[str, bool] = ("", False)

    def begin(self) -> None:
        """Look into the mailbox, and go to the first message that is new, or not read."""
        self.entries = [Entry(a, set(a.flags)) for a in self.folder.letters()]
        signs = [entry.state for entry in self.entries]
        first = [signs.index(sign) + 1 for sign in "NO" if sign in signs]
        self.dot = (first or [1])[0] if signs else 0
        self.shown = False
        self.top = self.dot
        if "header" in self.variables and not self.options.no_listing:
            if "quiet" not in self.variables:
                self.say(self.announcement())
            self.page_of(self.dot)

    @property
    def variables(self) -> dict[str, str]:
        """The variables of mail."""
        return self.user.mailrc.variables

    def value(self, name: str, default: str) -> str:
        """Return a variable of mail or of the environment, else a default."""
        return self.user.mailrc.value(name, os.environ) or default

    def announcement(self) -> str:
        """Return the line that tells what is in the mailbox."""
        total = len(self.entries)
        new = sum(1 for entry in self.entries if entry.known.new)
        unread = sum(1 for entry in self.entries if entry.state == "O")
        parts = [f"{total} message{'' if total == 1 else 's'}"]
        parts += [f"{new} new"] if new else []
        parts += [f"{unread} unread"] if unread else []
        return f'"{self.folder.path}": {", ".join(parts)}'

    def select(self, words: Sequence[str], *, deleted: bool | None = False) -> list[int]:
        """Return the messages that a message list means.  Raise DataError."""
        if not self.entries:
            raise errors.DataError("no messages")
        known = [entry.known for entry in self.entries]
        return messagelist.select(words, known, self.dot, deleted=deleted)

    def following(self, by: int) -> int:
        """Return the next message (1) or the one before (-1), 0 for none."""
        return messagelist.following([entry.known for entry in self.entries], self.dot, by)

    def data(self, number: int) -> bytes:
        """Return a message.  Raise MailError."""
        entry = self.entries[number - 1]
        return entry.text or self.folder.read(entry.letter)

    def keep(self, entry: Entry, path: str, *, follow: bool = True) -> int:
        """Append a message to the mailbox at `path`; return its size.  Raise OSError, MailError."""
        data = entry.text or self.folder.read(entry.letter)
        sender = entry.letter.about.address
        sender = "".join(sender.split()) if sender.isprintable() else ""
        keep.append(path, data, sender or "MAILER-DAEMON", int(time.time()), follow=follow)
        return len(data)

    def say(self, text: str) -> None:
        """Show lines."""
        self.screen.say(text)

    def rows(self, numbers: Sequence[int]) -> list[str]:
        """Return the lines of messages in the listing."""
        width = self.size[0] - 1
        mine = self.mine() if "showto" in self.variables else None
        rows = []
        for number in numbers:
            entry = self.entries[number - 1]
            about = entry.letter.about
            if mine and mine(about.address):
                about = about._replace(sender=f"To {about.to}")
            line = summary.line(number, entry.state, about, entry.letter.size, width)
            rows.append((">" if number == self.dot else " ") + line)
        return rows

    def mine(self) -> Callable[[str], bool]:
        """Return what tells the user's own addresses (`alternates`, `from`) from others."""
        name = self.user.name
        domains = {"", "localhost", os.uname().nodename, *_destinations()}
        own = {address.fold(f"{name}@{domain}" if domain else name) for domain in domains}
        for text in (*self.user.mailrc.others, self.variables.get("from", "")):
            try:
                own |= {address.fold(box.address) for box in recipients.parse(text)}
            except MailError:
                continue  # it names nobody, so not the user either
        return lambda other: address.fold(other) in own

    def page_of(self, number: int) -> None:
        """Show the page of the listing on which a message is."""
        if not self.entries:
            return
        rows = self.page_rows
        self.top = (max(number, 1) - 1) // rows * rows + 1
        last = min(self.top + rows, len(self.entries) + 1)
        self.say("\n".join(self.rows(range(self.top, last))))

    @property
    def page_rows(self) -> int:
        """How many lines of the listing are shown at once."""
        wanted = self.variables.get("screen", "")
        return max(int(wanted) if wanted.isdecimal() and len(wanted) < 5 else self.size[1] - 4, 1)

    @property
    def size(self) -> tuple[int, int]:
        """The columns and lines of the terminal."""
        size = shutil.get_terminal_size((_WIDTH, _HEIGHT))
        return max(size.columns, 20), max(size.lines, 5)

    def show(self, lines: Sequence[str]) -> None:
        """Show lines, through the pager where there are more than fit (`crt`)."""
        across, rows = self.size
        wanted = self.variables.get("crt", "")
        limit = int(wanted) if wanted.isdecimal() and len(wanted) < 9 else rows - 1
        taken = sum(max(columns.width(line) - 1, 0) // across + 1 for line in lines)
        if os.isatty(1) and taken > limit:
            text = "".join(f"{line}\n" for line in lines)
            pager = self.value("PAGER", "") or console.default_pager()
            console.page(text.encode(self.user.local or "utf-8", "replace"), pager)
        else:
            self.say("\n".join(lines))

    def lines(self, number: int, *, every_field: bool = False) -> list[str]:
        """Return a message as it is shown."""
        part = mime.parse(self.data(number))
        names = None if every_field else self.fields
        return list(display.message(part, self.html, self.user.local, names))

    @property
    def fields(self) -> list[str]:
        """The names of the header fields that are shown (`retain`, `ignore`)."""
        rc = self.user.mailrc
        return [*dict.fromkeys(rc.retained)] or [n for n in display.FIELDS if n not in rc.ignored]

    def html(self, text: str) -> str:
        """Return HTML as text: by the filter of `html_filter`, else by our own."""
        command = self.variables.get("html_filter", "")
        if command:
            try:
                return console.filtered(text, command)
            except MailError as error:
                self.say(f"{error}; shown without it")
        return htmltext.text(text)

    def see(self, number: int, *, every_field: bool = False) -> None:
        """Show a message; it is read then, and the current one."""
        self.dot = number
        self.shown = True
        lines = self.lines(number, every_field=every_field)
        self.entries[number - 1].flags.add("S")
        self.show([f"Message {number}:", *lines])

    def news(self) -> None:
        """Take in what has come meanwhile, and tell of it."""
        try:
            fresh = self.folder.arrived()
        except (OSError, MailError):
            return  # what is wrong with the mailbox is said when it is used
        if fresh:
            self.entries += [Entry(letter, set(letter.flags)) for letter in fresh]
            self.say("New mail has arrived.")

    def commit(self) -> list[str]:
        """Change the mailbox as the person wants it; return what was left alone, in words.

        Raise MailError where nothing was changed.
        """
        if self.options.read_only:
            return []
        # An interrupt must not leave half of it undone.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._box()
            return self._change()
        finally:
            signal.signal(signal.SIGINT, before)

    def _change(self) -> list[str]:
        changes = [change for entry in self.entries if (change := entry.change())]
        if not changes:
            return []
        try:
            return self.folder.commit(changes)
        except OSError as error:
            path = self.folder.path
            text = f"cannot change {path}: {error.strerror}; x ends without"
            raise errors.TempError(text) from None

    def _box(self) -> None:
        """Move messages to the mailbox of MBOX, as `mbox` wants it."""
        path = self.user.path("MBOX", "~/mbox")
        try:
            if os.path.exists(path) and os.path.samefile(path, self.folder.path):
                return
            for entry in self.entries:
                if entry.boxed and not entry.deleted:
                    self.keep(entry, path)
                    entry.deleted = True
        except OSError as error:
            text = f"cannot add to {path}: {error.strerror}; x ends without"
            raise errors.TempError(text) from None


def _destinations() -> list[str]:
    """Return the domains of this machine, as far as the configuration can be read."""
    try:
        held = config.here(paths.spool())
    except MailError:
        return []
    return [held.myorigin, held.myhostname, *held.mydestination]


def read(path: str, owner: str, user: Caller, options: Options) -> int:
    """Read the mailbox at `path`; return the exit status."""
    from pymail import readverbs  # noqa: PLC0415

    folder = inbox.opened(path, owner)
    screen = Screen(user.local)
    here = Reading(folder, user, options, screen, inbox=not options.file)
    try:
        here.begin()
    except OSError as error:
        raise errors.InputError(f"cannot read {path}: {error.strerror}") from None
    return readverbs.run(here)


def commands(here: Reading) -> Iterator[str]:
    """Yield the lines that a person types, or a script gives."""
    person = os.isatty(0)
    while not here.ended:
        if person:
            here.news()
            here.screen.prompt(errors.printable(here.variables.get("prompt", "? ")))
        line = here.screen.line()
        if line is None:
            if person and "ignoreeof" in here.variables:
                here.say('Use "quit" to quit.')
                continue
            if person:
                here.screen.prompt("\n")
            return
        yield charset.decode(line, here.user.local)
