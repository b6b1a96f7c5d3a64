"""Messages out of a folder of an IMAP server: many in one FETCH, a large one in parts.

A part is BODY.PEEK[]<offset.count>.  The end of the message is where the server has nothing more
to give: the size that it told before is believed by nobody.
"""

import re
from collections.abc import Iterator, Sequence

from pymail.source import MOST_TEXT, RefusedError, Remote, Text, notation, response
from pymail.source.exchange import Exchange
from pymail.source.response import Response
from pymail.source.talk import carried, collected
from pymail.transport.wire import LostError

MOST_SHORT = 64
"""Parts of one message that may be shorter than what was asked for."""

VALIDITY = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)


class Retrieval:
    """Messages of the folder that is open, as long as it has this UIDVALIDITY.

    One of more than `most` bytes comes as Source.retrieve() says.
    """

    def __init__(self, exchange: Exchange, validity: str, most: int) -> None:
        self._exchange = exchange
        self._validity = validity
        self._most = most

    def texts(self, remotes: Sequence[Remote]) -> Iterator[tuple[Remote, Text | str]]:
        """Yield each message, or the words in which the server refuses it."""
        large = [each for each in remotes if each.size > response.PART]
        waiting = {each.number: each for each in remotes if each.size <= response.PART}
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
        said = "there is no such message" if self._exchange.good() else self._exchange.end
        for each in waiting.values():
            yield each, said
        for each in large:
            yield each, self._in_parts(each)

    def _fetched(self, waiting: dict[int, Remote]) -> Iterator[tuple[Remote, Text | str]]:
        """Yield messages, each of which waits no more."""
        uids = notation.whole(sorted(waiting))
        asked = ("UID", "FETCH", uids, "(UID BODY.PEEK[])")
        for each in self._exchange.said(*asked, most=MOST_TEXT, largest=self._most):
            text = each.whole()
            remote = waiting.pop(each.uid, None) if text is not None else None
            if remote is not None and text is not None:
                yield remote, text
            else:
                each.close()  # nobody asked for it

    def _in_parts(self, remote: Remote) -> Text | str:
        """Return a large message, or the words in which the server refuses it."""
        first = self._part(remote, 0)
        if isinstance(first, str) and self._exchange.good():  # it gives no part
            return self._whole(remote) or first
        if not isinstance(first, bytes):
            return first
        try:
            return collected(self._parts(remote, first), self._most)
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
            short += len(part) < response.PART
            if short > MOST_SHORT:
                raise LostError("4.5.0", f"host {self._exchange.host} gives a message in crumbs")
            yield part
            offset += len(part)
            if offset > MOST_TEXT:
                raise LostError("4.5.0", f"host {self._exchange.host}: a message has no end")
            if offset > carried(self._most):
                return
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
        part = f"(UID BODY.PEEK[]<{offset}.{response.PART}>)"
        asked = ("UID", "FETCH", str(remote.number), part)
        try:
            for each in self._exchange.said(*asked, most=MOST_TEXT, largest=self._most):
                self._check_validity(each)
                if found is None and each.uid == remote.number:
                    found = each.message or each.at(offset)
                else:
                    each.close()
        except LostError:
            if isinstance(found, Text):
                found.close()
            raise
        if found is not None and self._exchange.good():
            return found
        if isinstance(found, Text):
            found.close()
        # GNU Mailutils has nothing to say of what is behind the end.
        ended = found is None and self._exchange.good() and 0 < remote.size <= offset
        return b"" if ended else self._exchange.end

    def _check_validity(self, each: Response) -> None:
        """Raise LostError where the folder has become another one."""
        match = VALIDITY.match(each.text)
        if match and match[1].decode() != self._validity:
            each.close()
            raise LostError("4.5.0", f"host {self._exchange.host}: UIDVALIDITY has changed")
