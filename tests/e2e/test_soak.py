"""The long runs: the whole demo, twice, and a kill in every stage. `make soak` runs them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import command
import pytest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
STAGES = {
    "pack": "shards/*.index",
    "train_autoencoder": "checkpoints/*[1-9]*/checkpoint.json",
    "encode": "shards/*.index",
    "train_diffusion": "checkpoints/*[1-9]*/checkpoint.json",
    "sample": "shards/*.index",
    "evaluate": "job.yaml",
}
"""What each stage has written when it is killed: it is at work then, and not done."""
IN_MANY_PARTS = [
    *("--set", "pack.samples_per_shard=8"),
    *("--set", "train_autoencoder.checkpoint_every_images=64"),
    *("--set", "train_diffusion.total_images=1920"),
    *("--set", "train_diffusion.checkpoint_every_images=64"),
    *("--set", "sample.num_samples=960"),
]
"""Of which the first is a small one: whoever waits for it comes long before the last, on a fast machine too."""


def demo(store: Path) -> Path:
    """The demo's report."""
    arguments = ["run", "jobs/digits.py", "--on", "cluster/laptop/scale.yaml", "--store", str(store)]
    done = subprocess.run(
        [sys.executable, "-m", "rayograph", *arguments],
        cwd=command.ROOT,
        env=command.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo(tmp_path_factory.mktemp("demo") / "store")


def test_the_demo_draws_digits_that_a_judge_reads_and_that_are_no_copies(report: Path) -> None:
    figures = json.loads((report.parent / "report.json").read_text())
    print(json.dumps(figures, indent=1))
    assert figures["class_agreement"] >= 0.97
    assert figures["precision"] >= 0.6
    assert figures["recall"] >= 0.68
    assert figures["within_class_variance"] >= 0.72 * figures["within_class_variance_real"]
    assert figures["reconstruction_psnr"] >= 28
    assert figures["nearest_train_distance"] >= 0.8 * figures["nearest_train_distance_real"]


def test_the_same_seed_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    again = demo(tmp_path / "store")
    assert samples_of(again) == samples_of(report)


def test_a_run_killed_in_every_stage_ends_whole(tmp_path: Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    for stage, sign in STAGES.items():
        with command.running("", store, log, *IN_MANY_PARTS) as process:
            command.wait_for(partial(has, store, f"digits/{stage}/*/{sign}"), process, log, timeout=1200)
            os.killpg(process.pid, signal.SIGKILL)
        assert not has(store, f"digits/{stage}/*/manifest.json"), f"{stage} was done before it was killed"
    command.run("", store, *IN_MANY_PARTS, timeout=1200)
    assert command.verified(store).count("whole") == 6


def has(store: Path, pattern: str) -> bool:
    return any(store.glob(pattern))


def samples_of(report: Path) -> dict[str, str]:
    store = report.parents[3]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.glob("digits/sample/*/shards/*")}
