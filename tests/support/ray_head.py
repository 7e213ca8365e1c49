"""A Ray cluster as its user starts one: `ray start --head`, on 127.0.0.1, with a token, gone with the block."""

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import command
import psutil
import s3_servers

RAY = ("-m", "ray.scripts.scripts")
STOP_SECONDS = 5


@dataclass(frozen=True)
class Answer:
    """What the jobs API answered."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Submission:
    """One `ray job submit`, to its end."""

    exit_code: int
    shown: str
    """What the terminal showed: Ray's own lines and the job's output."""


@dataclass(frozen=True)
class Head:
    """A running head node. Its processes know the package's dependencies, and not the package."""

    folder: Path
    python: Path
    address: str
    url: str

    @property
    def client(self) -> dict[str, str]:
        """The environment of a process here that may speak to it."""
        return command.environment(
            HOME=str(self.folder),
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=str(self.folder / "token"),
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # Ray then takes 127.0.0.1 for what it is
        )

    def submit(self, *entrypoint: str, working_dir: Path, options: Sequence[str] = (), timeout: float) -> Submission:
        """As a user types it; `python` is the one that the cluster's nodes find."""
        line = [sys.executable, *RAY, "job", "submit", "--address", self.url, "--working-dir", ".", *options, "--"]
        done = subprocess.run(
            [*line, *entrypoint], cwd=working_dir, env=self.client, capture_output=True, text=True, timeout=timeout
        )
        return Submission(done.returncode, done.stdout + done.stderr)

    def get(self, path: str, token: str | None) -> Answer:
        request = urllib.request.Request(self.url + path)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text()


@contextmanager
def ray_head(cpus: int) -> Iterator[Head]:
    """Ready in about 15 s, with a token of its own."""
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))  # short: Ray's sockets lie below it
    try:
        _write_secret(folder / "token")
        python = _dependencies_only(folder / "venv")
        port, dashboard, *others = _free_ports(5)
        head = Head(folder, python, f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
        line = [str(python), *RAY, "start", "--head", "--block", "--disable-usage-stats", "--num-cpus", str(cpus)]
        line += ["--node-ip-address", "127.0.0.1", "--port", str(port), "--temp-dir", str(folder / "r")]
        line += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
        for option, other in zip(
            ("ray-client-server", "dashboard-agent-listen", "metrics-export"), others, strict=True
        ):
            line += [f"--{option}-port", str(other)]
        environment = head.client | {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": "platform",  # as cluster/aws/cluster.yaml has it: a job's driver finds the package it brings
        }
        with (folder / "log").open("wb") as log, _running(line, folder, environment, log.fileno()) as process:
            s3_servers.wait_until(lambda: _answers(head), process, 600, log.name)
            yield head
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    line: list[str], folder: Path, environment: dict[str, str], log: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """The head and all that it starts; nothing of it outlives the block."""
    if shutil.which("setpriv"):
        line = ["setpriv", "--pdeathsig", "TERM", *line]
    process = subprocess.Popen(
        line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        ours = psutil.Process(process.pid)
        family = [ours, *ours.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, STOP_SECONDS)
        for survivor in alive:
            survivor.kill()
        process.wait()


def _answers(head: Head) -> bool:
    try:
        return head.get("/api/version", head.token).status == 200
    except urllib.error.URLError:
        return False


def _write_secret(path: Path) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def _dependencies_only(folder: Path) -> Path:
    """A Python environment as on a cluster's node: all that the package needs, and not the package itself.

    It borrows this environment's packages through a path file; the editable install, a path file too, is not followed.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "bin" / "python"
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [python, "-c", "import ray, rayograph"]
    looked = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=alone)
    assert "No module named 'rayograph'" in looked.stderr, looked.stderr
    return python


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(s3_servers.free_port())
    return list(ports)
