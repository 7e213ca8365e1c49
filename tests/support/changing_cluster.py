"""A cluster on this machine whose nodes come and go (tests/support/nodes.py), held by the hand of a test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import command


class Nodes:
    """tests/support/nodes.py under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.address = self._line()

    def say(self, order: str) -> None:
        assert self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        assert self._line() == "done"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def nodes(cpus: int = 2) -> Iterator[Nodes]:
    """A head with so many CPUs."""
    program = [sys.executable, str(Path(__file__).parent / "nodes.py"), str(cpus)]
    process = subprocess.Popen(
        program, env=command.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        yield Nodes(process)
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # a test killed it
            process.stdin.close()
        process.wait(600)
