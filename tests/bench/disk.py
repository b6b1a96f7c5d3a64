"""A disk of the bench's own: a new ext4 file system in a file, for every system in every run.

On a used file system the numbers tell mostly how many files were deleted there in the last
minutes, whoever did it: ext4 looks at all of their inodes when it needs a new one. Beneath is
still the machine's disk, reached without its page cache, so that a sync costs what it costs.
"""

import os
import subprocess

SIZE = 2 << 30
INODES = 500_000


def image(path: str) -> None:
    """Make the file, with all its blocks written, so that writing there later allocates nothing."""
    if os.path.exists(path) and os.path.getsize(path) == SIZE:
        return
    block = bytes(1 << 20)
    with open(path, "wb", buffering=0) as file:
        file.writelines(block for _ in range(SIZE >> 20))
        os.fsync(file.fileno())


def mount(path: str, place: str) -> None:
    """Make a new file system in the file and mount it; it goes with the mount namespace."""
    make = ["mkfs.ext4", "-q", "-F", "-N", str(INODES), "-E"]
    make += ["lazy_itable_init=0,lazy_journal_init=0", path]
    subprocess.run(make, check=True, capture_output=True)
    attach = ["losetup", "--find", "--show", "--direct-io=on", path]
    done = subprocess.run(attach, check=True, capture_output=True, text=True)
    device = done.stdout.strip()
    try:
        subprocess.run(["mount", device, place], check=True, capture_output=True)
    finally:
        # With a mount on it, this only means: when nobody uses it any more.
        subprocess.run(["losetup", "--detach", device], check=True, capture_output=True)
