"""pymail with one thing broken.  The suite has to notice each of them.

A mutant replaces text in its files; where that text does not stand there exactly once, making
it fails, so that nobody believes in a mutant that is none.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of the source, and the sweeps of which one has to notice it."""

    title: str
    changes: tuple[tuple[str, str, str], ...]  # file, old, new
    sweeps: tuple[
        tuple[str, str], ...
    ]  # a case, and what the calls to strike at have in their label


_SPOOL_SYNC = """\
            os.fsync(self._fd)
            if not hidden:
                os.fsync(self._directory)
"""
_SPOOL_SYNC_CARELESS = """
            try:
                os.fsync(self._fd)
            except OSError:
                pass
"""
_PASS = "            pass\n"
_READ = "        return os.read(0, _READ)\n    except OSError as error:\n"
_DISKS = "scene=flush disks=ext4+ext4 cut=yes settled=spool fault=kill"
_HOMES = "scene=flush disks=ext4+ext4 cut=yes settled=homes reader=yes fault=kill"

MUTANTS = {
    "no-fsync": Mutant(
        "no fsync of what is submitted",
        (("draft.py", _SPOOL_SYNC, _PASS),),
        (("scene=submit fault=kill disks=ext4 cut=yes", ""),),
    ),
    "no-fsync-letter": Mutant(
        "no fsync of what is delivered",
        (
            (
                "transport/maildir.py",
                "                os.fsync(fd)\n",
                "                pass\n",
            ),
            (
                "transport/maildir.py",
                "os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)",
                "pass",
            ),
        ),
        ((_DISKS, "end"), (_DISKS, "exit_group"), (_DISKS, "")),
    ),
    "no-fsync-new": Mutant(
        "no fsync of the directory new/",
        (("transport/maildir.py", "            os.fsync(self.new)\n", _PASS),),
        ((_DISKS, "end"), (_DISKS, "exit_group"), (_DISKS, "")),
    ),
    "random-name": Mutant(
        "a random name in the Maildir",
        (
            (
                "transport/maildir.py",
                'R{delivery.key}.pymail"',
                'R{delivery.key}.pymail{os.urandom(8).hex()}"',
            ),
        ),
        (("scene=flush-own fault=kill", "Maildir"),),
    ),
    "no-look-into-cur": Mutant(
        "no look into cur/",
        (
            (
                "transport/maildir.py",
                "if delivery.doubtful and self._was_read",
                "if None and self._was_read",
            ),
        ),
        (("scene=flush-own fault=kill reader=yes", "Maildir"),),
    ),
    "no-doubt": Mutant(
        "no doubt after a power cut",
        (("flush.py", "    doubt_after_boot(spool)\n", ""),),
        ((_HOMES, "end"), (_HOMES, "linkat"), (_HOMES, "")),
    ),
    "unlink-first": Mutant(
        "a message removed from the queue before it is delivered",
        (
            (
                "job.py",
                "        active.begin(sorted(self._plans))\n",
                "        os.unlink(active._path)\n        active.begin(sorted(self._plans))\n",
            ),
            ("active.py", "        os.unlink(self._path)\n", "        pass\n"),
        ),
        (("scene=flush-own fault=kill", ""),),
    ),
    "short-write": Mutant(
        "a short write into the spool ignored",
        (("draft.py", "        view = view[done:]\n", "        view = view[len(view) :]\n"),),
        (("scene=submit fault=short", ""),),
    ),
    "short-write-letter": Mutant(
        "a short write into the mailbox ignored",
        (
            (
                "transport/maildir.py",
                "view = view[os.write(fd, view) :]",
                "view = view[len(view) | os.write(fd, view) * 0 :]",
            ),
        ),
        (("scene=flush-own fault=short", "Maildir"),),
    ),
    "read-error": Mutant(
        "an error of standard input taken for its end",
        (
            (
                "cli/sendmail.py",
                _READ,
                f"{_READ}        return b''\n",
            ),
        ),
        (("scene=submit-big fault=EIO", "read("),),
    ),
    "ignored-fsync": Mutant(
        "an error of fsync ignored",
        (("draft.py", _SPOOL_SYNC, _SPOOL_SYNC_CARELESS),),
        # What was not written is not there after the cut.
        (("scene=submit fault=EIO disks=ext4 cut=yes", "fsync"),),
    ),
    "no-lock": Mutant(
        "a message in two hands at once",
        (("active.py", "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", ""),),
        (("scene=flush-file fault=pause other=flush", ""),),
    ),
    "no-lock-relay": Mutant(
        "a message for a relay in two hands at once",
        (("active.py", "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", ""),),
        (("scene=relay-own fault=pause other=flush", "sendto"),),
    ),
    "no-sync-sent": Mutant(
        "no sync of what a relay has taken",
        (("flush.py", "            durable.sync(self._run.spool.queue)\n", "            pass\n"),),
        (("scene=relay-own fault=kill disks=ext4 cut=yes", "end"),),
    ),
    "half-adopted": Mutant(
        "no look for adoptions that were broken off",
        (("pickup.py", "        _recover(spool, queue)\n", ""),),
        (("scene=flush fault=kill", "/queue"),),
    ),
    "trusting": Mutant(
        "a dropped file's owner and number of names not looked at",
        (
            ("pickup.py", "status.st_uid != uid or ", ""),
            ("pickup.py", "_MOST_NAMES = 2\n", "_MOST_NAMES = 9\n"),
        ),
        (("scene=attacked fault=pause other=hardlink-unprotected", "/drop"),),
    ),
    "waiting": Mutant(
        "a FIFO in the drop directory waited for",
        (
            (
                "pickup.py",
                "os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY",
                "os.O_NOFOLLOW | os.O_NOCTTY",
            ),
        ),
        (("scene=attacked fault=pause other=fifo", "/drop/"),),
    ),
    "no-lease-no-crc": Mutant(
        "a file that its owner can still write taken as it is, without its checksum",
        (
            ("pickup.py", "        ours = _alone(fd)\n", "        ours = True\n"),
            ("active.py", "        if crc != head.crc:\n", "        if crc is None:\n"),
        ),
        (("scene=attacked fault=pause other=held", "/drop/"),),
    ),
}


def patch(name: str, package: str) -> None:
    """Break a copy of the package, into one that can still be run."""
    for name_of_file, old, new in MUTANTS[name].changes:
        path = f"{package}/{name_of_file}"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if text.count(old) != 1:
            raise AssertionError(
                f"mutant {name}: {old!r} stands {text.count(old)} times in {name_of_file}, not once"
            )
        text = text.replace(old, new)
        compile(text, path, "exec")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
