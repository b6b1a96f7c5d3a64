"""Faults of every kind at every system call, and what pymail makes of them.

`python -m tests.faults --full` runs everything and prints the counts; `tests/test_faults_*.py`
run a sample. Standard library only, Linux on x86_64.

    syscalls  the calls that matter and where each has its object
    tracer    runs a command, counts those calls in its whole process tree, and strikes at one
    probe     letters that prove themselves whole, and the one who looks where they are
    disk      file systems that lose power
    world     a small machine: spool, homes, real users, programs
    scenes    what is done in it: submissions, deliveries, newaliases
    sweep     a scene, a fault, every call: verdicts and counts
    attacks   what a user may do to root's flush while it stands still
    stress    random kills under load, with a reader
    mutants   pymail with one line broken, which the suite has to notice
"""
