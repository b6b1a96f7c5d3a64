"""IMAP (RFC 3501): messages by folder, UIDVALIDITY and UID."""

import re
from collections.abc import Collection, Iterator, Sequence

from pymail.sasl import Secrets
from pymail.source import MOST_TEXT, After, RefusedError, Remote, Text, notation
from pymail.source.exchange import Exchange
from pymail.source.login import choose, guarded, prove, refused
from pymail.source.retrieval import VALIDITY, Retrieval
from pymail.source.talk import MOST_EARLY, Talk, words
from pymail.transport import Login
from pymail.transport.wire import LostError, Tunnel

_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d{1,12})(?=[ )])")
_EXISTS = re.compile(rb"\* (\d{1,10}) EXISTS", re.IGNORECASE)
_NUMBER = re.compile(rb"\d{1,10}")
_MOST_ABLE = 10_000


class Imap:
    """An IMAP server that greets us over `talk`."""

    reuses_keys = False

    def __init__(self, talk: Talk) -> None:
        self._exchange = Exchange(talk)
        self._able: frozenset[str] = frozenset()
        self._validity = ""
        self._box = ""
        self._ours: set[int] = set()
        greeting = self._exchange.greeting
        self._known = greeting[:9].upper() == b"* PREAUTH"
        if not self._known and greeting[:4].upper() != b"* OK":
            raise LostError("4.3.2", f"host {talk.host} refused to talk: {words(greeting)}")
        self._ask_capabilities()

    def secure(self, tunnel: Tunnel) -> None:
        """Go over to TLS.  LostError where that is not offered."""
        host = self._exchange.host
        if self._known:
            # Who is logged in already cannot ask for TLS any more (CVE-2020-12398).
            raise LostError("4.7.0", f"host {host} leaves no room for TLS")
        if not self._exchange.ask("STARTTLS", most=MOST_EARLY) or not self._exchange.idle:
            said = self._exchange.end
            raise LostError("4.7.4", f"host {host} does not begin TLS: {said}")
        self._exchange.secure(tunnel)
        self._ask_capabilities()

    def log_in(self, login: Login, only: Sequence[str]) -> None:
        """Say who we are, where the server does not know; the strongest way that there is."""
        if self._known:
            return
        with guarded(login) as secrets:
            self._log_in(login, only, secrets)
        self._ask_capabilities()

    def boxes(self, wanted: Sequence[str]) -> Sequence[str]:
        """Return these folders."""
        return wanted

    def look(self, box: str) -> list[Remote]:
        """Turn to a folder and return what is in it."""
        exists, self._validity, self._box, self._ours = 0, "", box, set()
        for response in self._exchange.said("SELECT", notation.folder(box)):
            response.close()
            if match := _EXISTS.match(response.text):
                exists = int(match[1])
            if match := VALIDITY.match(response.text):
                self._validity = match[1].decode()
        if not self._exchange.good():
            raise RefusedError(f"cannot open folder {box}: {self._exchange.end}")
        host = self._exchange.host
        if not self._validity:
            raise LostError("4.5.0", f"host {host}: folder {box} has no UIDVALIDITY")
        found = self._listed() if exists else {}
        if not self._exchange.good():
            said = self._exchange.end
            raise LostError("4.5.0", f"host {host}: cannot list folder {box}: {said}")
        prefix = "".join(c if "!" <= c <= "~" and c != "%" else f"%{ord(c):X};" for c in box)
        return [
            Remote(f"{prefix}:{self._validity}:{uid}", uid, found[uid]) for uid in sorted(found)
        ]

    def retrieve(
        self, remotes: Sequence[Remote], then: Sequence[Remote] = (), most: int = MOST_TEXT
    ) -> Iterator[tuple[Remote, Text | str]]:
        """Yield each message, or the words in which the server refuses it.

        One of more than `most` bytes comes as Source.retrieve() says.
        """
        del then  # between groups there are commands for what is safe here
        return Retrieval(self._exchange, self._validity, most).texts(remotes)

    def finish(self, remotes: Sequence[Remote], after: After) -> None:
        """Flag, delete or move messages of the folder that was looked at."""
        uids = [each.number for each in remotes]
        if not uids or after.verb == "keep":
            return
        if after.verb == "seen":
            self._flag(uids, "\\Seen")
        elif after.verb == "move" and "MOVE" in self._able:
            self._move("MOVE", uids, after.folder)
        else:
            if after.verb == "move":
                # Those that are marked were copied by a fetch that died.
                marked = self._marked(uids)
                self._move("COPY", [uid for uid in uids if uid not in marked], after.folder)
            self._flag(uids, "\\Deleted")
            self._expunge(uids)

    def doomed(self) -> Sequence[str]:
        """Leave nothing for the end: finish() has done it."""
        return ()

    def settle(self) -> Sequence[str]:
        """Do nothing more."""
        return ()

    def close(self) -> None:
        """Break off."""
        self._exchange.close()

    def quit(self) -> None:
        """Part in peace."""
        try:
            self._exchange.ask("LOGOUT")
        finally:
            self._exchange.close()

    def _listed(self) -> dict[int, int]:
        """Return the size of each message in the folder, by UID."""
        found: dict[int, int] = {}
        for response in self._exchange.said("UID", "FETCH", "1:*", "(UID RFC822.SIZE)"):
            response.close()
            uid, size = response.uid, _SIZE.search(response.text)
            if uid >= 0:
                found[uid] = int(size[1]) if size else 0
        return found

    def _move(self, verb: str, uids: Sequence[int], folder: str) -> None:
        for part in notation.sets(uids):
            if not self._exchange.ask("UID", verb, part, notation.folder(folder)):
                said = self._exchange.end
                # RFC 3501, 6.4.7
                missing = "[TRYCREATE]" in said.upper()
                remedy = "; create it there, or name another in after_fetch" if missing else ""
                raise RefusedError(f"cannot move messages to folder {folder}: {said}{remedy}")

    def _flag(self, uids: Sequence[int], flag: str) -> None:
        for part in notation.sets(uids):
            if not self._exchange.ask("UID", "STORE", part, "+FLAGS.SILENT", f"({flag})"):
                raise RefusedError(f"cannot flag messages: {self._exchange.end}")

    def _expunge(self, uids: Sequence[int]) -> None:
        """Remove messages that are marked as deleted, and none that others have marked."""
        commands: list[tuple[str, ...]] = [("UID", "EXPUNGE", s) for s in notation.sets(uids)]
        if "UIDPLUS" not in self._able:
            self._ours.update(uids)
            self._marked(self._ours)  # what others mark from here on is lost: there is no way round
            commands = [("EXPUNGE",)]
        for command in commands:
            if not self._exchange.ask(*command):
                said = self._exchange.end
                raise RefusedError(f"cannot remove messages from folder {self._box}: {said}")

    def _marked(self, ours: Collection[int]) -> set[int]:
        """Return what is marked as deleted.

        RefusedError where EXPUNGE would remove more than `ours`.
        """
        found: set[int] = set()
        for response in self._exchange.said("UID", "SEARCH", "DELETED"):
            response.close()
            if response.text[:8].upper() == b"* SEARCH":
                found |= {int(uid) for uid in response.text[8:].split() if _NUMBER.fullmatch(uid)}
        if not self._exchange.good():
            said = self._exchange.end
            raise RefusedError(f"cannot look for deleted messages in folder {self._box}: {said}")
        if "UIDPLUS" not in self._able and not found <= set(ours):
            raise RefusedError(
                f"messages that others have marked as deleted are in folder {self._box}, and the"
                " server removes all or none (no UIDPLUS): expunge it with another program"
            )
        return found

    def _log_in(self, login: Login, only: Sequence[str], secrets: Secrets) -> None:
        host = self._exchange.host
        offered = [each[5:] for each in sorted(self._able) if each.startswith("AUTH=")]
        mechanism = choose(host, offered, login, only)
        if mechanism:
            ask = self._exchange.authentication(mechanism.name)
            good = prove(host, mechanism, secrets, ask)
        elif "LOGINDISABLED" in self._able:
            raise LostError("4.7.0", f"host {host} takes no login that we know")
        else:
            user, password = notation.quoted(login.user), notation.quoted(login.password)
            secrets.add(password)
            good = self._exchange.ask("LOGIN", user, password, most=MOST_EARLY)
        if not good:
            said = self._exchange.end
            later = "[UNAVAILABLE]" in said or "[INUSE]" in said
            fault = mechanism.fault if mechanism else ""
            raise refused(host, login, said, fault=fault, later=later)

    def _ask_capabilities(self) -> None:
        found: list[str] = []
        for response in self._exchange.said("CAPABILITY", most=MOST_EARLY):
            response.close()
            if response.text[:13].upper() == b"* CAPABILITY ":
                found += response.text[13:].decode("ascii", "replace").upper().split()
            if len(found) > _MOST_ABLE:
                raise LostError("4.5.0", f"host {self._exchange.host}: too much in CAPABILITY")
        self._able = frozenset(found)
