"""The tools of the fault suite do what they say: on programs that are not pymail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults import disk, mutants, probe, tracer, worker
from faulty import need_root, need_tracer

PROGRAM = """
import os, sys
os.chdir(sys.argv[1])
fd = os.open("draft", os.O_WRONLY | os.O_CREAT, 0o600)
os.write(fd, os.read(0, 100000))
os.fsync(fd)
if os.fork() == 0:
    os.mkdir("by the child")
    os._exit(0)
os.wait()
os.rename("draft", "done")
"""


@pytest.fixture
def program(tmp_path):
    need_tracer()
    folder = tmp_path / "folder"
    (tmp_path / "input").write_bytes(b"x" * 1000)

    def run(fault):
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir()
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(folder)]
        command = tracer.Command(argv, stdin=str(tmp_path / "input"))
        return tracer.run(command, fault, tracer.below(str(folder)))

    run.folder = folder
    return run


def test_the_calls_of_the_whole_tree_are_counted_in_their_order(program):
    result = program(tracer.Fault())
    names = [call.name for call in result.calls]
    assert names == ["openat", "write", "fsync", "mkdir", "exit_group", "rename", "exit_group"]
    assert result.calls[3].path == f"{program.folder}/by the child"
    assert result.status == 0


def test_a_tree_is_killed_before_the_call_that_is_named(program):
    for number, left in ((1, []), (2, ["draft"]), (6, ["by the child", "draft"])):
        result = program(tracer.KillTree(number))
        assert (result.status, sorted(os.listdir(program.folder))) == (None, left)


def test_one_process_is_killed_and_the_others_go_on(program):
    result = program(tracer.KillOne(4))
    assert (result.status, os.listdir(program.folder)) == (0, ["done"])


def test_a_kill_in_the_middle_of_a_write_leaves_half_of_it(program):
    result = program(tracer.KillMidWrite(1))
    assert result.status is None
    assert (program.folder / "draft").stat().st_size == 500


def test_a_short_read_and_a_short_write_move_half(program):
    program(tracer.Short(1))
    assert (
        program.folder / "done"
    ).stat().st_size == 1000  # the read: it is asked for more than there is
    program(tracer.Short(2))
    assert (program.folder / "done").stat().st_size == 500


def test_a_call_fails_once_or_from_then_on(program):
    names = [call.name for call in program(tracer.Fail()).calls]
    result = program(tracer.Fail(names.index("fsync") + 1))
    assert (result.status, os.listdir(program.folder)) == (1, ["draft"])
    result = program(tracer.Fail(names.index("read") + 1))
    assert result.status == 1


def test_somebody_acts_while_the_program_stands_still(program):
    seen = []
    program(tracer.Pause(2, lambda call: seen.append((call.name, os.listdir(program.folder)))))
    assert len(seen) == 1


def test_what_a_program_does_before_it_tells_that_it_is_loaded_does_not_count(tmp_path):
    need_tracer()
    text = "import os, posix\nos.mkdir('early')\n"
    text += f"assert posix.getrandom({tracer.LOADED}) == b''\nos.mkdir('late')\n"
    text += "posix.getrandom(8)\nos.fork() or os._exit(0)\nos.wait()\n"
    argv = [sys.executable, "-I", "-S", "-c", text]
    command = tracer.Command(argv, cwd=str(tmp_path), tells=True)
    result = tracer.run(command, tracer.Fault(), tracer.below(str(tmp_path)))
    assert result.status == 0
    assert [call.name for call in result.calls] == ["mkdir", "exit_group", "exit_group"]
    assert result.calls[0].path == f"{tmp_path}/late"


def test_a_program_that_does_not_end_is_ended():
    need_tracer()
    result = tracer.run(
        tracer.Command(["/bin/sleep", "60"]), tracer.Fault(), tracer.below("/"), 0.3
    )
    assert result.hung
    assert result.status is None


def test_a_letter_proves_that_it_is_whole():
    letter = probe.letter("m1", "somebody")
    assert list(probe.copies(b"header\n" + letter + b"end")) == [("m1", True)]
    assert list(probe.copies(letter[:-1])) == [("m1", False)]
    assert list(probe.copies(letter.replace(b"probe m1 ends", b"1probe m1 ends"))) == [
        ("m1", False)
    ]
    assert list(probe.copies(letter + letter)) == [("m1", True), ("m1", True)]


LOSES = """
import os, sys
place = sys.argv[1]
fd = os.open(place + "/draft", os.O_WRONLY | os.O_CREAT, 0o600)
os.write(fd, b"letter" * 1000)
os.fsync(fd)
os.rename(place + "/draft", place + "/letter")
"""

KEEPS = """
import os, sys
place = sys.argv[1]
fd = os.open(place, os.O_WRONLY | os.O_TMPFILE, 0o600)
os.write(fd, b"letter" * 1000)
folder = os.open(place, os.O_RDONLY)
os.link(f"/proc/self/fd/{fd}", "letter", dst_dir_fd=folder)
os.fsync(fd)
"""

CUT = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from faults import disk, world
kind, top, program = sys.argv[2:]
world.enter()
os.mkdir(top + "/here")
one = disk.Disk(kind, top, top + "/here")
one.create()
one.settle()
subprocess.run([sys.executable, "-I", "-S", "-c", program, top + "/here"], check=True)
disk.cut([one])
try:
    print(os.path.getsize(top + "/here/letter"))
except FileNotFoundError:
    print("lost")
one.detach()
"""


@pytest.mark.parametrize("kind", disk.KINDS)
@pytest.mark.parametrize(("program", "outcome"), [(LOSES, "lost"), (KEEPS, "6000")])
def test_a_power_cut_takes_what_was_not_synced(kind, program, outcome, tmp_path):
    need_root(disk.missing(kind))
    argv = [sys.executable, "-c", CUT, str(Path(__file__).parent), kind, str(tmp_path), program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (outcome, "")


def test_a_mutant_whose_text_is_gone_is_refused(tmp_path):
    for name, mutant in mutants.MUTANTS.items():
        for file, _, _ in mutant.changes:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text("nothing of it\n")
        with pytest.raises(AssertionError, match="stands 0 times"):
            mutants.patch(name, str(tmp_path))


def test_points_are_spread_over_a_sweep_with_both_its_ends():
    assert worker.spread(5, 0) == [0, 1, 2, 3, 4]
    assert worker.spread(100, 4) == [0, 33, 66, 99]
