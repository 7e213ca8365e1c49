"""A training interrupted, killed, and robbed of a worker: the same command goes on, and comes to the same bytes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import command
from killing import processes

FROM_STEP_TO_STEP = ("--set", "train_autoencoder.checkpoint_every_images=64")
"""The first of its checkpoints is far from the end, so whoever waits for it comes in time."""


def artifact_of(store: Path, stage: str) -> Path:
    (artifact,) = (store / "digits" / stage).iterdir()
    return artifact


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_training_interrupted_killed_and_robbed_of_a_worker_ends_in_the_same_weights(
    trained_store: Path, tmp_path: Path
) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    shutil.copytree(trained_store / "digits" / "pack", store / "digits" / "pack")

    def newest() -> int:
        commits = store.glob("digits/train_autoencoder/*/checkpoints/*/checkpoint.json")
        return max((int(commit.parent.name) for commit in commits), default=0)

    def wait_for_the_next(process: "subprocess.Popen[bytes]", resumed: bool = True) -> None:
        """Checkpoint of this very process: what the one before it had under way may have outlived it."""
        command.wait_for(lambda: not resumed or "goes on from the checkpoint at" in log.read_text(), process, log)
        before = newest()
        command.wait_for(lambda: newest() > before, process, log)

    with command.running(":train_autoencoder", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process, resumed=False)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(300) == 130
    assert "the same command goes on from here" in log.read_text()
    assert "Traceback" not in log.read_text()
    with command.running(":train_autoencoder", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process)
        os.killpg(process.pid, signal.SIGKILL)
    with command.running(":train_autoencoder", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process)
        processes("ray::RayTrainWorker", process.pid)[-1].kill()
        assert process.wait(600) == 0, log.read_text()[-4000:]
    assert log.read_text().count("goes on from the checkpoint at") == 2  # the new process, and its second group
    command.verified(store)
    ours, theirs = artifact_of(store, "train_autoencoder"), artifact_of(trained_store, "train_autoencoder")
    assert digests(ours / "model") == digests(theirs / "model")
    seen = [json.loads(line)["images_seen"] for line in (ours / "metrics.jsonl").read_text().splitlines()]
    assert seen == list(range(64, 1280 + 1, 64))
