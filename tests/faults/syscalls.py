"""The system calls that matter to mail on disk: number, object, kind.  Linux, x86_64 only.

The object is what a call is about: a path (argument P), a path below a directory descriptor
(arguments D and P), a descriptor (argument F), or nothing with a path. Calls with two names are
about the one that they make. The kinds:

    r, w    a transfer, whose argument COUNT says how much
    c       another change, after which the disk, a lock or a lease may be another
    l       a look
    p       processes, identities and sockets
"""

_TABLE = """
read 0 F0 r   pread64 17 F0 r   readv 19 F0 r
write 1 F0 w   pwrite64 18 F0 w   writev 20 F0 w   sendfile 40 F0 w   splice 275 F2 w
pwritev 296 F0 w   copy_file_range 326 F2 w   pwritev2 328 F0 w
open 2 P0 c   fcntl 72 F0 c   flock 73 F0 c   fsync 74 F0 c   fdatasync 75 F0 c
truncate 76 P0 c   ftruncate 77 F0 c   rename 82 P1 c   mkdir 83 P0 c   rmdir 84 P0 c
creat 85 P0 c   link 86 P1 c   unlink 87 P0 c   symlink 88 P1 c   chmod 90 P0 c
fchmod 91 F0 c   chown 92 P0 c   fchown 93 F0 c   lchown 94 P0 c   utime 132 P0 c
mknod 133 P0 c   sync 162 - c   setxattr 188 P0 c   fsetxattr 190 F0 c   exit_group 231 - c
utimes 235 P0 c   openat 257 D0P1 c   mkdirat 258 D0P1 c   mknodat 259 D0P1 c
fchownat 260 D0P1 c   unlinkat 263 D0P1 c   renameat 264 D2P3 c   linkat 265 D2P3 c
symlinkat 266 D1P2 c   fchmodat 268 D0P1 c   sync_file_range 277 F0 c   utimensat 280 D0P1 c
fallocate 285 F0 c   syncfs 306 F0 c   renameat2 316 D2P3 c   openat2 437 D0P1 c
fchmodat2 452 D0P1 c
close 3 F0 l   stat 4 P0 l   fstat 5 F0 l   lstat 6 P0 l   lseek 8 F0 l   access 21 P0 l
execve 59 P0 l   chdir 80 P0 l   readlink 89 P0 l   getdents64 217 F0 l
newfstatat 262 D0P1 l   readlinkat 267 D0P1 l   faccessat 269 D0P1 l   statx 332 D0P1 l
faccessat2 439 D0P1 l
socket 41 - p   connect 42 F0 p   sendto 44 F0 p   socketpair 53 - p   clone 56 - p
fork 57 - p   vfork 58 - p   setuid 105 - p   setgid 106 - p   setgroups 116 - p
setresuid 117 - p   setresgid 119 - p   pipe2 293 - p   clone3 435 - p
"""

_words = _TABLE.split()
_rows = list(zip(_words[::4], _words[1::4], _words[2::4], _words[3::4], strict=True))
NUMBER = {name: int(number) for name, number, _, _ in _rows}
NAME = {number: name for name, number in NUMBER.items()}
OBJECT = {name: where for name, _, where, _ in _rows}

COUNT = dict.fromkeys((name for name, _, _, kind in _rows if kind in "rw"), 2)
COUNT |= {"sendfile": 3, "splice": 4, "copy_file_range": 4}
VECTORS = frozenset({"readv", "writev", "pwritev", "pwritev2"})


def _of(kinds: str) -> frozenset[str]:
    return frozenset(name for name, _, _, kind in _rows if kind in kinds)


READS = _of("r")
WRITES = _of("w")
CHANGES = _of("wc")
"""A kill between two of these is the same kill.  Of opens only those that make or empty a file
change something, see tracer.changes().
"""
SAYS = frozenset({"sendto"})
"""And whoever is spoken to may act on it."""
CONTROL = _of("p")
"""These have no path and count wherever they are called."""
ALL = frozenset(NUMBER)
