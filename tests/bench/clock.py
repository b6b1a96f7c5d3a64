"""Run one command many times and print how long each took, as JSON.

A process of its own, and a small one, so that it can be an ordinary user and so that starting a
program costs the same for every system. Reads its orders as JSON from the first argument:
argv, env, stdin (a file), times, at_once.
"""

import json
import os
import sys
import time


def main() -> None:
    """Carry the orders out; fail loudly if the command fails, since then nothing was measured."""
    orders = json.loads(sys.argv[1])
    argv, env = orders["argv"], orders["env"]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, orders["stdin"], os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
    ]
    running: dict[int, int] = {}
    each = []
    begun = time.perf_counter_ns()
    left = orders["times"]
    while left or running:
        if left and len(running) < orders["at_once"]:
            start = time.perf_counter_ns()
            running[os.posix_spawn(argv[0], argv, env, file_actions=actions)] = start
            left -= 1
            continue
        pid, status = os.wait()
        each.append((time.perf_counter_ns() - running.pop(pid)) / 1e9)
        if status:
            sys.exit(f"{argv[0]}: status {os.waitstatus_to_exitcode(status)}")
    print(json.dumps({"total": (time.perf_counter_ns() - begun) / 1e9, "each": each}))


main()
