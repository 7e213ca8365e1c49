"""Ten workers killed with SIGKILL in one training, at random moments: it goes on as if nothing had happened.

The trainings have no end, so that no machine is too fast for ten kills: they stop at a checkpoint behind the last.
"""

import random
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import command
import numpy as np
import psutil
import pytest
from killing import processes
from safetensors.torch import load_file
from torch import Tensor

from rayograph.cli import main
from rayograph.runs.artifact import Artifact
from rayograph.runs.tracking import read_metrics
from rayograph.storage import open_store
from rayograph.trainer.sample_log import read_samples_seen
from rayograph.training.checkpoints.checkpoint import folder_of

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

KILLS = 10
ENDLESS, KEPT_EVERY = 6_400_000, 1600
ENDLESSLY = [
    *(f"total_images={ENDLESS}", f"preview_every_images={ENDLESS}", "log_every_images=64"),
    *("checkpoint_every_images=320", f"keep_checkpoint_every_images={KEPT_EVERY}"),
]
CHANGES = {
    # With its adversary, bit for bit.
    "train_autoencoder": [*ENDLESSLY, "loss.discriminator_start_images=640"],
    # Smooth: a kink at every pixel, as the first stage's loss has, makes the rounding of other sums visible soon.
    "train_diffusion": [*ENDLESSLY, f"ema_snapshot_every_images={ENDLESS}"],
}
SIZES = [(1, 0), (2, 1), (4, 2), (1, 3), (2, 0), (4, 1), (1, 2), (2, 3), (4, 0), (1, 1), (4, 3)]
"""Workers and ZeRO stage of each attempt, the last of which is left alone."""


def options(stage: str, workers: int, zero_stage: int, max_failures: int = 0) -> list[str]:
    scale = {
        "workers": workers, "zero_stage": zero_stage, "max_failures": max_failures, "micro_batch_size": 16,
        "cpus_per_worker": 0.2,
    }  # fmt: skip
    changes = [f"{stage}.{change}" for change in CHANGES[stage]]
    changes += [f"scale.training.{name}={value}" for name, value in scale.items()]
    changes += [f"scale.ingest.{change}" for change in ("log_samples=true", "steps_per_task=2", "cpus_per_task=0.1")]
    return [option for change in (*changes, "scale.ingest.tasks=1") for option in ("--set", change)]


def artifact(store: Path, stage: str) -> Artifact:
    (folder,) = (store / "digits" / stage).iterdir()
    return Artifact(open_store(str(folder)), "")


def newest(artifacts: Path) -> int:
    """Images seen at a stage's newest checkpoint; 0 where there is none."""
    commits = artifacts.glob("*/checkpoints/*/checkpoint.json")
    return max((int(commit.parent.name) for commit in commits), default=0)


def kill_one(process: subprocess.Popen[bytes], artifacts: Path, beyond: int, draw: random.Random) -> int:
    """Kills one worker of a process's training at a random moment behind the first checkpoint after `beyond`.

    Gives that checkpoint's position.
    """
    while (position := newest(artifacts)) <= beyond:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, 1.5))
    while True:  # the last group's writing may have outlived it, and the next one may not be there yet
        assert process.poll() is None, "it ended by itself"
        with suppress(psutil.NoSuchProcess):
            if workers := processes("ray::RayTrainWorker", process.pid):
                draw.choice(workers).kill()
                return position
        time.sleep(0.1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that both stages read."""
    store = tmp_path_factory.mktemp("encoded") / "store"
    command.run(":encode", store)
    return store


def stores(encoded: Path, folder: Path, stage: str) -> tuple[Path, Path]:
    """Two copies of it, before the stage: one to disturb and one to leave alone."""
    pair = [Path(shutil.copytree(encoded, folder / name)) for name in ("disturbed", "quiet")]
    for store in pair:
        shutil.rmtree(store / "digits" / stage, ignore_errors=True)
    return pair[0], pair[1]


def train_to(images_seen: int, stage: str, store: Path, log: Path, workers: int, zero_stage: int) -> None:
    """Until a checkpoint of then, or of later, is there."""
    with command.running(f":{stage}", store, log, *options(stage, workers, zero_stage)) as process:
        command.wait_for(lambda: newest(store / "digits" / stage) >= images_seen, process, log, timeout=1800)


def kept_after(images_seen: int) -> int:
    """The first checkpoint from there on that stays for good."""
    return (images_seen // KEPT_EVERY + 1) * KEPT_EVERY


def rows_to(images_seen: int, found: Artifact) -> list[dict[str, float]]:
    return [row for row in read_metrics(found) if row["images_seen"] <= images_seen]


def test_at_one_size_it_comes_to_the_same_bits(encoded: Path, tmp_path: Path) -> None:
    stage, draw, killed, log = "train_autoencoder", random.Random(1), 0, tmp_path / "log"
    store, quiet = stores(encoded, tmp_path, stage)
    with command.running(f":{stage}", store, log, *options(stage, 2, 2, KILLS)) as process:
        for _ in range(KILLS):
            killed = kill_one(process, store / "digits" / stage, killed, draw)
        images = kept_after(killed)
        command.wait_for(lambda: newest(store / "digits" / stage) >= images, process, log)
    train_to(images, stage, quiet, tmp_path / "quiet-log", 2, 2)
    found, expected = artifact(store, stage), artifact(quiet, stage)
    pieces = [name for name in expected.names(f"{folder_of(images)}/") if name.endswith(".safetensors")]
    assert pieces
    for name in pieces:  # weights, averages and the optimisers' moments of both networks
        assert found.read(name) == expected.read(name), name
    assert read_samples_seen(found)[:images] == read_samples_seen(expected)[:images]
    for each in (found, expected):
        assert [row["images_seen"] for row in rows_to(images, each)] == list(range(64, images + 1, 64))


def test_at_changing_sizes_and_stages_it_comes_to_the_same_weights(encoded: Path, tmp_path: Path) -> None:
    stage, draw, killed = "train_diffusion", random.Random(2), 0
    store, quiet = stores(encoded, tmp_path, stage)
    for number, (workers, zero_stage) in enumerate(SIZES):
        log = tmp_path / f"log-{number}"
        if number == KILLS:
            images = kept_after(killed)
            train_to(images, stage, store, log, workers, zero_stage)
            break
        with command.running(f":{stage}", store, log, *options(stage, workers, zero_stage)) as process:
            killed = kill_one(process, store / "digits" / stage, killed, draw)
            assert process.wait(300) != 0, "it was done before its worker was killed"
    train_to(images, stage, quiet, tmp_path / "quiet-log", 2, 2)
    found, expected = artifact(store, stage), artifact(quiet, stage)
    seen = read_samples_seen(found)[:images]
    assert [position for position, _ in seen] == list(range(images))  # every batch once
    assert seen == read_samples_seen(expected)[:images]
    losses = [np.array([row["loss"] for row in rows_to(images, each)]) for each in (found, expected)]
    print("losses deviate by", np.abs(losses[0] / losses[1] - 1).max())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    mine, theirs = (exported(each, images, tmp_path / f"model-{n}") for n, each in enumerate((found, expected)))
    worst = max(float((mine[name] - theirs[name]).abs().max()) for name in theirs)
    print("weights deviate by", worst)
    assert worst < 1e-4


def exported(artifact: Artifact, images_seen: int, folder: Path) -> dict[str, Tensor]:
    """The first average at a checkpoint."""
    path = artifact.uri.removeprefix("file://")
    assert main(["export", path, "--to", str(folder), "--at", str(images_seen)]) == 0
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
