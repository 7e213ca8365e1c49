"""Planning and dispatch over many shards: CPU a shard and memory of the driver, against stock Ray Data.

The shards are real, of 16 small samples each, and hard links to a few: names enough for 100,000 without the disk. What
is measured is everything that is not the data itself. Stock Ray Data gets its first shards only (a task a shard makes
the whole a matter of hours) and is extrapolated; ours as well, by as many samples.

Then, on paper: a billion samples in 100,000 shards for 1,024 workers.
"""

import gc
import os
import shutil
import time
from pathlib import Path

import mixing
import numpy as np
import psutil
import ray
from harness import ROUNDS, Row, alternate, record, row
from tree import cpu_seconds

from rayograph.conditioning.unconditional import UnconditionalConditioner
from rayograph.config import IngestScale
from rayograph.config.job.conditioners import Unconditional
from rayograph.ingest.columns import to_npy
from rayograph.ingest.decoders import Moments
from rayograph.ingest.reading import PlannedReader
from rayograph.ingest.streams import training_batches
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet, slice_rows
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.sample import Sample
from rayograph.shards.shard_index import index_name
from rayograph.shards.store import put_shard, read_index
from rayograph.storage import open_store

NAME = "bench_07_planning"
ROWS, SHAPE = 16, (8, 4, 4)
CACHE = Path("~/.cache/rayograph-bench/many").expanduser()
MEASURED = 1000
"""Shards' worth of samples that ours reads in a round."""
FEW = 100
"""Shards that the peer reads in a round."""


def make(shards: int) -> tuple[Artifact, tuple[str, ...]]:
    """The folder of so many shards, made once."""
    artifact = Artifact(open_store(str(CACHE)), str(shards))
    names = tuple(f"shards/{number // 1000:03d}/{number:06d}.tar" for number in range(shards))
    if (CACHE / str(shards) / names[-1]).exists():
        return artifact, names
    draw = np.random.default_rng(0)
    for number, name in enumerate(names):
        target = CACHE / str(shards) / name
        if number < 10:
            moments = draw.normal(size=(ROWS, *SHAPE)).astype(np.float32)
            put_shard(artifact, name, [Sample(f"{number}-{r}", {"npy": to_npy(m)}) for r, m in enumerate(moments)])
            continue
        source = CACHE / str(shards) / names[number % 10]
        target.parent.mkdir(parents=True, exist_ok=True)
        for end in (str, index_name):
            os.link(end(str(source)), end(str(target)))
    return artifact, names


class Side:
    """One way to read, measured in CPU seconds a shard."""

    def __init__(self, shards: int) -> None:
        self.artifact, self.names = make(shards)

    def ours(self, number: int) -> float:
        reader = _reader(self.artifact, self.names)
        steps = range(number * MEASURED * ROWS // 256, (number + 1) * MEASURED * ROWS // 256)
        before = cpu_seconds()
        rows = sum(len(batch) for batch in training_batches(reader, IngestScale(), worker=0, workers=1, steps=steps))
        return (cpu_seconds() - before) / (rows / ROWS)

    def stock(self, number: int) -> float:
        return self._stock(number, blocks=None)

    def stock_task_a_shard(self, number: int) -> float:
        """As it runs where shards are large: small ones it puts into a few tasks together."""
        return self._stock(number, blocks=FEW)

    def _stock(self, number: int, blocks: int | None) -> float:
        """All paths are planned, less the first few; those few are read."""
        paths = [str(Path(self.artifact.uri) / name) for name in self.names]
        before, begin = cpu_seconds(), number * FEW
        # Planned and thrown away: its rows would take hours.
        ray.data.read_webdataset(paths[begin : begin + len(paths) - 1000], decoder=None)
        planning = cpu_seconds() - before
        before = cpu_seconds()
        few = ray.data.read_webdataset(paths[begin : begin + FEW], decoder=None, override_num_blocks=blocks)
        rows = sum(len(batch["__key__"]) for batch in few.iter_batches(batch_size=256, batch_format="numpy"))
        assert rows == FEW * ROWS, rows
        return planning / len(paths) + (cpu_seconds() - before) / FEW


def _reader(artifact: Artifact, names: tuple[str, ...]) -> PlannedReader:
    size = read_index(artifact, names[0]).size
    data_set = DataSet((ROWS,) * len(names), slice_rows(ROWS * len(names), size * len(names), 8))
    return PlannedReader(
        (Shards(artifact, names),),
        Plan((data_set,), 0, 256, 8),
        Moments(SHAPE, UnconditionalConditioner(Unconditional(), None)),
    )


def dispatch(shards: int, goal: str) -> list[Row]:
    """The comparison, and the driver's memory before and after."""
    side = Side(shards)
    side.ours(ROUNDS)  # warm
    before = psutil.Process().memory_info().rss
    ours, *theirs = alternate(side.ours, side.stock, side.stock_task_a_shard)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    rows = [
        row(NAME, f"{shards:,} shards of {ROWS} samples", "CPU ms a shard", f"stock ray.data.read_webdataset{how}",
            [1e3 * value for value in ours], [1e3 * value for value in values], goal=goal, less_is_better=True)
        for how, values in zip(("", ", a task a shard"), theirs, strict=True)
    ]  # fmt: skip
    case = f"{shards:,} shards: the driver's growth over all rounds"
    return [*rows, row(NAME, case, "MiB", "–", [grown], None, goal="flat")]


def on_paper() -> list[Row]:
    """A billion samples in 100,000 shards for 1,024 workers: what the plan costs, in this process, for real."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    rows = slice_rows(10**9, 10**9 * 17_000, 1024)
    plan = Plan((DataSet((10_000,) * 100_000, rows),), 0, 4096, 1024)
    plan.locate(plan.positions(range(1), 0, 1024).ravel())
    first = time.perf_counter() - started
    window, times = plan.window_steps, []
    for worker in range(0, 1024, 8):
        steps = range(10**5 // window * window, 10**5 // window * window + window)
        started = time.perf_counter()
        plan.locate(plan.positions(steps, worker, 1024).ravel())
        times.append(time.perf_counter() - started)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    per_window = window * 4
    index_bytes = _index_bytes(10_000)
    case = "10⁹ samples, 100,000 shards, 1,024 workers, batch 4,096"
    return [
        row(NAME, f"{case}: plan made and first step located", "ms", "–", [1e3 * first], None),
        row(NAME, f"{case}: a window of {per_window} rows located", "ms", "–", [1e3 * value for value in times], None),
        row(NAME, f"{case}: memory of the plan", "MiB a worker", "–", [grown], None, goal="flat"),
        row(NAME, f"{case}: tasks that each worker starts for itself at 1,000 images/s", "a second", "–",
            [1000 / _task_rows(plan)], None, limit="no call to anybody else"),
        row(NAME, f"{case}: index", "bytes a sample", "–", [index_bytes], None, limit="17,000 bytes of moments"),
    ]  # fmt: skip


def _task_rows(plan: Plan) -> int:
    scale = IngestScale()
    width = min(scale.steps_per_task, scale.bytes_per_task // (4 * 17_000))
    return len(next(plan.windows(range(10**6), width))) * 4


def _index_bytes(samples: int) -> float:
    from rayograph.shards.shard_index import Members, ShardIndex

    columns = Members(np.zeros(samples, np.int64), np.zeros(samples, np.int64), np.zeros(samples, np.uint64))
    keys = [f"{number:09d}" for number in range(samples)]
    return len(ShardIndex(1, "0" * 64, keys, {"npy": columns, "cls": columns}).to_bytes()) / samples


def main() -> None:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    goal = "≤ 2.5 ms, ≥ 10×"
    rows = mixing.rows(NAME) + on_paper() + dispatch(10_000, goal) + dispatch(100_000, goal)
    record(NAME, rows)
    ray.shutdown()
    shutil.rmtree(CACHE, ignore_errors=True)


if __name__ == "__main__":
    main()
