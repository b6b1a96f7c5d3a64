"""The power fails after every call: what was accepted is there; what was delivered, once."""

import pytest
from faults import disk
from faults.plan import CUTS
from faults.sweep import Case
from faulty import FULL, need_root, play

pytestmark = pytest.mark.timeout(0 if FULL else 300)


@pytest.mark.parametrize("scene", CUTS)
@pytest.mark.parametrize("kind", disk.KINDS)
def test_a_power_cut_after_any_call_loses_nothing(kind, scene):
    need_root(disk.missing(kind))
    play(f"{scene}, power cut, {kind}", Case(scene, "kill", disks=(kind,), cut=True), 4)


@pytest.mark.parametrize("settled", ["", "spool", "homes"])
@pytest.mark.parametrize("kind", disk.KINDS)
def test_spool_and_homes_on_two_disks_lose_and_double_nothing(kind, settled):
    need_root(disk.missing(kind))
    case = Case("flush", "kill", disks=(kind, kind), cut=True, reader=True, settled=settled)
    play(f"flush, power cut, two of {kind}, {settled or 'neither'} settled", case, 6)


@pytest.mark.parametrize(
    ("first", "second"), [("ext4", "xfs"), ("xfs", "btrfs"), ("btrfs", "ext4")]
)
def test_spool_and_homes_on_file_systems_of_two_kinds_lose_nothing(first, second):
    need_root(disk.missing(first) or disk.missing(second))
    case = Case("flush", "kill", disks=(first, second), cut=True, settled="spool")
    play(f"flush, power cut, {first} and {second}", case, 5)
