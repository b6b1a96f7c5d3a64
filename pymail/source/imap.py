"""IMAP (RFC 3501): messages by folder, UIDVALIDITY and UID; many in one FETCH.

A large message comes in parts, BODY.PEEK[]<offset.count>.  Its end is where the server has
nothing more to give: the size that it told before is believed by nobody.
"""

import base64
import re
import time
from collections.abc import Collection, Iterator, Sequence

from pymail.sasl import Secrets
from pymail.source import After, RefusedError, Remote, Text
from pymail.source.login import choose, guarded, prove, refused
from pymail.source.talk import (
    MOST_LISTING,
    MOST_TEXT,
    MOST_WAIT,
    SLOWEST,
    Talk,
    collected,
    words,
)
from pymail.transport import Login
from pymail.transport.wire import LostError, Tunnel

MOST_LITERAL = 1 << 20
"""Bytes of a literal that is no message."""

PART = 1 << 21
"""Bytes of a message that are asked for at once; a larger one comes in parts."""

MOST_SHORT = 64
"""Parts of one message that may be shorter than what was asked for."""

_LITERAL = re.compile(rb"\{(\d{1,10})\}\Z")
_UID = re.compile(rb"[( ]UID (\d{1,10})(?=[ )])")
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d{1,12})(?=[ )])")
_EXISTS = re.compile(rb"\* (\d{1,10}) EXISTS", re.IGNORECASE)
_VALIDITY = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)
_QUOTED = re.compile(rb'[( ]BODY\[\] "((?:[^"\\]|\\.)*)"', re.DOTALL)
_NUMBER = re.compile(rb"\d{1,10}")
_MOST_ABLE = 10_000
_SET = 1000
"""Bytes of a set of messages in one command: servers take lines of 8,000, some fewer."""
_PART = re.compile(rb"[( ]BODY\[\]<(\d{1,12})> \Z")
_QUOTED_PART = re.compile(rb'[( ]BODY\[\](?:<(\d{1,12})>)? (?:NIL|"((?:[^"\\]|\\.)*)")', re.DOTALL)


class Response:
    """An untagged response: its text, and the message in it, or part of one, where it has that."""

    def __init__(self) -> None:
        self.text = b""
        self.message: Text | None = None
        self.part: bytes | None = None
        self.offset = 0

    def at(self, offset: int) -> bytes | None:
        """Return the part at an offset, b"" where that is said to be behind the end."""
        if self.part is not None:
            return self.part if self.offset == offset or (offset and not self.part) else None
        quoted = _QUOTED_PART.search(self.text)
        if not quoted:
            return None
        part = re.sub(rb"\\(.)", rb"\1", quoted[2] or b"", flags=re.DOTALL)
        here = quoted[1] == b"%d" % offset
        return part if (offset and not part) or (part and here) else None

    def close(self) -> None:
        """Forget the message."""
        if self.message:
            self.message.close()


class Imap:
    """An IMAP server that greets us over `talk`."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._count = 0
        self._final = b""
        self._able: frozenset[str] = frozenset()
        self._validity = ""
        self._box = ""
        self._ours: set[int] = set()
        greeting = talk.line("greeting")
        self._known = greeting[:9].upper() == b"* PREAUTH"
        if not self._known and greeting[:4].upper() != b"* OK":
            raise LostError("4.3.2", f"host {talk.host} refused to talk: {words(greeting)}")
        self._ask_capabilities()

    def secure(self, tunnel: Tunnel) -> None:
        """Go over to TLS.  LostError where that is not offered."""
        if self._known:
            # Who is logged in already cannot ask for TLS any more (CVE-2020-12398).
            raise LostError("4.7.0", f"host {self._talk.host} leaves no room for TLS")
        if not self._ask("STARTTLS") or not self._talk.idle:
            said = words(self._final)
            raise LostError("4.7.4", f"host {self._talk.host} does not begin TLS: {said}")
        self._talk.secure(tunnel)
        self._ask_capabilities()

    def log_in(self, login: Login, only: Sequence[str]) -> None:
        """Say who we are, where the server does not know; the strongest way that there is."""
        if self._known:
            return
        with guarded(login) as secrets:
            self._log_in(login, only, secrets)
        self._ask_capabilities()

    def boxes(self) -> Sequence[str]:
        """Return the folder that everybody has."""
        return ("INBOX",)

    def look(self, box: str) -> list[Remote]:
        """Turn to a folder and return what is in it."""
        exists, self._validity, self._box, self._ours = 0, "", box, set()
        for response in self._said("SELECT", _quoted(_encoded(box))):
            response.close()
            if match := _EXISTS.match(response.text):
                exists = int(match[1])
            if match := _VALIDITY.match(response.text):
                self._validity = match[1].decode()
        if not self._good():
            said = words(self._final)
            raise RefusedError(f"cannot open folder {box}: {said}")
        if not self._validity:
            raise LostError("4.5.0", f"host {self._talk.host}: folder {box} has no UIDVALIDITY")
        found: dict[int, int] = {}
        for response in self._said("UID", "FETCH", "1:*", "(UID RFC822.SIZE)") if exists else ():
            response.close()
            uid, size = _UID.search(response.text), _SIZE.search(response.text)
            if uid:
                found[int(uid[1])] = int(size[1]) if size else 0
        if not self._good():
            said = words(self._final)
            raise LostError("4.5.0", f"host {self._talk.host}: cannot list folder {box}: {said}")
        prefix = "".join(c if "!" <= c <= "~" and c != "%" else f"%{ord(c):X};" for c in box)
        return [
            Remote(f"{prefix}:{self._validity}:{uid}", uid, found[uid]) for uid in sorted(found)
        ]

    def retrieve(self, remotes: Sequence[Remote]) -> Iterator[tuple[Remote, Text | str]]:
        """Yield each message, or the words in which the server refuses it."""
        large = [each for each in remotes if each.size > PART]
        waiting = {each.number: each for each in remotes if each.size <= PART}
        alone = len(waiting) == 1
        if waiting:
            yield from self._fetched(waiting)
        if not alone:
            # One that the server cannot give spoils the answer for those behind it.
            for each in list(waiting.values()):
                one = {each.number: each}
                yield from self._fetched(one)
                if not one:
                    del waiting[each.number]
        said = "there is no such message" if self._good() else words(self._final)
        for each in waiting.values():
            yield each, said
        for each in large:
            yield each, self._in_parts(each)

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

    def _move(self, verb: str, uids: Sequence[int], folder: str) -> None:
        for part in _sets(uids):
            if not self._ask("UID", verb, part, _quoted(_encoded(folder))):
                said = words(self._final)
                raise RefusedError(f"cannot move messages to folder {folder}: {said}")

    def _flag(self, uids: Sequence[int], flag: str) -> None:
        for part in _sets(uids):
            if not self._ask("UID", "STORE", part, "+FLAGS.SILENT", f"({flag})"):
                raise RefusedError(f"cannot flag messages: {words(self._final)}")

    def _expunge(self, uids: Sequence[int]) -> None:
        """Remove messages that are marked as deleted, and none that others have marked."""
        commands: list[tuple[str, ...]] = [("UID", "EXPUNGE", part) for part in _sets(uids)]
        if "UIDPLUS" not in self._able:
            self._ours.update(uids)
            self._marked(self._ours)
            commands = [("EXPUNGE",)]
        for command in commands:
            if not self._ask(*command):
                said = words(self._final)
                raise RefusedError(f"cannot remove messages from folder {self._box}: {said}")

    def _marked(self, ours: Collection[int]) -> set[int]:
        """Return what is marked as deleted.

        RefusedError where EXPUNGE would remove more than `ours`.
        """
        found: set[int] = set()
        for response in self._said("UID", "SEARCH", "DELETED"):
            response.close()
            if response.text[:8].upper() == b"* SEARCH":
                found |= {int(uid) for uid in response.text[8:].split() if _NUMBER.fullmatch(uid)}
        if not self._good():
            said = words(self._final)
            raise RefusedError(f"cannot look for deleted messages in folder {self._box}: {said}")
        if "UIDPLUS" not in self._able and not found <= set(ours):
            raise RefusedError(
                f"messages that others have marked as deleted are in folder {self._box}, and the"
                " server removes all or none (no UIDPLUS): expunge it with another program"
            )
        return found

    def close(self) -> None:
        """Break off."""
        self._talk.close()

    def quit(self) -> None:
        """Part in peace."""
        try:
            self._ask("LOGOUT")
        finally:
            self._talk.close()

    def _log_in(self, login: Login, only: Sequence[str], secrets: Secrets) -> None:
        host = self._talk.host
        offered = [each[5:] for each in sorted(self._able) if each.startswith("AUTH=")]
        mechanism = choose(host, offered, login, only)
        if mechanism:
            tag = self._tag()
            name = mechanism.name
            good = prove(host, mechanism, secrets, lambda line: self._authenticate(tag, name, line))
        elif "LOGINDISABLED" in self._able:
            raise LostError("4.7.0", f"host {host} takes no login that we know")
        else:
            secrets.add(_quoted(login.password))
            good = self._ask("LOGIN", _quoted(login.user), _quoted(login.password))
        if not good:
            later = b"[UNAVAILABLE]" in self._final or b"[INUSE]" in self._final
            fault = mechanism.fault if mechanism else ""
            raise refused(host, login, words(self._final), fault=fault, later=later)

    def _fetched(self, waiting: dict[int, Remote]) -> Iterator[tuple[Remote, Text | str]]:
        """Yield messages, each of which waits no more."""
        for response in self._said("UID", "FETCH", _set(sorted(waiting)), "(UID BODY.PEEK[])"):
            uid = _UID.search(response.text)
            text = response.message
            if uid and text is None and (quoted := _QUOTED.search(response.text)):
                text = collected([re.sub(rb"\\(.)", rb"\1", quoted[1])])
            remote = waiting.pop(int(uid[1]), None) if uid and text is not None else None
            if remote is not None and text is not None:
                yield remote, text
            elif text is not None:
                text.close()  # nobody asked for it

    def _in_parts(self, remote: Remote) -> Text | str:
        """Return a large message, or the words in which the server refuses it."""
        first = self._part(remote, 0)
        if isinstance(first, str) and self._good():  # it gives no part
            return self._whole(remote) or first
        if not isinstance(first, bytes):
            return first
        try:
            return collected(self._parts(remote, first))
        except RefusedError as refusal:
            return str(refusal)

    def _whole(self, remote: Remote) -> Text | str:
        """Return a message that comes in one, "" where it does not come."""
        found: Text | str = ""
        try:
            for _, text in self._fetched({remote.number: remote}):
                found = text
        except LostError:
            if isinstance(found, Text):
                found.close()
            raise
        return found

    def _parts(self, remote: Remote, part: bytes) -> Iterator[bytes]:
        """Yield a message whose first part is at hand."""
        offset = short = 0
        while part:
            short += len(part) < PART
            if short > MOST_SHORT:
                raise LostError("4.5.0", f"host {self._talk.host} gives a message in crumbs")
            yield part
            offset += len(part)
            if offset > MOST_TEXT:
                raise LostError("4.5.0", f"host {self._talk.host}: a message has no end")
            following = self._part(remote, offset)
            if not isinstance(following, bytes):
                if isinstance(following, Text):
                    following.close()
                    following = "it sends a whole message for a part of one"
                raise RefusedError(following)
            part = following

    def _part(self, remote: Remote, offset: int) -> bytes | Text | str:
        """Return what is at an offset, b"" behind the end; or the whole message; or a refusal."""
        found: bytes | Text | None = None
        asked = f"(UID BODY.PEEK[]<{offset}.{PART}>)"
        try:
            for response in self._said("UID", "FETCH", str(remote.number), asked):
                self._check_validity(response)
                uid = _UID.search(response.text)
                if found is None and uid and int(uid[1]) == remote.number:
                    found = response.message or response.at(offset)
                else:
                    response.close()
        except LostError:
            if isinstance(found, Text):
                found.close()
            raise
        if found is not None and self._good():
            return found
        if isinstance(found, Text):
            found.close()
        # GNU Mailutils has nothing to say of what is behind the end.
        ended = found is None and self._good() and 0 < remote.size <= offset
        return b"" if ended else words(self._final)

    def _check_validity(self, response: Response) -> None:
        """Raise LostError where the folder has become another one."""
        match = _VALIDITY.match(response.text)
        if match and match[1].decode() != self._validity:
            response.close()
            raise LostError("4.5.0", f"host {self._talk.host}: UIDVALIDITY has changed")

    def _ask_capabilities(self) -> None:
        found: list[str] = []
        for response in self._said("CAPABILITY"):
            response.close()
            if response.text[:13].upper() == b"* CAPABILITY ":
                found += response.text[13:].decode("ascii", "replace").upper().split()
            if len(found) > _MOST_ABLE:
                raise LostError("4.5.0", f"host {self._talk.host}: too much in CAPABILITY")
        self._able = frozenset(found)

    def _ask(self, *line: str) -> bool:
        """Say a command and wait for its end; say whether that was a yes."""
        for response in self._said(*line):
            response.close()
        return self._good()

    def _good(self) -> bool:
        return self._final[:2].upper() == b"OK"

    def _tag(self) -> bytes:
        self._count += 1
        return b"a%d" % self._count

    def _said(self, *line: str) -> Iterator[Response]:
        """Say a command; yield what is answered, and keep its end in `_final`."""
        tag, what = self._tag(), line[0] if line[0] != "UID" else line[1]
        text = " ".join(line)
        if any(c in text for c in "\r\n\0"):
            raise LostError("4.3.5", f"cannot say a control character to {self._talk.host}")
        data = text.encode("utf-8", "surrogateescape")
        self._talk.say(tag + b" " + data + b"\r\n", what)
        waited, size = 0.0, 0
        while True:
            begun = time.monotonic()
            response = self._response(f"the answer to {what}")
            # What comes after each response is our own time.
            waited += time.monotonic() - begun
            size += len(response.text)
            if waited > MOST_WAIT + size / SLOWEST or size > MOST_LISTING:
                response.close()
                raise LostError(
                    "4.4.2", f"host {self._talk.host} does not come to an end of {what}"
                )
            if response.text.startswith(tag + b" "):
                response.close()
                self._final = response.text[len(tag) + 1 :]
                return
            if response.text[:5].upper() == b"* BYE" and line[0] != "LOGOUT":
                response.close()
                raise LostError("4.3.2", f"host {self._talk.host}: {words(response.text[2:])}")
            yield response

    def _response(self, what: str) -> Response:
        """Return the next response, with its literals; that of BODY[] is a message."""
        response = Response()
        try:
            self._read(response, what)
        except BaseException:
            response.close()
            raise
        return response

    def _read(self, response: Response, what: str) -> None:
        while True:
            line = self._talk.line(what)
            response.text += line
            literal = _LITERAL.search(line)
            if not literal:
                return
            size = int(literal[1])
            pieces = self._talk.exactly(size, what)
            if response.text[: len(response.text) - len(literal[0])].endswith(b"BODY[] "):
                response.close()
                response.message = collected(pieces)
                response.text += b" "
            elif match := _PART.search(response.text[: len(response.text) - len(literal[0])]):
                if size > PART:
                    raise LostError("4.5.0", f"host {self._talk.host}: more than asked in {what}")
                response.part, response.offset = b"".join(pieces), int(match[1])
                response.text += b" "
            elif size + len(response.text) > MOST_LITERAL:
                raise LostError("4.5.0", f"host {self._talk.host}: too much in {what}")
            else:
                response.text += b"".join(pieces)

    def _authenticate(self, tag: bytes, name: str, line: str | None) -> tuple[bytes | None, bool]:
        begin = tag + b" AUTHENTICATE " + name.encode()
        self._talk.say((begin if line is None else line.encode()) + b"\r\n", "AUTHENTICATE")
        while True:
            response = self._response("the answer to AUTHENTICATE")
            response.close()
            text = response.text
            if text.startswith(b"+"):
                return text[2:], False
            if text.startswith(tag + b" "):
                self._final = text[len(tag) + 1 :]
                return None, self._good()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _encoded(folder: str) -> str:
    """Return the name of a folder as IMAP writes it (RFC 3501 5.1.3)."""

    def shifted(match: re.Match[str]) -> str:
        text = base64.b64encode(match[0].encode("utf-16-be"), b"+,")
        return "&" + text.decode().rstrip("=") + "-"

    return re.sub(r"[^\x20-\x7e]+", shifted, folder.replace("&", "&-"))


def _set(uids: Sequence[int]) -> str:
    """Return a set of UIDs as IMAP writes it: 1:3,7."""
    return ",".join(_ranges(uids))


def _sets(uids: Sequence[int]) -> Iterator[str]:
    """Yield sets of UIDs, each short enough for a command."""
    part = ""
    for each in _ranges(uids):
        if part and len(part) + len(each) >= _SET:
            yield part
            part = ""
        part += f",{each}" if part else each
    if part:
        yield part


def _ranges(uids: Sequence[int]) -> list[str]:
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return [f"{a}:{b}" if a < b else str(a) for a, b in ranges]
