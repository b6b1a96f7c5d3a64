"""The peers' Debian packages: fetched once, unpacked into a directory, never installed."""

import glob
import os
import subprocess


def unpack(name: str, store: str) -> str:
    """Return the directory with that package's files, or "" if it cannot be had."""
    place = f"{store}/{name}"
    if os.path.isdir(place):
        return place
    os.makedirs(store, exist_ok=True)
    if not glob.glob(f"{store}/{name}_*.deb"):
        fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name]
        try:
            subprocess.run(fetch, cwd=store, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
    archive = max(glob.glob(f"{store}/{name}_*.deb"))
    subprocess.run(["dpkg-deb", "-x", archive, f"{place}.part"], check=True)
    os.rename(f"{place}.part", place)
    return place


def version(name: str, store: str) -> str:
    """Return the version of a fetched package."""
    archives = sorted(glob.glob(f"{store}/{name}_*.deb"))
    return os.path.basename(archives[-1]).split("_")[1] if archives else ""
