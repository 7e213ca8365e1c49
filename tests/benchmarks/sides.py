"""The two sides of a comparison as programs: started, measured by themselves, and read from their last line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE.parent.parent / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Side:
    """A program with its arguments; calling it with a round's number (its seed) gives what it measured."""

    name: str
    program: str
    arguments: tuple[str, ...]
    interpreter: str = str(PEERS)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, number: int) -> dict[str, Any]:
        result = self.attempt(number)
        if isinstance(result, str):
            raise SystemExit(f"{self.name}: {result}")
        return result

    def attempt(self, number: int) -> dict[str, Any] | str:
        """What it measured, or how it ended instead."""
        command = [self.interpreter, str(HERE / self.program), *self.arguments, "--seed", str(number)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode:
            return f"exit code {done.returncode}\n{done.stderr[-3000:]}"
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


@dataclass(frozen=True)
class Slope:
    """A marginal rate by two whole epochs, over the first few shards and over more of them: their difference."""

    side: Side
    few: int
    many: int

    @property
    def name(self) -> str:
        return self.side.name

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, number: int) -> dict[str, Any]:
        run = (*self.side.arguments, "--batches", "0", "--warm-up", "0")
        few, many = (
            replace(self.side, arguments=(*run, "--shards", str(shards)))(number) for shards in (self.few, self.many)
        )
        between = {"samples": many["samples"] - few["samples"]}
        for name, total in (("seconds", "seconds_total"), ("cpu_seconds", "cpu_seconds_total")):
            between[name] = many[total] - few[total]
        return many | between


def ours(name: str, way: str, *arguments: str) -> Side:
    """Our stream."""
    return Side(name, "ours.py", ("--way", way, *arguments), sys.executable)


def peer(name: str, program: str, *arguments: str) -> Side:
    """A peer, in its own environment."""
    if not PEERS.exists():
        raise SystemExit("the peers are not installed: bash tests/benchmarks/peers/install.sh")
    return Side(name, f"peers/peer_{program}.py", arguments)


def rate(result: dict[str, Any]) -> float:
    """Samples a second in the measured batches."""
    return float(result["samples"] / result["seconds"])


def cpu(result: dict[str, Any]) -> float:
    """CPU seconds a sample, over the whole process tree."""
    return float(result["cpu_seconds"] / result["samples"])
