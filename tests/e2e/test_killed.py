"""The same work in two places, in one of them killed again and again: nothing lost or repeated, the same digests."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import command
from killing import processes

from rayograph.runs.manifest import NOT_COVERED, Manifest

STAGES = ("pack", "train_autoencoder", "encode", "train_diffusion", "sample", "evaluate")
FROM_STEP_TO_STEP = ("--set", "train_autoencoder.checkpoint_every_images=64")
"""The first of its checkpoints is far from the end, so whoever waits for it comes in time."""


def artifact_of(store: Path, stage: str) -> Path:
    (artifact,) = (store / "digits" / stage).iterdir()
    return artifact


def manifests(store: Path) -> dict[str, Manifest]:
    return {
        stage: Manifest.model_validate_json((artifact_of(store, stage) / "manifest.json").read_bytes())
        for stage in STAGES
    }


def covered(manifest: Manifest) -> dict[str, str]:
    return {file.path: file.sha256 for file in manifest.files if not file.path.startswith(NOT_COVERED)}


def test_two_runs_one_of_them_killed_four_times_end_in_the_same_digests(
    new_store: Callable[[str], Path], tmp_path: Path
) -> None:
    """Killed are the command by Ctrl-C and by SIGKILL, a worker of the training, and the command as it draws."""
    undisturbed = new_store("undisturbed")
    command.run("", undisturbed)
    store, log = tmp_path / "elsewhere" / "and deeper", tmp_path / "log"

    def newest() -> int:
        commits = store.glob("digits/train_autoencoder/*/checkpoints/*/checkpoint.json")
        return max((int(commit.parent.name) for commit in commits), default=0)

    def wait_for_the_next(process: "subprocess.Popen[bytes]", resumed: bool = True) -> None:
        """Checkpoint of this very process: what the one before it had under way may have outlived it."""
        command.wait_for(lambda: not resumed or "goes on from the checkpoint at" in log.read_text(), process, log)
        before = newest()
        command.wait_for(lambda: newest() > before, process, log)

    with command.running("", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process, resumed=False)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(300) == 130
    assert "the same command goes on from here" in log.read_text()
    assert "Traceback" not in log.read_text()
    with command.running("", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process)
        os.killpg(process.pid, signal.SIGKILL)
    with command.running("", store, log, *FROM_STEP_TO_STEP) as process:
        wait_for_the_next(process)
        processes("ray::RayTrainWorker", process.pid)[-1].kill()
        command.wait_for(lambda: any(store.glob("digits/sample/*/shards/*.index")), process, log, timeout=600)
        os.killpg(process.pid, signal.SIGKILL)
    assert log.read_text().count("goes on from the checkpoint at") == 2  # the new process, and its second group
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # short: sockets of Ray's lie in it
        command.run("", store, TMPDIR=scratch)
    assert command.verified(store).count("whole") == len(STAGES)

    ours, theirs = manifests(store), manifests(undisturbed)
    for stage in STAGES:
        assert covered(ours[stage]) == covered(theirs[stage]), stage
        assert ours[stage].digest == theirs[stage].digest, stage
        for name in covered(ours[stage]):
            data = (artifact_of(store, stage) / name).read_bytes()
            assert not any(str(place).encode() in data for place in (store, scratch, Path.cwd())), f"{stage}/{name}"
    rows = (artifact_of(store, "train_autoencoder") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["images_seen"] for row in rows] == list(range(64, 1280 + 1, 64))
