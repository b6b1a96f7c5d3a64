"""The system calls that matter to mail on disk: number, object, group.  Linux, x86_64 only."""

# A call's object is a path (argument P), a path below a directory descriptor (D, P), or a
# descriptor (F).  Calls with two names count by the one they make.
_TABLE = """
read 0 F0        write 1 F0         open 2 P0          close 3 F0        stat 4 P0
fstat 5 F0       lstat 6 P0         lseek 8 F0         mmap 9 F4         pread64 17 F0
pwrite64 18 F0   readv 19 F0        writev 20 F0       access 21 P0      sendfile 40 F0
socket 41 -      connect 42 F0      sendto 44 F0       socketpair 53 -   clone 56 -
fork 57 -        vfork 58 -         execve 59 P0       fcntl 72 F0       flock 73 F0
fsync 74 F0      fdatasync 75 F0    truncate 76 P0     ftruncate 77 F0   rename 82 P1
mkdir 83 P0      rmdir 84 P0        creat 85 P0        link 86 P1        unlink 87 P0
symlink 88 P1    readlink 89 P0     chmod 90 P0        fchmod 91 F0      chown 92 P0
fchown 93 F0     lchown 94 P0       chdir 80 P0        setuid 105 -      setgid 106 -
setgroups 116 -  setresuid 117 -    setresgid 119 -    utime 132 P0      mknod 133 P0
sync 162 -       setxattr 188 P0    fsetxattr 190 F0   getdents64 217 F0 exit_group 231 -
utimes 235 P0    openat 257 D0P1    mkdirat 258 D0P1   mknodat 259 D0P1  fchownat 260 D0P1
newfstatat 262 D0P1  unlinkat 263 D0P1  renameat 264 D2P3  linkat 265 D2P3
symlinkat 266 D1P2   readlinkat 267 D0P1  fchmodat 268 D0P1  faccessat 269 D0P1
splice 275 F2    sync_file_range 277 F0  utimensat 280 D0P1  fallocate 285 F0
pipe2 293 -      pwritev 296 F0     syncfs 306 F0      renameat2 316 D2P3
copy_file_range 326 F2  pwritev2 328 F0  statx 332 D0P1  clone3 435 -   openat2 437 D0P1
faccessat2 439 D0P1  fchmodat2 452 D0P1
"""

_words = _TABLE.split()
NUMBER = {name: int(number) for name, number in zip(_words[::3], _words[1::3], strict=True)}
NAME = {number: name for name, number in NUMBER.items()}
OBJECT = dict(zip(_words[::3], _words[2::3], strict=True))

# Which argument of a transfer says how much.
COUNT = {
    "read": 2,
    "pread64": 2,
    "write": 2,
    "pwrite64": 2,
    "readv": 2,
    "writev": 2,
    "pwritev": 2,
    "pwritev2": 2,
    "sendfile": 3,
    "splice": 4,
    "copy_file_range": 4,
}
VECTORS = frozenset({"readv", "writev", "pwritev", "pwritev2"})
READS = frozenset({"read", "pread64", "readv"})
WRITES = frozenset(COUNT) - READS

SYNCS = frozenset({"fsync", "fdatasync", "sync", "syncfs", "sync_file_range"})

# After these the disk, a lock or a lease may be another; a kill between two of them is the
# same kill.  Opens count only where they make or empty a file, see tracer.changes().
CHANGES = (
    WRITES
    | SYNCS
    | frozenset(
        "open openat openat2 creat truncate ftruncate fallocate rename renameat renameat2 link linkat"
        " unlink unlinkat mkdir mkdirat rmdir symlink symlinkat mknod mknodat chmod fchmod fchmodat"
        " fchmodat2 chown fchown lchown fchownat utime utimes utimensat setxattr fsetxattr flock fcntl"
        " exit_group".split()
    )
)

# Processes, identities and sockets have no path: they count wherever they are called.
CONTROL = frozenset(
    "socket connect sendto socketpair clone fork vfork clone3 setuid setgid setgroups setresuid setresgid pipe2".split()
)

ALL = frozenset(NUMBER) - {"mmap"}
