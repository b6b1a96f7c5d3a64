"""The bench runs, with numbers too small to mean anything."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, needs

STORE = Path("/var/tmp/pymail-bench/store")


@pytest.fixture
def work() -> Iterator[Path]:
    """A place that ordinary users can reach, with the peers' packages of an earlier run."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "store").mkdir()
        for archive in STORE.glob("*.deb"):
            shutil.copy(archive, place / "store")
        yield place


def test_the_bench_prints_a_table_and_a_verdict_for_every_target(work, machine, whole):
    wanted = ["pymail", "Postfix", "dma"] if whole else ["pymail"]
    needs("unshare", "setpriv", "dpkg-deb")
    fetched = {archive.name.partition("_")[0] for archive in work.glob("store/*.deb")}
    present = [name for name in wanted if name == "pymail" or name.lower() in fetched]
    small = [
        "--runs=1",
        "--latency=2",
        "--few=12",
        "--many=60",
        "--aliases=500",
        "--far=10",
        "--big=100000",
        "--plain",
    ]
    small += [f"--work={work}", f"--json={work}/values", f"--only={','.join(present)}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot measure" not in done.stderr
    values = json.loads((work / "values").read_text())
    assert values["10,000 queued to 50 Maildirs | pymail"][0] > 0
    assert {f"mailq on 10,000 | {name}" for name in present} <= values.keys()
    lines = [line for line in done.stdout.splitlines() if "<=" in line or ">=" in line]
    assert len(lines) > 15
    assert all(line.endswith(("reached", "not measured")) for line in lines)


def test_the_bench_of_reading_prints_a_table_and_a_verdict():
    needs("mutt")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reading", "--messages=250", "--runs=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:-2] for line in done.stdout.splitlines()[1:-1]]
    assert rows == [["mail"], ["mail", "-H"], ["pymail", "list", "--json"], ["mutt"]]
    assert done.stdout.endswith(("reached\n", "missed\n"))
