"""What a stage's work comes to, and the committing of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rayograph.json_types import Json
from rayograph.runs.artifact import METRICS
from rayograph.runs.environment import machine, versions
from rayograph.runs.manifest import FileRecord, Manifest, Parent, ShardRecord
from rayograph.runs.stage_context import StageContext


@dataclass
class StageResult:
    """Files, shards and facts for the manifest; `headline` and `warnings` for whoever waits for the stage."""

    files: list[FileRecord] = field(default_factory=list)
    shards: list[ShardRecord] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)
    base_uri: str | None = None
    """Where the tars among the files lie, if not in the artifact itself."""
    parents: list[Parent] = field(default_factory=list)
    """What it was made from beside the stage's inputs."""
    headline: str = ""
    """What the last line says of it beside numbers of samples and bytes."""
    warnings: list[str] = field(default_factory=list)
    """What to change, a line each."""

    def add_shard(self, files: Sequence[FileRecord], shard: ShardRecord) -> None:
        """Take one shard's files in; a shard whose samples were all left out is none to draw from."""
        self.files += files
        if shard.samples:
            self.shards.append(shard)


def commit(stage: StageContext, outcome: StageResult, started: float) -> Manifest:
    """Write the manifest; from here on the artifact counts. `started` is of time.monotonic()."""
    return stage.artifact.commit(manifest_of(stage, outcome, started))


def manifest_of(stage: StageContext, outcome: StageResult, started: float) -> Manifest:
    """Return what the manifest of a stage's work says."""
    return Manifest(
        job=stage.job.name,
        stage=stage.name,
        kind=stage.declared.kind,
        type=stage.declared.output,
        key=stage.key,
        seed=stage.seed,
        config=stage.job.model_dump(mode="json"),
        scale=stage.scale.model_dump(mode="json"),
        parents=stage.parents() + outcome.parents,
        files=outcome.files + stage.artifact.records(METRICS),
        base_uri=outcome.base_uri,
        shards=outcome.shards,
        facts=outcome.facts,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 3),
        machine=machine(),
        versions=versions(),
    )
