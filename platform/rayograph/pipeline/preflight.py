"""What can be known before work that takes long: of the job, of this machine, of data that is there, of the cluster."""

from collections.abc import Mapping, Sequence

from rayograph.config import Job, Scale
from rayograph.config.address import starts_a_cluster
from rayograph.errors import ResourceError
from rayograph.runs.stage_context import StageContext
from rayograph.stages.stage import CheckContext, stage_of


def check(job: Job, scale: Scale, names: Sequence[str], resolved: Mapping[str, StageContext] | None = None) -> None:
    """Ask every named stage; of inputs that are committed, where stages are `resolved`, it sees what they hold.

    Raises ConfigError, or DataError for a request's row, for the first thing that could only end badly.
    """
    for name in names:
        stage_of(job.stages[name]).check(job.stages[name], CheckContext(job, scale, name, resolved or {}))


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
        stage_of(stage.declared).check_cluster(stage.declared, stage)
