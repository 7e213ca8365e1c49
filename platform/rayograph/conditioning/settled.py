"""What only the data can tell of a training: what its denoiser is conditioned on, and whether that is there."""

import json
from collections.abc import Mapping, Sequence

from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.trained import conditioner_of
from rayograph.config import TrainDiffusion
from rayograph.config.job.conditioners import ClassLabel
from rayograph.config.kinds import imported
from rayograph.errors import ConfigError, DataError, MissingObjectError
from rayograph.runs.manifest import TRAIN
from rayograph.runs.stage_context import StageContext
from rayograph.shards.committed import Shards

FOUND = "condition_facts.json"


def settled(
    where: str, declared: TrainDiffusion, facts: Sequence[Mapping[str, object]]
) -> tuple[TrainDiffusion, Conditioner]:
    """Return a training with its conditions filled in by the facts of its data sets, and its conditioner.

    Raises ConfigError where the declaration does not fit the data, or data sets that are mixed do not fit each other.
    """
    field = "network" if declared.conditioner is None else "conditioner"
    try:
        found, *others = [conditioner_of(declared.conditioning, data) for data in facts]
    except ConfigError as error:
        raise ConfigError(f"{where}.{field}.{error}") from error
    for other in others:
        for name, value in found.facts.items():
            if other.facts.get(name) != value:
                raise ConfigError(f"{where}.moments: expected data sets with one {name}, got {value} and others")
    if declared.conditioner is not None:
        said = {"drop_probability": declared.conditioner.drop_probability}
        return declared.model_copy(update={"conditioner": found.declared.model_copy(update=said)}), found
    if declared.conditioning == found.declared or not isinstance(declared.conditioning, ClassLabel):
        return declared, found
    network = declared.network.model_copy(update={"num_classes": getattr(found.declared, "num_classes", 0)})
    return declared.model_copy(update={"network": network}), found


def condition_facts(stage: StageContext, declared: TrainDiffusion, field: str) -> dict[str, object]:
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
        found: dict[str, object] = {}
        try:
            for condition in conditions:
                found |= imported(condition.studied_by)(condition, sets, stage.scale.access)
        except DataError as error:
            raise DataError(f"{stage.name}.{field}: {error}") from error
        stage.artifact.store.put_if_absent(key, json.dumps(found, sort_keys=True).encode())
        kept = stage.artifact.store.read(key)
    facts: dict[str, object] = json.loads(kept)
    return facts
