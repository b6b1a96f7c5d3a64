"""POP3 (RFC 1939, 2449, 2595, 5034): messages by their UIDL; RETR sent ahead where it may be."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import md5

from pymail.sasl import Secrets
from pymail.source import AGAIN, MOST_TEXT, After, RefusedError, Remote, Text
from pymail.source.login import choose, guarded, prove, refused
from pymail.source.talk import MOST_EARLY, MOST_LINE, MOST_LISTING, Talk, carried, collected, words
from pymail.transport import Login
from pymail.transport.wire import LostError, Tunnel

AHEAD = 100
"""Commands that wait for their answers; when half of them have come, more are sent."""

MOST_MESSAGES = 1 << 20
"""Messages in a mailbox; what is known of so many takes 400 MB."""

_SIZE = re.compile(rb"\d{1,12}")
_GONE = re.compile(rb"-ERR.*\b(?:already|is|been) deleted|-ERR.*\bno such message", re.IGNORECASE)


class Pop3:
    """A POP3 server that greets us over `talk`."""

    reuses_keys = True

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._said = b""
        self._asked: set[int] = set()
        self._doomed: list[Remote] = []
        self._refusals: list[bytes] = []
        greeting = self._answer("greeting")
        stamp = re.search(rb"<[\x21-\x3b\x3d\x3f-\x7e]+@[\x21-\x3b\x3d\x3f-\x7e]+>", greeting)
        self._stamp = stamp[0] if stamp else b""
        self._able = self._capabilities()

    def secure(self, tunnel: Tunnel) -> None:
        """Go over to TLS.  LostError where that is not offered."""
        reply = self._ask("STLS")
        if not reply.startswith(b"+OK") or not self._talk.idle:
            raise LostError("4.7.4", f"host {self._talk.host} does not begin TLS: {words(reply)}")
        self._talk.secure(tunnel)
        self._able = self._capabilities()

    def log_in(self, login: Login, only: Sequence[str]) -> None:
        """Say who we are, the strongest way that there is."""
        with guarded(login) as secrets:
            self._log_in(login, only, secrets)
        if "PIPELINING" not in self._able:  # some tell more to those they know
            self._able = self._capabilities() or self._able

    def boxes(self, wanted: Sequence[str]) -> Sequence[str]:
        """Return the one that there is."""
        del wanted
        return ("",)

    def look(self, box: str) -> list[Remote]:
        """Return what is in it."""
        del box
        if "PIPELINING" in self._able:
            self._talk.say(b"LIST\r\nUIDL\r\n", "LIST")
            sizes = dict(self._listed("LIST"))
            uids = dict(self._listed("UIDL"))
        else:
            self._talk.say(b"LIST\r\n", "LIST")
            sizes = dict(self._listed("LIST"))
            self._talk.say(b"UIDL\r\n", "UIDL")
            uids = dict(self._listed("UIDL"))
        found: list[Remote] = []
        count: dict[str, int] = {}
        for number, uid in uids.items():
            size = sizes.get(number, b"0")
            key = uid.decode("ascii", "backslashreplace")
            count[key] = count.get(key, 0) + 1
            if count[key] > 1:  # copies of one message may have the same UIDL; so may others
                key += f"{AGAIN}{count[key]}"
            found.append(Remote(key, number, int(size) if _SIZE.fullmatch(size) else 0))
        return found

    def retrieve(
        self, remotes: Sequence[Remote], then: Sequence[Remote] = (), most: int = MOST_TEXT
    ) -> Iterator[tuple[Remote, Text | str]]:
        """Yield each message, or the words in which the server refuses it.

        Those that come `then` are asked for before the last ones of these have been looked at.
        One of more than `most` bytes comes as Source.retrieve() says.
        """
        ahead = AHEAD if "PIPELINING" in self._able else 1
        waiting = deque(each for each in (*remotes, *then) if each.number not in self._asked)
        for each in remotes:
            if len(self._asked) <= ahead // 2:
                some = [
                    waiting.popleft() for _ in range(min(ahead - len(self._asked), len(waiting)))
                ]
                self._talk.say(b"".join(b"RETR %d\r\n" % one.number for one in some), "RETR")
                self._asked |= {one.number for one in some}
            reply = self._talk.line("the answer to RETR")
            self._asked.remove(each.number)
            if reply.startswith(b"+OK"):
                pieces = self._talk.until_dot("a message", carried(most))
                yield each, collected(pieces, most)
            else:
                yield each, words(reply)

    def finish(self, remotes: Sequence[Remote], after: After) -> None:
        """Remember what is to be deleted: settle() and quit() do it."""
        if after.verb == "delete":
            self._doomed += remotes

    def doomed(self) -> Sequence[str]:
        """Return the keys of what is to be deleted."""
        return [each.key for each in self._doomed]

    def settle(self) -> Sequence[str]:
        """Mark what is to be deleted; return the keys of what the server refuses to mark."""
        refused: list[str] = []
        ahead = AHEAD if "PIPELINING" in self._able else 1
        for start in range(0, len(self._doomed), ahead):
            group = self._doomed[start : start + ahead]
            self._talk.say(b"".join(b"DELE %d\r\n" % each.number for each in group), "DELE")
            for each in group:
                reply = self._talk.line("the answer to DELE")
                if not (reply.startswith(b"+OK") or _GONE.match(reply)):
                    refused.append(each.key)
                    self._refusals.append(reply)
        return refused

    def close(self) -> None:
        """Break off."""
        self._talk.close()

    def quit(self) -> None:
        """Part; without this the server deletes nothing."""
        try:
            reply = self._ask("QUIT")
        finally:
            self._talk.close()
        if self._doomed and not reply.startswith(b"+OK"):  # RFC 1939, 6: not all are gone
            self._refusals.append(reply)
        if self._refusals:
            raise RefusedError(f"cannot remove messages: {words(self._refusals[0])}")

    def _log_in(self, login: Login, only: Sequence[str], secrets: Secrets) -> None:
        host = self._talk.host
        mechanism = choose(host, self._able.get("SASL", "").split(), login, only)
        if mechanism and (only or mechanism.name not in ("PLAIN", "LOGIN")):
            good = prove(host, mechanism, secrets, lambda line: self._auth(mechanism.name, line))
        elif self._stamp and not self._talk.secret and not only:
            # MD5 is better than the password itself, and no more than that.
            text = self._stamp + login.password.encode("utf-8", "surrogateescape")
            digest = md5(text, usedforsecurity=False).hexdigest()
            secrets.add(digest)
            good = self._ask(f"APOP {login.user} {digest}", "APOP").startswith(b"+OK")
        else:
            good = self._ask(f"USER {login.user}", "USER").startswith(b"+OK")
            good = good and self._ask(f"PASS {login.password}", "PASS").startswith(b"+OK")
        if not good:
            later = re.match(rb"-ERR \[(?:SYS/TEMP|IN-USE|LOGIN-DELAY)\]", self._said)
            fault = mechanism.fault if mechanism else ""
            raise refused(host, login, words(self._said), fault=fault, later=bool(later))

    def _capabilities(self) -> dict[str, str]:
        """Return what the server says that it can, by its first word."""
        if not self._ask("CAPA").startswith(b"+OK"):
            return {}
        said = self._talk.until_dot("the answer to CAPA", MOST_EARLY)
        lines = b"".join(said).decode("ascii", "replace")
        found = (line.partition(" ") for line in lines.upper().splitlines())
        return {name: rest for name, _, rest in found}

    def _listed(self, command: str) -> Iterator[tuple[int, bytes]]:
        reply = self._talk.line(f"the answer to {command}")
        if not reply.startswith(b"+OK"):
            said = words(reply)
            raise LostError("4.5.0", f"host {self._talk.host} refuses {command}: {said}")
        begun, count, host = b"", 0, self._talk.host
        for piece in self._talk.until_dot(f"the answer to {command}", MOST_LISTING):
            *lines, begun = (begun + piece).split(b"\r\n")
            count += len(lines)
            if len(begun) > MOST_LINE or count > MOST_MESSAGES:
                raise LostError("4.5.0", f"host {host}: too much in the answer to {command}")
            for line in lines:
                told = line.split(None, 2)
                if len(told) > 1 and told[0].isdigit() and len(told[0]) < 12:
                    yield int(told[0]), told[1]

    def _auth(self, name: str, line: str | None) -> tuple[bytes | None, bool]:
        reply = self._ask(f"AUTH {name}" if line is None else line, "AUTH")
        asks = reply.startswith(b"+ ") or reply == b"+"
        return reply[2:] if asks else None, reply.startswith(b"+OK")

    def _ask(self, line: str, what: str = "") -> bytes:
        """Say a line and return the first line of the answer."""
        if any(c in line for c in "\r\n\0"):
            raise LostError("4.3.5", f"cannot say a control character to {self._talk.host}")
        self._talk.say(line.encode("utf-8", "surrogateescape") + b"\r\n", what or line)
        self._said = self._talk.line(f"the answer to {what or line}")
        return self._said

    def _answer(self, what: str) -> bytes:
        reply = self._talk.line(what)
        if not reply.startswith(b"+OK"):
            raise LostError("4.3.2", f"host {self._talk.host} refused to talk: {words(reply)}")
        return reply
