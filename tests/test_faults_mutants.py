"""pymail with one thing broken: the suite notices."""

import pytest
from faults.mutants import MUTANTS
from faulty import FULL, need_root, pool

pytestmark = pytest.mark.timeout(0 if FULL else 300)

# These hang, or take long to find.
SLOW = ("waiting", "no-lease-no-crc", "half-adopted", "no-lock")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_pymail_is_noticed(name):
    need_root()
    if not FULL and name in SLOW:
        pytest.skip("with PYMAIL_FAULTS=full")
    noticed = pool().notices(name)
    print(f"{MUTANTS[name].title}: {noticed}")
    assert noticed, f"nobody noticed: {MUTANTS[name].title}"
