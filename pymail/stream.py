"""What a caller pipes in, made into message bytes.

Lines end in LF: CRs before an LF are dropped (PHP sends CRLF headers over an LF body), and a CR
anywhere else becomes a blank, so that no program further on can see a line end where none was
meant (SMTP smuggling, CVE-2023-51764).  Without -i a line of exactly "." ends the message.
"""

_MOST_HELD = 1 << 20


class Intake:
    """Normalise a message that arrives in pieces of any size.

    `dot` says whether a line of one dot ends it; `ended` is true once it did.
    """

    __slots__ = ("_at_line_start", "_dot", "_held", "ended")

    def __init__(self, *, dot: bool) -> None:
        self._dot = dot
        self._held = b""
        self._at_line_start = True
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return what is certain so far; keep back an end that may still change its meaning."""
        if self.ended:
            return b""
        data = self._held + data
        kept = data.rstrip(b"\r") if data.endswith(b"\r") else data
        self._held = data[len(kept) :]
        if len(self._held) > _MOST_HELD:
            kept, self._held = data, b""
        out = _lines(kept)
        if self._dot:
            out = self._up_to_dot(out)
        if out:
            self._at_line_start = out.endswith(b"\n")
        return out

    def finish(self) -> bytes:
        """Return the rest, with a final line end.  Empty input stays empty."""
        rest = self._held.rstrip(b"\r")
        self._held = b""
        if self.ended or (self._dot and self._at_line_start and rest == b"."):
            self.ended = True
            return b""
        return b"" if self._at_line_start and not rest else rest + b"\n"

    def _up_to_dot(self, data: bytes) -> bytes:
        end = 0 if self._at_line_start and data.startswith(b".\n") else data.find(b"\n.\n") + 1
        if end or (self._at_line_start and data.startswith(b".\n")):
            self.ended = True
            return data[:end]
        if data.endswith(b"\n.") or (self._at_line_start and data == b"."):
            self._held = b"." + self._held
            return data[:-1]
        return data


def _lines(data: bytes) -> bytes:
    if b"\r" not in data:
        return data
    return b"\n".join([line.rstrip(b"\r") for line in data.split(b"\n")]).replace(b"\r", b" ")
