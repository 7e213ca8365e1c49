"""Programs of the machine that some tests use: where one is missing they are skipped, and say what to install."""

import shutil

import pytest

PACKAGES = {
    "ceph": "ceph-common",
    "ceph-authtool": "ceph-common",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "convert": "imagemagick",
    "exiftool": "libimage-exiftool-perl",
    "monmaptool": "ceph-common",  # which brings it along
    "radosgw": "radosgw",
    "radosgw-admin": "ceph-common",
    "tmux": "tmux",
}
"""Debian's package of each program. `.ci/run` installs them all; README's list of what a machine needs names them."""

CEPH = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool")


def installed(*programs: str) -> bool:
    return all(shutil.which(program) for program in programs)


def need(*programs: str) -> None:
    """Skip the test unless all of them are on the path."""
    if not installed(*programs):
        missing = sorted({PACKAGES[program] for program in programs if not shutil.which(program)})
        pytest.skip(f"not on this machine; to run it: apt-get install {' '.join(missing)}")
