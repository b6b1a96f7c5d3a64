"""POP3 and IMAP servers of a few lines, to be as odd as a test wants them."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Say = Callable[[bytes | str], None]


class Pop:
    """A POP3 server with `mail`: lists of [UIDL, message]."""

    def __init__(self, *mail: tuple[str, bytes]) -> None:
        self.mail = list(mail)

    def __call__(self, lines: Iterator[str], say: Say) -> None:
        """Talk."""
        say("+OK hello")
        deleted: set[int] = set()
        for line in lines:
            verb, _, rest = line.partition(" ")
            if verb == "LIST":
                sizes = (f"{n} {len(text)}\r\n" for n, (_, text) in enumerate(self.mail, 1))
                say("+OK\r\n" + "".join(sizes) + ".")
            elif verb == "UIDL":
                names = (f"{n} {name}\r\n" for n, (name, _) in enumerate(self.mail, 1))
                say("+OK\r\n" + "".join(names) + ".")
            elif verb == "RETR":
                say(b"+OK\r\n" + self.mail[int(rest) - 1][1] + b"\r\n.")
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
    """

    def __init__(
        self,
        folders: dict[str, dict[int, bytes]],
        odd: Callable[[Say, str, str], bool] = lambda *_: False,
    ) -> None:
        self.folders = folders
        self.said: list[str] = []
        self._odd = odd

    def __call__(self, lines: Iterator[str], say: Say) -> None:  # noqa: C901, PLR0912  (a table)
        """Talk."""
        say("* OK hello")
        here: dict[int, bytes] = {}
        flagged: list[int] = []
        for line in lines:
            self.said.append(line)
            tag, _, rest = line.partition(" ")
            if self._odd(say, tag, rest):
                continue
            match rest.split():
                case ["CAPABILITY"]:
                    say("* CAPABILITY IMAP4rev1 UIDPLUS MOVE")
                case ["SELECT", *_]:
                    name = rest.split('"')[1]
                    if name not in self.folders:
                        say(f"{tag} NO there is no such mailbox")
                        continue
                    here = self.folders[name]
                    say(f"* {len(here)} EXISTS\r\n* OK [UIDVALIDITY 7] ok")
                case ["UID", "FETCH", "1:*", *_]:
                    for uid, text in here.items():
                        say(f"* 1 FETCH (UID {uid} RFC822.SIZE {len(text)})")
                case ["UID", "FETCH", wanted, *_]:
                    for uid in uids(wanted):
                        data = uid, len(here[uid]), here[uid]
                        say(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%b)" % data)
                case ["UID", "STORE", wanted, *_]:
                    flagged = uids(wanted)
                case ["UID", "EXPUNGE", *_]:
                    for uid in flagged:
                        here.pop(uid, None)
                case ["LOGOUT"]:
                    say(f"* BYE\r\n{tag} OK")
                    return
            say(f"{tag} OK done")


def uids(text: str) -> list[int]:
    """Return the numbers of a set."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


@contextlib.contextmanager
def serving(talk: Callable[[Iterator[str], Say], None]) -> Iterator[int]:
    """Run a server; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    there, _ = listener.accept()
                except OSError:
                    return
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
