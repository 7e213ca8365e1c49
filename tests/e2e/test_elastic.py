"""A training whose cluster loses a node, gets another, and is told that it will go, goes on at the size there is.

Its data does not show it. It has no end, so that no machine is too fast for what happens to it: it is stopped at the
first checkpoint after all that, and compared with one that was left alone up to there.
"""

import json
import shutil
from pathlib import Path

import command
import numpy as np
import pytest
from changing_cluster import nodes

from rayograph.runs.artifact import Artifact
from rayograph.runs.tracking import read_metrics
from rayograph.storage import open_store
from rayograph.trainer.sample_log import read_samples_seen

pytestmark = pytest.mark.soak

ENDLESS, BATCH = 6_400_000, 64
SCALE = """
ray: {{address: {address}}}
training: {{workers: {workers}, cpus_per_worker: 1.5, micro_batch_size: 16, zero_stage: 1}}
ingest: {{cpus_per_task: 0.25, tasks: 1, log_samples: true, steps_per_task: 2}}
"""
CHANGES = [
    *(f"train_diffusion.total_images={ENDLESS}", "train_diffusion.checkpoint_every_images=640"),
    *("train_diffusion.log_every_images=64", f"train_diffusion.preview_every_images={ENDLESS}"),
    f"train_diffusion.ema_snapshot_every_images={ENDLESS}",
]
"""The second stage: its squares are smooth, while the first stage's absolute differences have a kink at every pixel,
where the rounding of other sums on other numbers of workers grows to the second digit in 60 steps."""


def artifact_in(store: Path) -> Artifact:
    (folder,) = (store / "digits" / "train_diffusion").iterdir()
    return Artifact(open_store(str(folder)), "")


def test_nodes_lost_won_and_given_notice_change_the_size_and_nothing_else(trained_store: Path, tmp_path: Path) -> None:
    stores = {name: tmp_path / name for name in ("moved", "still")}
    for store in stores.values():
        for stage in ("pack", "train_autoencoder", "encode"):
            shutil.copytree(trained_store / "digits" / stage, store / "digits" / stage)
    log, profile = tmp_path / "log", tmp_path / "scale.yaml"
    more = [word for change in CHANGES for word in ("--set", change)]

    def said(text: str) -> bool:
        return text in log.read_text()

    def sizes() -> set[str]:
        """Of the groups that wrote down what they saw."""
        names = stores["moved"].glob("digits/train_diffusion/*/samples/*")
        return {name.stem.rpartition("-of-")[2] for name in names}

    with nodes() as cluster:
        cluster.say("add 2")
        profile.write_text(SCALE.format(address=f'"{cluster.address}"', workers="[1, 4]"))
        with command.running(":train_diffusion", stores["moved"], log, *more, "--on", str(profile)) as process:
            # Logs are written before the checkpoint that counts them: to go on from it, it must be there as well.
            command.wait_for(lambda: "00002" in sizes() and newest_checkpoint(stores["moved"]) > 0, process, log)
            cluster.say("remove")
            command.wait_for(lambda: "00001" in sizes(), process, log)
            cluster.say("add 2")
            command.wait_for(lambda: said("makes room: 1 workers stop at a checkpoint"), process, log)
            command.wait_for(lambda: log.read_text().count("goes on from the checkpoint") == 2, process, log)
            cluster.say("drain")
            command.wait_for(lambda: said("makes room: 2 workers stop at a checkpoint"), process, log)
            command.wait_for(lambda: log.read_text().count("goes on from the checkpoint") == 3, process, log)
            last_stop = newest_checkpoint(stores["moved"])
            command.wait_for(lambda: newest_checkpoint(stores["moved"]) > last_stop, process, log)
            images = newest_checkpoint(stores["moved"])
    assert log.read_text().count("workers lost") == 1  # a notice costs nothing
    profile.write_text(SCALE.format(address="local", workers="1"))
    with command.running(":train_diffusion", stores["still"], log, *more, "--on", str(profile)) as process:
        command.wait_for(lambda: newest_checkpoint(stores["still"]) >= images, process, log, timeout=1800)

    moved, still = (artifact_in(store) for store in stores.values())
    seen, expected_seen = (read_samples_seen(artifact)[:images] for artifact in (moved, still))
    assert [position for position, _ in seen] == list(range(images))
    assert seen == expected_seen
    assert workers_at(moved, images - BATCH) == 1  # at the end there was one again
    rows, expected = ([row for row in read_metrics(a) if row["images_seen"] <= images] for a in (moved, still))
    assert [row["images_seen"] for row in rows] == list(range(BATCH, images + 1, BATCH))
    assert [row["images_seen"] for row in rows] == [row["images_seen"] for row in expected]
    losses = [np.array([row["loss"] for row in found]) for found in (rows, expected)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def newest_checkpoint(store: Path) -> int:
    """Images seen at the newest commit; 0 where there is none."""
    commits = store.glob("digits/train_diffusion/*/checkpoints/*/checkpoint.json")
    return max((int(commit.parent.name) for commit in commits), default=0)


def workers_at(artifact: Artifact, images_seen: int) -> int:
    """Into how many parts the step there was cut."""
    rows = [json.loads(line) for name in artifact.names("samples/") for line in artifact.read(name).splitlines()]
    return sum(row["images_seen"] == images_seen for row in rows)
