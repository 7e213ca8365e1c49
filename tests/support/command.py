"""The command line as a user runs it: in a process of its own, which can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "jobs" / "digits.py")

TINY = [
    *("--set", "train_autoencoder.total_images=1280"),
    *("--set", "train_autoencoder.warmup_images=128"),
    *("--set", "train_autoencoder.loss.discriminator_start_images=640"),
    *("--set", "train_autoencoder.checkpoint_every_images=320"),
    *("--set", "train_autoencoder.log_every_images=64"),
    *("--set", "train_autoencoder.view.crop=random"),
    *("--set", "train_autoencoder.view.smallest_crop=0.7"),
    *("--set", "train_diffusion.total_images=640"),
    *("--set", "train_diffusion.warmup_images=128"),
    *("--set", "train_diffusion.checkpoint_every_images=128"),
    *("--set", "train_diffusion.ema_lengths=[0.1, 0.2]"),
    *("--set", "train_diffusion.ema_snapshot_every_images=128"),
    *("--set", "train_diffusion.preview_every_images=320"),
    *("--set", "train_autoencoder.preview_every_images=640"),
    *("--set", "train_diffusion.log_every_images=128"),
    *("--set", "sample.num_samples=96"),
    *("--set", "sample.unit_size=16"),
    *("--set", "sample.sampler.num_inference_steps=4"),
]
"""The digits job in about a minute: every part real, nothing trained well."""


def arguments(target: str, store: str | Path, *more: str) -> list[str]:
    """`rayograph run` of the tiny digits job; `target` is "" or ":stage"."""
    job = [f"jobs/digits.py{target}", "--on", "cluster/laptop/scale.yaml", "--store", str(store)]
    return [sys.executable, "-m", "rayograph", "run", *job, *TINY, *more]


def environment(**more: str) -> dict[str, str]:
    """This process's, without its Ray cluster or Weights & Biases account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
    return kept | {"WANDB_MODE": "disabled"} | more


def run(
    target: str, store: str | Path, *more: str, timeout: float = 600, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command to its end, which must be a good one."""
    done = subprocess.run(
        arguments(target, store, *more),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


@contextmanager
def running(target: str, store: str | Path, log: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command under way, standard error in `log`; whatever is left of it is killed at the end."""
    with started(arguments(target, store, *more), log) as process:
        yield process


@contextmanager
def started(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment(), stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, timeout: float = 600) -> None:
    """Until `condition` holds while the process lives; its log otherwise."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} too early:\n{log.read_text()[-4000:]}"
        assert time.monotonic() < deadline, f"not within {timeout} s:\n{log.read_text()[-4000:]}"
        time.sleep(0.05)


def verified(store: str | Path, **variables: str) -> str:
    """`rayograph verify`, which must find everything whole."""
    command = [sys.executable, "-m", "rayograph", "verify", str(store)]
    done = subprocess.run(command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout
