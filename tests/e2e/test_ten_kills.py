"""Ten workers killed with SIGKILL in one training, at random moments: it ends as if nothing had happened."""

import random
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import command
import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from rayograph.runs.artifact import Artifact
from rayograph.runs.tracking import read_metrics
from rayograph.stages.sample_log import read_samples_seen
from rayograph.storage import open_store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

KILLS = 10
IMAGES = {"train_autoencoder": 9600, "train_diffusion": 19_200}
CHANGES = {
    # With its adversary, bit for bit.
    "train_autoencoder": [
        *(f"total_images={IMAGES['train_autoencoder']}", "checkpoint_every_images=320", "log_every_images=64"),
        "loss.discriminator_start_images=640",
    ],
    # Smooth: a kink at every pixel, as the first stage's loss has, makes the rounding of other sums visible soon.
    "train_diffusion": [
        *(f"total_images={IMAGES['train_diffusion']}", "checkpoint_every_images=320", "log_every_images=64"),
        *(f"preview_every_images={IMAGES['train_diffusion']}", "ema_snapshot_every_images=3200"),
    ],
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


def kill_one(process: subprocess.Popen[bytes], artifacts: Path, beyond: int, draw: random.Random) -> int:
    """Kills one worker of a process's training at a random moment behind the first checkpoint after `beyond`.

    Gives that checkpoint's position.
    """
    newer: list[int] = []
    while not newer:
        assert process.poll() is None, "it ended by itself"
        commits = artifacts.glob("*/checkpoints/*/checkpoint.json")
        newer = sorted(position for commit in commits if (position := int(commit.parent.name)) > beyond)
        time.sleep(0.02)
    time.sleep(draw.uniform(0.0, 1.5))
    while True:  # the last group's writing may have outlived it, and the next one may not be there yet
        assert process.poll() is None, "it ended by itself"
        workers = []
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, IndexError):
                if child.cmdline()[0].startswith("ray::RayTrainWorker"):
                    workers.append(child)
        if workers:
            draw.choice(workers).kill()
            return newer[-1]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that both stages read."""
    store = tmp_path_factory.mktemp("encoded") / "store"
    command.run(":encode", store)
    return store


def stores(encoded: Path, folder: Path, stage: str) -> tuple[Path, Path]:
    """Two copies of it, before the stage: one to disturb and one to leave alone, which is trained to the end."""
    pair = [Path(shutil.copytree(encoded, folder / name)) for name in ("disturbed", "quiet")]
    for store in pair:
        shutil.rmtree(store / "digits" / stage, ignore_errors=True)
    command.run(f":{stage}", pair[1], *options(stage, 2, 2), timeout=1200)
    return pair[0], pair[1]


def test_at_one_size_it_comes_to_the_same_bits(encoded: Path, tmp_path: Path) -> None:
    stage, draw, killed = "train_autoencoder", random.Random(1), []
    store, quiet = stores(encoded, tmp_path, stage)
    with command.running(f":{stage}", store, tmp_path / "log", *options(stage, 2, 2, KILLS)) as process:

        def work() -> None:
            beyond = 0
            while len(killed) < KILLS:
                beyond = kill_one(process, store / "digits" / stage, beyond, draw)
                killed.append(beyond)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert process.wait(2400) == 0, (tmp_path / "log").read_text()[-4000:]
        thread.join(1)
    assert len(killed) == KILLS
    found, expected = artifact(store, stage), artifact(quiet, stage)
    for name in found.names("model/"):
        assert found.read(name) == expected.read(name), name
    assert read_samples_seen(found) == read_samples_seen(expected)
    assert [row["images_seen"] for row in read_metrics(found)] == [row["images_seen"] for row in read_metrics(expected)]


def test_at_changing_sizes_and_stages_it_comes_to_the_same_weights(encoded: Path, tmp_path: Path) -> None:
    stage, draw, beyond = "train_diffusion", random.Random(2), 0
    store, quiet = stores(encoded, tmp_path, stage)
    for number, (workers, zero_stage) in enumerate(SIZES):
        log = tmp_path / f"log-{number}"
        if number == KILLS:
            command.run(f":{stage}", store, *options(stage, workers, zero_stage), timeout=1200)
            break
        with command.running(f":{stage}", store, log, *options(stage, workers, zero_stage)) as process:
            beyond = kill_one(process, store / "digits" / stage, beyond, draw)
            assert process.wait(300) != 0, "it was done before its worker was killed"
    found, expected = artifact(store, stage), artifact(quiet, stage)
    positions = [position for position, _ in read_samples_seen(found)]
    assert positions == list(range(IMAGES[stage]))  # every batch once
    assert read_samples_seen(found) == read_samples_seen(expected)
    rows, same = read_metrics(found), read_metrics(expected)
    losses = [np.array([row["loss"] for row in each]) for each in (rows, same)]
    print("losses deviate by", np.abs(losses[0] / losses[1] - 1).max())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    unet = "model/unet/diffusion_pytorch_model.safetensors"
    mine, theirs = (load_file(Path(each.uri.removeprefix("file://"), unet)) for each in (found, expected))
    worst = max(float((mine[name] - theirs[name]).abs().max()) for name in theirs)
    print("weights deviate by", worst)
    assert worst < 1e-4
