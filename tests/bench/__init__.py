"""How fast pymail is, beside Postfix and dma, in one run on one machine: `python -m tests.bench`.

It is a measurement and no test: it prints what it found, and which of the project's targets that
reaches. Every system lives on a stage of its own (stage.py): private mounts, processes and
network over a directory on a real disk. Rounds go over all systems in turn, so that a busy
minute of the machine falls on all of them.
"""
