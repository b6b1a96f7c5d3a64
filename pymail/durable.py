"""Files that are replaced as a whole, and are there after a power cut."""

import os


def replace(file: str, text: str, mode: int) -> None:
    """Let `file` be `text`, with that mode; its directory is made where it is missing.

    Raise OSError, and the file is as it was.
    """
    import tempfile  # noqa: PLC0415 -- start-up of those who only sync

    folder = os.path.dirname(file)
    os.makedirs(folder, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as out:
            os.fchmod(fd, mode)
            out.write(text)
            out.flush()
            os.fsync(fd)
        put(temporary, file)
    except OSError:
        os.unlink(temporary)
        raise
    sync(folder)


def renew(file: str, text: str, mode: int = 0o600) -> None:
    """Let a file of a run be `text` (ASCII), with that mode, where only such runs write.

    The temporary name is always the same, so that the rest of a killed one goes away by itself.
    The rename is durable once the directory was synced.
    """
    fd = os.open(f"{file}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(fd, text.encode("ascii"))
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        put(f"{file}.new", file)
    except FileNotFoundError:
        return  # another flush was here at the same time, with the same text


def put(temporary: str, file: str) -> None:
    """Rename a file; a directory that has its name, and nobody asked for, goes out of the way."""
    try:
        os.rename(temporary, file)
    except IsADirectoryError:
        folder, name = os.path.split(file)
        os.rename(file, f"{folder}/.{name.lstrip('.')}.{os.urandom(8).hex()}")
        os.rename(temporary, file)


def sync(folder: str) -> None:
    """Make what was made, renamed or removed in a directory last.  OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
