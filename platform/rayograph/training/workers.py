"""The workers of a training, and what they tell each other outside of a network's own exchanges."""

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """This worker's rank and the number of workers."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def device() -> torch.device:
    """Where this worker's networks live."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean of `value` over all workers, on every worker."""
    _, workers = world()
    if workers > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= workers
    return value


def least_over_workers(value: int) -> int:
    """The smallest `value` of all workers, on every worker."""
    if world()[1] == 1:
        return value
    least = torch.tensor(value, dtype=torch.int64, device=device())
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least)
