"""Which ZeRO stage: the lowest that fits. Each higher one divides more, and costs the host more time a step."""

import os
from collections.abc import Callable

import torch

from rayograph.config import TrainingScale
from rayograph.config.batches import micro_batch_and_accumulation
from rayograph.config.job.training import Training
from rayograph.runs.terminal.progress import memory
from rayograph.training.cost import Cost
from rayograph.training.workers import least_over_workers

USABLE = 0.8
"""Share of a worker's memory that the estimate may fill: libraries, allocators and workspaces take the rest."""


def settled(
    scale: TrainingScale, recipe: Training, workers: int, cost: Callable[[], Cost]
) -> tuple[TrainingScale, list[str]]:
    """The profile with a stage in the place of "auto", and a sentence on why it is that one."""
    if scale.zero_stage != "auto":
        return scale, []
    micro, _ = micro_batch_and_accumulation(recipe, scale, workers)
    found, has = cost(), least_over_workers(worker_memory_bytes())  # all must come to the same
    needs = [found.memory_bytes(stage, workers, micro, scale) for stage in range(4)]
    stage = next((stage for stage, need in enumerate(needs) if need <= USABLE * has), 3)
    fits = "fits" if needs[stage] <= USABLE * has else "does not fit: a smaller micro_batch_size may"
    note = f"ZeRO {stage}: {memory(needs[stage])} of a worker's {memory(has)} {fits}"
    if stage:
        note += f"; ZeRO {stage - 1} would need {memory(needs[stage - 1])}"
    return scale.model_copy(update={"zero_stage": stage}), [note]


def worker_memory_bytes() -> int:
    """Of this worker's GPU, or its share of the host's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return host // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
