"""Worker processes for tests of distributed code, without Ray."""

import faulthandler
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from multiprocessing import get_context

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

get_context("forkserver").set_forkserver_preload(
    ["rayograph.training.autoencoder_learner", "rayograph.training.diffusion_learner"]
)


def spawn(work: Callable[..., None], workers: int, *arguments: object) -> None:
    """work(rank, workers, *arguments) in each of `workers` new processes under gloo; a failure is raised here.

    They are forked from a process that has imported the trainings and done nothing with them: imports, some seconds
    each, would be most of the time. They meet through a file: no port is chosen that another could take first.
    """
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        start_processes(_enter, (work, workers, meeting, arguments), workers, start_method="forkserver")


def _enter(rank: int, work: Callable[..., None], workers: int, meeting: str, arguments: tuple[object, ...]) -> None:
    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(workers),
    }
    faulthandler.enable()  # whatever ends a process from below says where it was
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    work(rank, workers, *arguments)
    dist.barrier()  # nobody hangs up on one that still talks
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the work is done: an interpreter that ends while libraries' threads run may abort
