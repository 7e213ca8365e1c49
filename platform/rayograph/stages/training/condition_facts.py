"""What conditions find in a training's samples before it starts, as a tokenizer: found once, and kept with it."""

import json
from typing import Any

from rayograph.config import TrainDiffusion
from rayograph.config.kinds import imported
from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.manifest import TRAIN
from rayograph.runs.stage_context import StageContext
from rayograph.shards.committed import Shards

FOUND = "condition_facts.json"


def condition_facts(stage: StageContext, declared: TrainDiffusion, field: str) -> dict[str, Any]:
    """Return the facts that conditions are settled by, beside those of the manifests of input `field`.

    Whoever goes on with the training finds them. Raises DataError where the samples do not have what is read of them.
    """
    conditions = declared.conditioning.studied
    if not conditions:
        return {}
    key = stage.artifact.key(FOUND)
    try:
        kept = stage.artifact.store.read(key)
    except MissingObjectError:
        sets = [
            Shards.of(artifact, manifest, manifest.split(TRAIN), stage.scale.access)
            for artifact, manifest, _ in stage.mixture(field)
        ]
        found: dict[str, Any] = {}
        try:
            for condition in conditions:
                found |= imported(condition.studied_by)(condition, sets, stage.scale.access)
        except DataError as error:
            raise DataError(f"{stage.name}.{field}: {error}") from error
        stage.artifact.store.put_if_absent(key, json.dumps(found, sort_keys=True).encode())
        kept = stage.artifact.store.read(key)
    facts: dict[str, Any] = json.loads(kept)
    return facts
