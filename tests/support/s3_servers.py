"""S3 servers for the tests, each on a free port of 127.0.0.1 and gone with the process that started it."""

import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from boto3.session import Session

ACCESS_KEY = "rayograph-tests"
SECRET_KEY = "never-in-a-pickle"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server that knows `ACCESS_KEY`."""

    endpoint_url: str

    def new_bucket(self) -> str:
        """A fresh bucket; returns its URI."""
        name = f"bucket-{uuid4().hex[:12]}"
        self._client.create_bucket(Bucket=name)
        return f"s3://{name}"

    @cached_property
    def _client(self) -> Any:
        return Session().client("s3", endpoint_url=self.endpoint_url)


@contextmanager
def credentials() -> Iterator[None]:
    """boto3's environment for these servers and for the processes started meanwhile, and nothing of the user's."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def moto_server(folder: Path) -> Iterator[S3Server]:
    """moto's imitation of S3, in a process of its own so that other processes reach it; ready in about 3 s."""
    port = free_port()
    with (folder / "moto.log").open("wb") as log, running([sys.executable, __file__, str(port)], log) as moto:
        wait_until(lambda: listening(port), moto, 600, log.name)
        yield S3Server(f"http://127.0.0.1:{port}")


class Faulty(BaseHTTPRequestHandler):
    """Plays one step of its server's script a request."""

    protocol_version = "HTTP/1.1"

    def step(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.script.pop(0)(self)  # type: ignore[attr-defined]

    do_GET = do_PUT = do_HEAD = step

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def faulty_server(*script: Callable[[Faulty], None]) -> Iterator[S3Server]:
    """A server that fails as told: one step answers one request, and every step must have been asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        server.script = list(script)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield S3Server(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
        assert not server.script, "the script was not played to its end"  # type: ignore[attr-defined]


@contextmanager
def running(command: list[str], log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with the block, or with this process where that is killed."""
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float, log: str) -> None:
    """Returns when `ready`; raises where the process ends before, or takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} did not start: {Path(log).read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def free_port() -> int:
    """A port below those that the kernel gives out by itself, and above those that Ray's workers take.

    So nobody takes it by chance until the server that it is for has started, however long that lasts.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _serve_moto(port: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    os.environ["MOTO_PORT"] = str(port)
    app, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        with one_at_a_time:  # moto looks before it writes: two threads could both find that an object is absent
            return app(environ, start_response)

    run_simple("127.0.0.1", port, serve, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    _serve_moto(int(sys.argv[1]))
