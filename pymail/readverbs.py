"""What the commands of mail's reading side do: going, showing, marking, settings, leaving."""

import signal
from collections.abc import Callable, Iterable

from pymail import answering, charset, console, errors, inbox, mailverbs, readfiles, reading
from pymail.branches import Branches
from pymail.errors import DataError, MailError, TempError, UsageError
from pymail.mailrc import Mailrc
from pymail.reading import Reading

_DEPTH = 10
"""Files that may source one another."""

_SOURCE = 1 << 20
"""Bytes that are read of such a file."""

HELP = """\
type, print [list]    show messages     headers, h [n]      list a page
next, + or Enter      show the next     z+, z-              turn the page
- [n]                 go back           from, f [list]      list messages
Type [list]           the whole header  top [list]          the first lines
reply, r [list]       answer everybody  delete, d [list]    mark as deleted
Reply, R [list]       answer authors    undelete, u [list]  take that back
forward [n] address   pass on           flag, unflag [list]
mail, m address       write a message   unread, touch       mark not read, read
save, s [list] file   save, and delete  detach [list] dir   save attachments
copy, c [list] file   save, and keep    pipe, | [list] cmd  give to a command
Save, Copy [list]     in author's file  mbox, hold [list]   to ~/mbox, or not
write, w [list] file  save the text     edit, visual [list]
file [path], folders  another mailbox   ! [command]         run a command
set [variable[=value]]  alias, unset, source ... size, =, list, echo, cd
quit, q                 end, and change the mailbox
exit, x                 end, and change nothing

A list: 3  1-5  .  ^  $  *  +  -  user  /subject
        :n new  :u unread  :f flagged  :d deleted
"""

Verb = Callable[[Reading, str], None]

_FLIPPED = {"reply": "Reply", "respond": "Respond"}
_FLIPPED |= {other: verb for verb, other in _FLIPPED.items()}
"""What `flipr` makes of the commands that answer."""


def run(here: Reading) -> int:
    """Obey commands until the end; return the exit status: that of the last command.

    The end of the input is `quit`, but no command: only where it fails, the status is its own.
    """
    status = errors.EX_OK
    lines = reading.commands(here)
    while not here.ended:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            line = next(lines, None)
            if line is None:
                here.branches = Branches()  # the end counts, whatever `if` is open
                return _obey(here, "quit") or status
            status = _obey(here, line)
        except KeyboardInterrupt:
            here.screen.forget()
            here.screen.prompt("\nInterrupt\n")
            lines = reading.commands(here)
    return status


def _obey(here: Reading, line: str) -> int:
    """Obey one line; return the status that the program would end with now."""
    command = mailverbs.command(line)
    if not (here.branches or command.verb in {"if", "else", "endif"}):
        return errors.EX_OK
    verb = _FLIPPED.get(command.verb) if "flipr" in here.variables else None
    action = _ACTIONS.get(verb or command.verb)
    try:
        if "\0" in line:
            raise UsageError("no command has a NUL in it")
        if action is None:
            word = line.split(maxsplit=1)[0]
            raise UsageError(f"{word} is no command here; ? lists them")
        action(here, command.rest)
    except MailError as error:
        here.say(str(error))
        return error.status
    except OSError as error:
        here.say(f"{error.filename or 'cannot do it'}: {error.strerror}")
        return errors.EX_IOERR
    return errors.EX_OK


def _type(here: Reading, text: str) -> None:
    for number in here.select(mailverbs.words(text)):
        here.see(number)


def _type_whole(here: Reading, text: str) -> None:
    for number in here.select(mailverbs.words(text)):
        here.see(number, every_field=True)


def _next(here: Reading, text: str) -> None:
    if text:
        here.see(here.select(mailverbs.words(text))[0])
        return
    fresh = not here.shown and here.dot and not here.entries[here.dot - 1].deleted
    number = here.dot if fresh else here.following(1)
    if not number:
        raise DataError("at the end")
    here.see(number)


def _step(by: int) -> Verb:
    def step(here: Reading, text: str) -> None:
        count = int(text) if text.isdecimal() and len(text) < 9 else 1
        for _ in range(count):
            number = here.following(by)
            if not number:
                raise DataError("at the end" if by > 0 else "at the beginning")
            here.dot = number
        here.see(here.dot)

    return step


def _top(here: Reading, text: str) -> None:
    wanted = here.variables.get("toplines", "")
    count = int(wanted) if wanted.isdecimal() and len(wanted) < 5 else 5
    for number in here.select(mailverbs.words(text)):
        here.dot = number
        here.show([f"Message {number}:", *here.lines(number)[:count]])


def _from(here: Reading, text: str) -> None:
    numbers = here.select(mailverbs.words(text))
    here.dot = numbers[-1]
    here.show(here.rows(numbers))


def _headers(here: Reading, text: str) -> None:
    here.page_of(here.select(mailverbs.words(text))[0] if text else here.dot)


def _page(here: Reading, sign: str) -> None:
    top = here.top + (-here.page_rows if sign == "-" else here.page_rows)
    if not 0 < top <= len(here.entries):
        raise DataError("on the first page" if sign == "-" else "on the last page")
    here.dot = top
    here.shown = False
    here.page_of(top)


def _delete(here: Reading, text: str) -> None:
    numbers = here.select(mailverbs.words(text))
    for number in numbers:
        here.entries[number - 1].deleted = True
    here.dot = numbers[-1]
    here.dot = here.following(1) or here.following(-1) or numbers[-1]
    here.shown = False


def _delete_verb(here: Reading, text: str) -> None:
    _delete(here, text)
    if "autoprint" in here.variables and not here.entries[here.dot - 1].deleted:
        here.see(here.dot)


def _delete_and_type(here: Reading, text: str) -> None:
    _delete(here, text)
    if here.entries[here.dot - 1].deleted:
        raise DataError("no more messages")
    here.see(here.dot)


def _undelete(here: Reading, text: str) -> None:
    numbers = here.select(mailverbs.words(text), deleted=True)
    for number in numbers:
        here.entries[number - 1].deleted = False
    here.dot = numbers[-1]
    if "autoprint" in here.variables:
        here.see(here.dot)


def _mark(add: str, remove: str) -> Verb:
    def mark(here: Reading, text: str) -> None:
        for number in here.select(mailverbs.words(text)):
            flags = here.entries[number - 1].flags
            flags |= set(add)
            flags -= set(remove)

    return mark


def _mbox(here: Reading, text: str) -> None:
    for number in here.select(mailverbs.words(text)):
        here.entries[number - 1].boxed = True


def _hold(here: Reading, text: str) -> None:
    """Let messages stay, whatever was to become of them."""
    for entry in (here.entries[at - 1] for at in here.select(mailverbs.words(text), deleted=None)):
        entry.deleted = entry.boxed = False


def _size(here: Reading, text: str) -> None:
    for number in here.select(mailverbs.words(text)):
        here.say(f"{number}: {here.entries[number - 1].letter.size}")


def _number(here: Reading, _text: str) -> None:
    here.say(str(here.dot))


def _shell(here: Reading, command: str) -> None:
    console.shell(command, here.value("SHELL", "/bin/sh"))
    here.say("!")


def _help(here: Reading, _text: str) -> None:
    here.show(HELP.splitlines())


def _list(here: Reading, _text: str) -> None:
    here.say(" ".join(sorted(verb for verb in _ACTIONS if verb.isalpha())))


def _echo(here: Reading, text: str) -> None:
    here.say(" ".join(here.user.mailrc.expand(word) for word in mailverbs.words(text)))


def _set(here: Reading, text: str) -> None:
    if text:
        here.user.mailrc.obey(f"set {text}")
        return
    pairs = sorted(here.variables.items())
    here.show([f'{name}="{value}"' if value else name for name, value in pairs])


def _mailrc(verb: str) -> Verb:
    def obey(here: Reading, text: str) -> None:
        here.user.mailrc.obey(f"{verb} {text}")

    return obey


def _longer(verb: str, listed: Callable[[Mailrc], Iterable[str]]) -> Verb:
    """Return what makes a list longer, or shows it."""

    def obey(here: Reading, text: str) -> None:
        if text:
            here.user.mailrc.obey(f"{verb} {text}")
        else:
            here.say(" ".join(listed(here.user.mailrc)))

    return obey


def _source(here: Reading, text: str) -> None:
    """Obey the commands in a file; its conditions are its own."""
    named = mailverbs.words(text)
    if not named:
        raise UsageError("source which file?")
    if here.depth == _DEPTH:
        raise UsageError(f"{_DEPTH} files source one another")
    path = here.user.mailrc.expand(named[0])
    with open(path, "rb") as file:
        lines = charset.decode(file.read(_SOURCE), here.user.local).replace("\\\n", " ")
    outer, here.branches = here.branches, Branches()
    here.depth += 1
    try:
        for line in lines.splitlines():
            if line.strip() and not here.ended:
                _obey(here, line)
    finally:
        here.branches = outer
        here.depth -= 1


def _if(here: Reading, text: str) -> None:
    if not text:
        raise UsageError("if what? s (sending), r (reading) or t (a terminal)")
    holds = here.user.mailrc.holds(mailverbs.words(text))
    here.branches.begin(holds=holds)
    if holds is None:
        here.say(f"{text} is no condition: nothing is obeyed up to endif")


def _else(here: Reading, _text: str) -> None:
    if not here.branches.turn():
        raise UsageError("else without if")


def _endif(here: Reading, _text: str) -> None:
    if not here.branches.end():
        raise UsageError("endif without if")


def _alias(here: Reading, text: str) -> None:
    if len(mailverbs.words(text)) > 1:
        here.user.mailrc.obey(f"alias {text}")
        return
    aliases = here.user.mailrc.aliases
    names = [text] if text else sorted(aliases)
    here.say("\n".join(f"{name}: {' '.join(aliases.get(name, ['no alias']))}" for name in names))


def _file(here: Reading, text: str) -> None:
    """Leave this mailbox for another, or say which it is."""
    if not text:
        here.say(here.announcement())
        return
    named = mailverbs.words(text)
    if not named:
        raise UsageError("file which mailbox?")
    path, owner, own = _named(here, named[0])
    folder = inbox.opened(path, owner)
    folder.letters()
    troubles = here.commit()
    here.folder.close()
    here.before = (here.folder.path, here.inbox)
    here.folder, here.inbox = folder, own
    here.begin()
    _tell(troubles)


def _named(here: Reading, name: str) -> tuple[str, str, bool]:
    """Return a mailbox, whose it must be, and whether it is an inbox: %, %user, #, & or a path."""
    if name == "#":
        if not here.before[0]:
            raise UsageError("no mailbox was read before this one")
        return here.before[0], "", here.before[1]
    if name == "&":
        return here.user.path("MBOX", "~/mbox"), "", False
    if name.startswith("%"):
        owner = name[1:]
        boxes = inbox.candidates(owner, here.user.path("MAIL", ""))
        return inbox.first_with_mail(boxes, owner, named=False) or boxes[0], owner, True
    return here.user.mailrc.expand(name.removeprefix("maildir:")), "", False


def _quit(here: Reading, _text: str) -> None:
    troubles = here.commit()
    here.ended = True
    _tell(troubles)


def _tell(troubles: list[str]) -> None:
    """Raise TempError where something in a mailbox was left alone."""
    if troubles:
        raise TempError("\n".join(troubles))


def _exit(here: Reading, _text: str) -> None:
    here.ended = True


def _nothing(_here: Reading, _text: str) -> None:
    """Pass: a comment."""


_ACTIONS: dict[str, Verb] = {
    "#": _nothing,
    "+": _step(1),
    "-": _step(-1),
    "=": _number,
    "alias": _alias,
    "alternates": _longer("alternates", lambda rc: rc.others),
    "cd": readfiles.change_directory,
    "chdir": readfiles.change_directory,
    "copy": readfiles.copy,
    "Copy": readfiles.copy_by_author,
    "delete": _delete_verb,
    "detach": readfiles.detach,
    "discard": _longer("ignore", lambda rc: sorted(rc.ignored)),
    "dp": _delete_and_type,
    "dt": _delete_and_type,
    "echo": _echo,
    "edit": readfiles.edit("EDITOR", "ed"),
    "else": _else,
    "endif": _endif,
    "exit": _exit,
    "file": _file,
    "flag": _mark("F", ""),
    "folder": _file,
    "folders": readfiles.folders,
    "followup": answering.reply(recorded=True),
    "Followup": answering.reply_to_authors(recorded=True),
    "forward": answering.forward,
    "from": _from,
    "group": _alias,
    "headers": _headers,
    "help": _help,
    "hold": _hold,
    "if": _if,
    "ignore": _longer("ignore", lambda rc: sorted(rc.ignored)),
    "list": _list,
    "mail": answering.write,
    "mbox": _mbox,
    "next": _next,
    "pipe": readfiles.pipe,
    "preserve": _hold,
    "print": _type,
    "Print": _type_whole,
    "quit": _quit,
    "reply": answering.reply(),
    "Reply": answering.reply_to_authors(),
    "respond": answering.reply(),
    "Respond": answering.reply_to_authors(),
    "retain": _longer("retain", lambda rc: rc.retained),
    "save": readfiles.save,
    "Save": readfiles.save_by_author,
    "set": _set,
    "shell": _shell,
    "size": _size,
    "source": _source,
    "top": _top,
    "touch": _mark("S", ""),
    "type": _type,
    "Type": _type_whole,
    "unalias": _mailrc("unalias"),
    "undelete": _undelete,
    "unflag": _mark("", "F"),
    "unread": _mark("", "S"),
    "unset": _mailrc("unset"),
    "visual": readfiles.edit("VISUAL", "vi"),
    "write": readfiles.write,
    "xit": _exit,
    "z": _page,
}
