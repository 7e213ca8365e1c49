"""Artifacts with a few samples in them, begun, filled or committed without any work."""

import yaml

from rayograph.runs.artifact import RESOLVED
from rayograph.runs.stage_result import StageResult, commit
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_files, shard_name


def begin(stage):
    """What a stage writes before any work."""
    told = {"stage": stage.name, "job": stage.job.model_dump(mode="json"), "scale": stage.scale.model_dump(mode="json")}
    stage.artifact.write(RESOLVED, yaml.safe_dump(told, sort_keys=False).encode())


def fill(stage, shards=2):
    outcome = StageResult()
    begin(stage)
    for number in range(shards):
        name = shard_name("train", number)
        index = put_shard(stage.artifact, name, [Sample(f"s{row}", {"png": b"x" * 700}) for row in range(3)])
        outcome.add_shard(*shard_files(stage.artifact, name, "train", index))
    return outcome


def done(stage):
    return commit(stage, fill(stage), 0.0)
