"""POP3 and IMAP servers of a few lines, to be as odd as a test wants them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Say = Callable[[bytes | str], None]


class Pop:
    """A POP3 server with `mail`: lists of [UIDL, message].

    `size` is what it says of each, where that is a lie; `sent` the bytes of messages it has sent.
    `refusals` are its answers to commands that it does not do.
    """

    size = 0
    sent = 0

    def __init__(self, *mail: tuple[str, bytes]) -> None:
        self.mail = list(mail)
        self.refusals: dict[str, str] = {}

    def __call__(self, lines: Iterator[str], say: Say) -> None:
        """Talk."""
        say("+OK hello")
        deleted: set[int] = set()
        for line in lines:
            verb, _, rest = line.partition(" ")
            if line in self.refusals:
                say(self.refusals[line])
            elif verb == "LIST":
                sizes = (
                    f"{n} {self.size or len(text)}\r\n" for n, (_, text) in enumerate(self.mail, 1)
                )
                say("+OK\r\n" + "".join(sizes) + ".")
            elif verb == "UIDL":
                names = (f"{n} {name}\r\n" for n, (name, _) in enumerate(self.mail, 1))
                say("+OK\r\n" + "".join(names) + ".")
            elif verb == "RETR":
                text = self.mail[int(rest) - 1][1]
                say(b"+OK\r\n" + text + b"\r\n.")
                self.sent += len(text)
            elif verb == "DELE":
                deleted.add(int(rest) - 1)
                say("+OK")
            elif verb == "QUIT":
                self.mail = [each for n, each in enumerate(self.mail) if n not in deleted]
                say("+OK")
                return
            else:
                say("+OK" if verb in ("USER", "PASS") else "-ERR")


class Imap:
    """An IMAP server with `folders`: messages by UID by name.

    `odd` is asked first: it gets the tag and the line, and says whether it has answered.
    `deleted` are the UIDs that somebody has marked, `greeting` and `able` what it says of itself,
    `size` what it says of each message, where that is a lie.
    """

    size = 0
    greeting = "OK hello"
    able = "UIDPLUS MOVE"

    def __init__(
        self,
        folders: dict[str, dict[int, bytes]],
        odd: Callable[[Say, str, str], bool] = lambda *_: False,
    ) -> None:
        self.folders = folders
        self.said: list[str] = []
        self.deleted: set[int] = set()
        self._odd = odd

    def __call__(self, lines: Iterator[str], say: Say) -> None:  # noqa: C901, PLR0912  (a table)
        """Talk."""
        say(f"* {self.greeting}")
        here: dict[int, bytes] = {}
        for line in lines:
            self.said.append(line)
            tag, _, rest = line.partition(" ")
            if self._odd(say, tag, rest):
                continue
            match rest.split():
                case ["CAPABILITY"]:
                    say(f"* CAPABILITY IMAP4rev1 {self.able}")
                case ["SELECT", *_]:
                    name = rest.split('"')[1]
                    if name not in self.folders:
                        say(f"{tag} NO there is no such mailbox")
                        continue
                    here = self.folders[name]
                    say(f"* {len(here)} EXISTS\r\n* OK [UIDVALIDITY 7] ok")
                case ["UID", "FETCH", "1:*", *_]:
                    for uid, text in here.items():
                        say(f"* 1 FETCH (UID {uid} RFC822.SIZE {self.size or len(text)})")
                case ["UID", "FETCH", wanted, *_]:
                    for uid in uids(wanted):
                        data = uid, len(here[uid]), here[uid]
                        say(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%b)" % data)
                case ["UID", "STORE", wanted, *_]:
                    self.deleted |= set(uids(wanted)) if r"(\Deleted)" in rest else set()
                case ["UID", "COPY", wanted, _]:
                    there = self.folders[rest.split('"')[1]]
                    there.update((len(there) + 1, here[uid]) for uid in uids(wanted))
                case ["UID", "SEARCH", "DELETED"]:
                    say(f"* SEARCH {' '.join(map(str, sorted(self.deleted & set(here))))}")
                case ["UID", "EXPUNGE", wanted]:
                    self._expunge(here, self.deleted & set(uids(wanted)))
                case ["EXPUNGE"]:
                    self._expunge(here, self.deleted)
                case ["LOGOUT"]:
                    say(f"* BYE\r\n{tag} OK")
                    return
            say(f"{tag} OK done")

    def _expunge(self, here: dict[int, bytes], gone: set[int]) -> None:
        for uid in gone:
            here.pop(uid, None)
        self.deleted = self.deleted - gone


def uids(text: str) -> list[int]:
    """Return the numbers of a set."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


@contextlib.contextmanager
def serving(
    talk: Callable[[Iterator[str], Say], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Run a server, over TLS where that is set up; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    there, _ = listener.accept()
                except OSError:
                    return
                if context:
                    there = context.wrap_socket(there, server_side=True)
                with there, contextlib.suppress(OSError), there.makefile("rb") as lines:
                    talk(
                        (line.decode("latin-1").rstrip("\r\n") for line in lines),
                        lambda said, there=there: there.sendall(  # type: ignore[misc]
                            (said if isinstance(said, bytes) else said.encode()) + b"\r\n"
                        ),
                    )

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
