"""Ten workers killed with SIGKILL in one training, at random moments: it ends as if nothing had happened."""

import random
import subprocess
import threading
import time
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

KILLS, IMAGES, BATCH = 10, 9600, 64
CHANGES = [
    *(f"train_autoencoder.total_images={IMAGES}", "train_autoencoder.checkpoint_every_images=320"),
    *("train_autoencoder.log_every_images=64", "train_autoencoder.loss.discriminator_start_images=640"),
    # Gently: other numbers of workers round other sums, and an adversary makes that visible soon.
    *("train_autoencoder.learning_rate=5e-4", "train_autoencoder.discriminator_learning_rate=5e-4"),
    *("train_autoencoder.eps=1", "scale.ingest.log_samples=true", "scale.ingest.steps_per_task=2"),
    *("scale.ingest.cpus_per_task=0.1", "scale.ingest.tasks=1"),
]
SIZES = [(1, 0), (2, 1), (4, 2), (1, 3), (2, 0), (4, 1), (1, 2), (2, 3), (4, 0), (1, 1), (4, 3)]
"""Workers and ZeRO stage of each attempt, the last of which is left alone."""


def options(workers: int, zero_stage: int, max_failures: int = 0) -> list[str]:
    scale = {
        "workers": workers, "zero_stage": zero_stage, "max_failures": max_failures, "micro_batch_size": 16,
        "cpus_per_worker": 0.2,
    }  # fmt: skip
    changes = [*CHANGES, *(f"scale.training.{name}={value}" for name, value in scale.items())]
    return [option for change in changes for option in ("--set", change)]


def artifact(store: Path) -> Artifact:
    (folder,) = (store / "digits" / "train_autoencoder").iterdir()
    return Artifact(open_store(str(folder)), "")


def kill_one(process: subprocess.Popen[bytes], store: Path, beyond: int, draw: random.Random) -> int:
    """Kills one worker of a process's training at a random moment behind the first checkpoint after `beyond`.

    Gives that checkpoint's position.
    """
    while process.poll() is None:
        commits = store.glob("digits/train_autoencoder/*/checkpoints/*/checkpoint.json")
        newer = sorted(position for commit in commits if (position := int(commit.parent.name)) > beyond)
        if newer:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("it ended by itself")
    time.sleep(draw.uniform(0.0, 1.5))
    workers = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline() and child.cmdline()[0].startswith("ray::RayTrainWorker"):
                workers.append(child)
        except psutil.NoSuchProcess:
            continue
    draw.choice(workers).kill()
    return newer[-1]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("packed") / "store"
    command.run(":pack", store)
    return store


@pytest.fixture(scope="module")
def quiet(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = copied(packed, tmp_path_factory.mktemp("quiet") / "store")
    command.run(":train_autoencoder", store, *options(2, 2), timeout=1200)
    return store


def copied(packed: Path, store: Path) -> Path:
    import shutil

    shutil.copytree(packed, store)
    return store


def test_at_one_size_it_comes_to_the_same_bits(packed: Path, quiet: Path, tmp_path: Path) -> None:
    store, draw, killed = copied(packed, tmp_path / "store"), random.Random(1), []
    with command.running(":train_autoencoder", store, tmp_path / "log", *options(2, 2, KILLS)) as process:

        def work() -> None:
            beyond = 0
            while len(killed) < KILLS:
                beyond = kill_one(process, store, beyond, draw)
                killed.append(beyond)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert process.wait(2400) == 0, (tmp_path / "log").read_text()[-4000:]
        thread.join(1)
    assert len(killed) == KILLS
    found, expected = artifact(store), artifact(quiet)
    for name in found.names("model/"):
        assert found.read(name) == expected.read(name), name
    assert read_samples_seen(found) == read_samples_seen(expected)
    assert [row["images_seen"] for row in read_metrics(found)] == [row["images_seen"] for row in read_metrics(expected)]


def test_at_changing_sizes_and_stages_it_comes_to_the_same_weights(packed: Path, quiet: Path, tmp_path: Path) -> None:
    store, draw, beyond = copied(packed, tmp_path / "store"), random.Random(2), 0
    for number, (workers, zero_stage) in enumerate(SIZES):
        log = tmp_path / f"log-{number}"
        if number == KILLS:
            command.run(":train_autoencoder", store, *options(workers, zero_stage), timeout=1200)
            break
        with command.running(":train_autoencoder", store, log, *options(workers, zero_stage)) as process:
            beyond = kill_one(process, store, beyond, draw)
            assert process.wait(300) != 0, "it was done before its worker was killed"
    found, expected = artifact(store), artifact(quiet)
    positions = [position for position, _ in read_samples_seen(found)]
    assert positions == list(range(IMAGES))  # every batch once
    assert read_samples_seen(found) == read_samples_seen(expected)
    rows, same = read_metrics(found), read_metrics(expected)
    losses = [np.array([row["reconstruction"] for row in each]) for each in (rows, same)]
    print("losses deviate by", np.abs(losses[0] / losses[1] - 1).max())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    vae = "model/vae/diffusion_pytorch_model.safetensors"
    mine, theirs = (load_file(Path(each.uri.removeprefix("file://"), vae)) for each in (found, expected))
    worst = max(float((mine[name] - theirs[name]).abs().max()) for name in theirs)
    print("weights deviate by", worst)
    assert worst < 1e-4
