"""Whether the cluster has what a stage asks of it."""

from rayograph.config import Scale
from rayograph.errors import ResourceError
from rayograph.runs.stage_context import StageContext


def require(scale: Scale, what: str, *, cpus: float, gpus: float) -> None:
    """Raise ResourceError now, where Ray would wait forever for what the cluster will never have."""
    import ray

    if scale.ray.autoscaling:
        return
    has = ray.cluster_resources()
    for resource, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > has.get(resource, 0) + 1e-9:
            raise ResourceError(
                f"{what}: expected {wanted:g} {resource}s in the cluster, got {has.get(resource, 0):g}: "
                "a smaller scale profile or a larger cluster is needed"
            )


def require_pool(stage: StageContext) -> None:
    """Raise ResourceError where there is no room for the pool of actors that a model's work is spread over."""
    pool, gpus = stage.scale.encode, stage.scale.gpus
    require(stage.scale, stage.name, cpus=pool.actors * pool.cpus_per_actor, gpus=pool.actors * gpus)
