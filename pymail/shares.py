"""What each user's messages in hand take of flush's memory: nobody gets more than a share of it.

Who has used up the share waits with the rest of the own mail; other users' mail goes on.
"""

SHARE = 1 << 22
"""Bytes of envelopes, headers, tails and deliveries in hand for one user."""

DELIVERY = 1 << 10
"""Bytes that a delivery takes besides its message."""


class Shares:
    """The messages in hand: whose they are, and how many bytes each takes."""

    def __init__(self) -> None:
        self._loads: dict[str, tuple[int, int]] = {}
        self._used: dict[int, int] = {}
        self._full: set[int] = set()

    def is_full(self, uid: int) -> bool:
        """Say whether a user has to wait: until half of what filled the share is done with."""
        return uid in self._full

    def fits(self, uid: int, size: int) -> bool:
        """Say whether a message may be taken: the only one of its user always may."""
        used = self._used.get(uid, 0)
        if not used or used + size <= SHARE:
            return True
        self._full.add(uid)
        return False

    def take(self, qid: str, uid: int, size: int) -> None:
        """Count a message in."""
        self._loads[qid] = uid, size
        self._used[uid] = self._used.get(uid, 0) + size

    def drop(self, qid: str) -> None:
        """Count a message out."""
        uid, size = self._loads.pop(qid)
        self._used[uid] -= size
        if self._used[uid] <= SHARE // 2:
            self._full.discard(uid)
