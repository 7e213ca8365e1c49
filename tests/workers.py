"""Worker processes for tests of distributed code, without Ray."""

import os
import socket
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def spawn(work: Callable[..., None], workers: int, *arguments: object) -> None:
    """work(rank, workers, *arguments) in each of `workers` new processes under gloo; a failure is raised here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(_enter, args=(work, workers, port, arguments), nprocs=workers)


def _enter(rank: int, work: Callable[..., None], workers: int, port: int, arguments: tuple[object, ...]) -> None:
    warnings.simplefilter("ignore")
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(workers),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        work(rank, workers, *arguments)
    finally:
        dist.destroy_process_group()
