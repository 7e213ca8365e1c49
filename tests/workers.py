"""Worker processes for tests of distributed code, without Ray."""

import faulthandler
import os
import socket
import sys
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
    faulthandler.enable()  # whatever ends a process from below says where it was
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    work(rank, workers, *arguments)
    dist.barrier()  # nobody hangs up on one that still talks
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the work is done: an interpreter that ends while libraries' threads run may abort
