"""A long way to a server: `distance.py PORT TARGET SECONDS` passes TCP on, each way so much later.

For kernels without netem. A connection costs a round trip before its first byte, as on a real
line. At the end of standard input it prints what passed as JSON: `connections`, and `turns`, how
often the client spoke after it had been silent, which is the number of round trips it waited for.
"""

import asyncio
import json
import os
import sys

CHUNK = 1 << 16


class Line:
    """All connections over one line, counted."""

    def __init__(self, target: int, way: float) -> None:
        self.target, self.way = target, way
        self.connections = self.turns = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until both sides have ended it."""
        self.connections += 1
        await asyncio.sleep(2 * self.way)  # the handshake, which the client believes is over
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        said = [b""]
        await asyncio.gather(
            self._carry(reader, back, said, b"client"), self._carry(there, writer, said, b"server")
        )

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, said: list[bytes], me: bytes
    ) -> None:
        clock = asyncio.get_running_loop().time
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - clock())
                if not data:
                    break
                sink.write(data)
            sink.close()

        arriving = asyncio.create_task(arrive())
        try:
            while data := await source.read(CHUNK):
                self.turns += me == b"client" != said[0]
                said[0] = me
                queue.put_nowait((clock() + self.way, data))
        except ConnectionError:
            pass  # the one side is gone, which the other is told
        queue.put_nowait((clock() + self.way, b""))
        await arriving


async def main() -> None:
    """Serve until standard input ends."""
    port, target, way = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    line = Line(target, way)
    async with await asyncio.start_server(line.accept, "127.0.0.1", port, backlog=512):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps({"connections": line.connections, "turns": line.turns}), flush=True)
        os._exit(0)  # connections that are open still are nobody's any more


if __name__ == "__main__":
    asyncio.run(main())
