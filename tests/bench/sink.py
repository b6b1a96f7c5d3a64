"""Servers that mail leaves for: Postfix's smtp-sink, near or far away, and one that is dead."""

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

from . import packages

PORT, FAR, DEAD = 2525, 2526, 2527
PYTHON = sys.executable
START = 10


class Sink:
    """smtp-sink(1) on PORT, which counts what it gets."""

    def __init__(self, store: str, place: str) -> None:
        here = "" if os.path.exists("/usr/sbin/smtp-sink") else None  # it is installed
        package = packages.unpack("postfix", store) or here
        if package is None:
            raise RuntimeError("no smtp-sink: no package postfix to be had")
        libraries = f"{package}/usr/lib/postfix:{package}/usr/lib/x86_64-linux-gnu"
        self._path = f"{place}/sink"
        with open(self._path, "wb") as out:
            self._process = subprocess.Popen(
                [f"{package}/usr/sbin/smtp-sink", "-c", "-u", "nobody", f"127.0.0.1:{PORT}", "512"],
                stdout=out, env={"LD_LIBRARY_PATH": libraries},
            )  # fmt: skip
        _listens(PORT)

    def count(self) -> int:
        """Return how many messages have come."""
        with open(self._path, "rb") as file:
            file.seek(max(os.path.getsize(self._path) - 100, 0))
            last = file.read().decode().rpartition("mesg=")[2]
        return int(last.split()[0]) if last else 0

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


class Distance:
    """A line of so many seconds each way, from FAR to the sink."""

    def __init__(self, way: float) -> None:
        program = f"{os.path.dirname(__file__)}/distance.py"
        self._process = subprocess.Popen(
            [PYTHON, "-I", program, str(FAR), str(PORT), str(way)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"

    def close(self) -> dict[str, Any]:
        """End it; return connections and turns."""
        out, _ = self._process.communicate()
        return json.loads(out)


class Dead:
    """A server on DEAD that answers no connection: its queue of them is full."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", DEAD), backlog=0)
        self._first = socket.create_connection(("127.0.0.1", DEAD))

    def close(self) -> None:
        """End it."""
        self._first.close()
        self._server.close()


def _listens(port: int) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")
