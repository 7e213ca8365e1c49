"""A training that is killed while it writes checkpoints, again and again: a whole one is always there, and right.

A process that has imported everything forks the trainings, so that twelve deaths take seconds and not minutes.
"""

import multiprocessing
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from engines import settings, state
from torch import Tensor, nn

from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store

KILLS, BATCH, WIDTH = 12, 4, 512


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        return self.layer(values).square().mean(), None


class Learner:
    names_before: Mapping[str, str] = {}

    def __init__(self) -> None:
        from rayograph.training.engine.engine import Engine

        torch.manual_seed(0)
        self.engine = Engine(Square(), settings(BATCH, 1))

    def engines(self) -> dict[str, Any]:
        return {"square": self.engine}

    def step(self, batch: Any, images_seen: int) -> dict[str, float]:
        values = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(images_seen))
        self.engine.schedule(1e-3, images_seen // BATCH)
        self.engine.minimise([(values,)])
        return {}

    def exports(self) -> Iterator[tuple[str, Any]]:
        yield from ()


def train_on(store: str) -> None:
    """From the newest checkpoint, one more at every step, until somebody kills it."""
    from rayograph.training.checkpoints.checkpoint import Checkpoints
    from rayograph.training.checkpoints.retention import Retention

    learner = Learner()
    checkpoints = Checkpoints(Artifact(open_store(store), "run"), learner, Retention(last=2))
    found = checkpoints.load_newest()
    images_seen = found[0] if found else 0
    while True:
        learner.step(None, images_seen)
        images_seen += BATCH
        checkpoints.save(images_seen, {})


def compare(store: str) -> None:
    """Fails unless the newest checkpoint is what an uninterrupted training has at its place."""
    from rayograph.training.checkpoints.checkpoint import Checkpoints
    from rayograph.training.checkpoints.retention import Retention

    newest = Learner()
    told: list[str] = []
    run = Artifact(open_store(store), "run")
    found = Checkpoints(run, newest, Retention(last=2), told.append).load_newest()
    assert found is not None
    assert told == []  # the newest commit is whole
    straight = Learner()
    for step in range(found[0] // BATCH):
        straight.step(None, step * BATCH)
    expected = dict(state(straight.engine))
    for name, tensor in state(newest.engine):
        assert torch.equal(tensor, expected[name]), name


def forked(work: Callable[[str], None], store: str) -> int:
    """The child's process; its exit code is 0 only for work that ended well."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        torch.set_num_threads(1)
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        work(store)
        code = 0
    except Exception:  # noqa: BLE001 - whatever it is, the parent sees the code, the log the reason
        traceback.print_exc()
    finally:
        os._exit(code)


def kill_often(store: str, seed: int) -> None:
    import deepspeed  # noqa: F401 - once, and not in every child

    import rayograph.training.checkpoints.piece_files as piece_files

    piece_files.FILE_BYTES = 1 << 20  # several files each
    draw = random.Random(seed)
    for kill in range(KILLS):
        before = set(Path(store).rglob("checkpoint.json"))
        child = forked(train_on, store)
        while not set(Path(store).rglob("checkpoint.json")) - before:
            time.sleep(0.001)
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the training ended by itself"
        time.sleep(draw.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if kill % 4 == 3:
            assert os.waitpid(forked(compare, store), 0)[1] == 0


def test_whenever_it_is_killed_a_whole_checkpoint_of_the_right_weights_is_there(tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=kill_often, args=(str(tmp_path), 0))
    process.start()
    process.join()
    assert process.exitcode == 0
    left = {name.split("/")[1] for name in Artifact(open_store(str(tmp_path)), "run").names("checkpoints/")}
    assert len(left) <= 4  # two that count, and at most what the last death left beside them
