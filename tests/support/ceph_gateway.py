"""A real S3 server for the tests: Ceph's gateway over one monitor and one in-memory OSD, ready in a few seconds.

What it needs is among the programs of tests/support/needs.py.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from s3_servers import ACCESS_KEY, SECRET_KEY, S3Server, free_port, listening, running, wait_until

# A monitor gathers changes for a second before it votes on them; alone and in a hurry, it need not.
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
log file = {folder}/$name.log
admin socket =
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
mon allow pool size one = true
mon max pg per osd = 1000
auth allow insecure global id reclaim = false
paxos propose interval = 0.05
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
"""

CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
}


@contextmanager
def ceph_server(folder: Path) -> Iterator[S3Server]:
    """The gateway on a free port of 127.0.0.1, its whole state in `folder`, which must be empty."""
    port, monitor_port, fsid = free_port(), free_port(), str(uuid4())
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    conf, keyring = folder / "ceph.conf", folder / "keyring"
    conf.write_text(CONFIGURATION.format(folder=folder, fsid=fsid, port=port, monitor_port=monitor_port))
    keyring.touch()
    for name, allowed in CAPABILITIES.items():
        grants = [word for where, what in allowed.items() for word in ("--cap", where, what)]
        _call("ceph-authtool", str(keyring), "--gen-key", "-n", name, *grants)
    address, monmap = f"[v2:127.0.0.1:{monitor_port}]", str(folder / "monmap")
    _call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)

    at = ["-c", str(conf)]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "output").open("wb"))
        _call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(keyring), *at)
        stack.enter_context(running(["ceph-mon", "-f", "-i", "a", *at], log))
        _call("ceph", *at, "osd", "create")
        _call("ceph-osd", "--mkfs", "-i", "0", *at)
        stack.enter_context(running(["ceph-osd", "-f", "-i", "0", *at], log))
        gateway = stack.enter_context(running(["radosgw", "-f", "-n", "client.rgw", *at], log))
        wait_until(lambda: listening(port), gateway, 600, log.name)
        who = ["--uid=tests", "--display-name=tests", f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"]
        _call("radosgw-admin", *at, "user", "create", *who)
        yield S3Server(f"http://127.0.0.1:{port}")


def _call(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
