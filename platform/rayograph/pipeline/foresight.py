"""What can be known before work that takes long: of this machine, of the cluster once joined, of data once packed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayograph.config import Encode, Evaluate, Sample, Scale, TrainDiffusion
from rayograph.config.address import starts_a_cluster
from rayograph.config.batches import worker_counts
from rayograph.config.training import Training
from rayograph.errors import ResourceError
from rayograph.pipeline.preflight import glance_at
from rayograph.runs.artifact import Artifact
from rayograph.runs.stage_context import StageContext
from rayograph.stages.resources import require

if TYPE_CHECKING:
    from rayograph.conditioning.protocol import Conditioner


def check_machine(scale: Scale) -> None:
    """Raise ResourceError where the profile wants GPUs of a machine that has none."""
    if scale.device != "cuda" or not starts_a_cluster(scale):
        return
    import torch

    if not torch.cuda.device_count():
        raise ResourceError(
            "device: expected a GPU on this machine for 'cuda', found none: device: cpu, or a cluster that has them "
            "(ray.address)"
        )


def check_cluster(waiting: Sequence[StageContext]) -> None:
    """Raise ResourceError for the first stage that the joined cluster has no room for: before those that it has."""
    for stage in waiting:
        declared, scale = stage.declared, stage.scale
        if isinstance(declared, Training):
            from rayograph.trainer.elastic import Room

            Room(scale, worker_counts(declared, scale.training)).require(stage.name)
        elif isinstance(declared, Encode | Evaluate):
            pool = scale.encode
            require(scale, stage.name, cpus=pool.actors * pool.cpus_per_actor, gpus=pool.actors * scale.gpus)
        elif isinstance(declared, Sample):
            sampling, units = scale.sampling, -(-(declared.num_samples or 1) // declared.unit_size)
            fewest = max(1, min(sampling.replicas[0], units))
            gpus = scale.gpus if sampling.gpus_per_replica is None else sampling.gpus_per_replica
            require(scale, stage.name, cpus=fewest * sampling.cpus_per_replica, gpus=fewest * gpus)


def check_conditions(stages: Mapping[str, StageContext], waiting: Sequence[StageContext]) -> None:
    """Hold trainings, and what is asked of their models, against the facts of data that is packed already.

    Raises ConfigError, or DataError for a request's row. What is not packed yet is looked at once it is.
    """
    from rayograph.conditioning.settled import settled

    known: dict[str, Conditioner] = {}
    for stage in waiting:
        if not isinstance(stage.declared, TrainDiffusion):
            continue
        for field, artifact in stage.inputs.items():
            if field.partition(".")[0] == "moments":
                facts = _facts(stages, artifact)
                if facts is not None:
                    _, known[stage.name] = settled(stage.name, stage.declared, [facts])
    for stage in waiting:
        if isinstance(stage.declared, Sample) and stage.declared.model in known:
            glance_at(stage.job, stage.name, stage.scale, known[stage.declared.model])


def _facts(stages: Mapping[str, StageContext], artifact: Artifact) -> Mapping[str, Any] | None:
    """Of moments, or of the images that they will be made of; None while those are not packed."""
    manifest = artifact.manifest()
    if manifest is None:
        maker = next((stage for stage in stages.values() if stage.artifact == artifact), None)
        manifest = maker.inputs["images"].manifest() if maker and isinstance(maker.declared, Encode) else None
    return manifest.facts if manifest is not None and "class_names" in manifest.facts else None
