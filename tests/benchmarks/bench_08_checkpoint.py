"""A checkpoint of training state: how long the training stands still, and how fast the bytes come to the disk.

Two workers, ZeRO 1, a network whose weights, two moments and average are about a gibibyte together. Peers: DeepSpeed's
own writer, and torch's distributed checkpoint, synchronous and asynchronous, over the same tensors (each worker's own).
All write to one folder; ours hashes every byte (SHA-256) and waits until it is on the disk (fsync), so there is a row
for the peers with their files brought to the disk too.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # the tests' worker processes

import torch
from harness import ROUNDS, record, row
from torch import Tensor, nn
from workers import spawn

NAME = "bench_08_checkpoint"
LAYERS, WIDTH = 16, 2048
"""67 million weights: 1 GiB of state in fp32."""

Writer = Callable[[str], tuple[float, float]]
"""Writes to a folder; seconds the training stood still, and seconds until all was written."""


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        for layer in self.layers:
            values = torch.relu(layer(values))
        return values.square().mean(), None


def work(rank: int, workers: int, folder: str, out: str) -> None:
    """All writers in turn, in every round."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    from rayograph.runs.artifact import Artifact
    from rayograph.storage import open_store
    from rayograph.training.checkpoints.averages import ConstantDecay
    from rayograph.training.checkpoints.checkpoint import Checkpoints
    from rayograph.training.checkpoints.retention import Retention
    from rayograph.training.engine.engine import Engine, EngineSettings

    class Learner:
        engine = Engine(Deep(), EngineSettings(1, 1, 1, (0.9, 0.99), 1e-8, 0.0, None, (ConstantDecay(0.9),)))

        names_before: Mapping[str, str] = {}

        def engines(self) -> dict[str, Any]:
            return {"deep": self.engine}

    learner = Learner()
    learner.engine.schedule(1e-4, 0)
    learner.engine.minimise([(torch.ones(1, WIDTH),)])
    mine = {f"{piece.name}@{piece.start}": piece.values for piece in learner.engine.state.pieces()}
    files = dist.new_group(backend="gloo")
    checkpoints = Checkpoints(Artifact(open_store(folder), "ours"), learner, Retention(last=1))

    def rayograph(folder: str) -> tuple[float, float]:
        checkpoints.save(int(Path(folder).name.partition("-")[0]), {})
        checkpoints.finish()
        assert checkpoints.last is not None
        return checkpoints.last.stalled, checkpoints.last.seconds

    def deepspeed(folder: str) -> tuple[float, float]:
        started = time.monotonic()
        learner.engine._engine.save_checkpoint(folder)
        return (time.monotonic() - started,) * 2

    def torch_dcp(folder: str) -> tuple[float, float]:
        started = time.monotonic()
        dcp.save(mine, checkpoint_id=folder)
        return (time.monotonic() - started,) * 2

    def torch_dcp_async(folder: str) -> tuple[float, float]:
        started = time.monotonic()
        writing = dcp.async_save(mine, checkpoint_id=folder, process_group=files)
        stalled = time.monotonic() - started
        writing.result()
        return stalled, time.monotonic() - started

    found = []
    for number in range(ROUNDS):
        for writer in (rayograph, deepspeed, torch_dcp, torch_dcp_async):
            target = Path(folder, f"{number}-{writer.__name__}")
            target.mkdir(exist_ok=True)
            dist.barrier()
            stalled, seconds = writer(str(target))
            dist.barrier()
            began = time.monotonic()
            if rank == 0:
                os.sync()
            dist.barrier()
            place = target if writer is not rayograph else Path(folder, "ours")
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            found.append([writer.__name__, stalled, seconds, time.monotonic() - began, size])
            dist.barrier()
            if rank == 0 and writer is not rayograph:
                shutil.rmtree(target)
            dist.barrier()
    if rank == 0:
        Path(out).write_text(json.dumps(found))


def main() -> None:
    """Two workers write; one row for each peer and figure."""
    with tempfile.TemporaryDirectory(dir=Path("~/.cache").expanduser()) as folder:
        spawn(work, 2, folder, f"{folder}/found.json")
        found = json.loads(Path(folder, "found.json").read_text())
    by_writer = {
        name: [entry[1:] for entry in found if entry[0] == name] for name in dict.fromkeys(f[0] for f in found)
    }
    mine = by_writer.pop("rayograph")
    titles = {
        "deepspeed": "DeepSpeed's own writer",
        "torch_dcp": "torch DCP",
        "torch_dcp_async": "torch DCP, asynchronous",
    }
    rows = []
    for name, title in titles.items():
        theirs = by_writer[name]
        for case, on_disk, goal in (("bytes written", 0, "≥ 4×"), ("bytes on the disk", 1, "")):
            rates = [
                [size / (seconds + on_disk * synced) / 2**20 for _, seconds, synced, size in side]
                for side in (mine, theirs)
            ]
            rows.append(
                row(NAME, f"{case} in a second", "MiB/s", title, *rates, goal=goal if name == "deepspeed" else "")
            )
        stalls = [[stalled for stalled, *_ in side] for side in (mine, theirs)]
        rows.append(row(NAME, "the training stands still", "s", title, *stalls, less_is_better=True))
    share = [100 * stalled / seconds for stalled, seconds, *_ in mine]
    sizes = [entry[3] / 2**20 for entry in mine]
    rows.append(row(NAME, "the training stands still, of the time until it is written", "%", "–", share, None,
                    goal="≤ 5 %", limit=f"{sizes[0]:,.0f} MiB of state, 2 workers"))  # fmt: skip
    record(NAME, rows)


if __name__ == "__main__":
    main()
