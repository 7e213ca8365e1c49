"""Ray Data streams: work spread over the cluster, and a training worker's own stream of batches.

Each training worker owns its stream. There is no split and no coordinator: what a worker reads at a step is arithmetic (the
plan), so a stream can start at any step, for any number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
import ray.data

from rayograph import errors
from rayograph.config import IngestScale
from rayograph.ingest.reading import PlannedReader
from rayograph.shards.batch import Batch

T = TypeVar("T")

SEGMENT_WINDOWS = 4096
"""Windows in one Ray Data set; the next set takes over where it ends."""


def each(items: Sequence[T], work: Callable[[T], bytes], *, cpus: float, tasks: int) -> Iterator[bytes]:
    """work(item) for every item, by tasks over the cluster, in order. A RayographError of a task is raised here."""
    shared = ray.put(list(items))

    def run(row: dict[str, Any]) -> dict[str, Any]:
        return _outcome(work, ray.get(shared)[row["id"]])

    numbers = ray.data.range(len(items), override_num_blocks=len(items))
    yield from _results(numbers.map(run, num_cpus=cpus, compute=ray.data.TaskPoolStrategy(size=tasks)))


def each_with(
    items: Sequence[T], worker: Callable[[], Callable[[T], bytes]], *, cpus: float, gpus: float, actors: int
) -> Iterator[bytes]:
    """worker()(item) for every item, by a pool of actors that call worker() once each, in order."""
    known = list(items)

    class Pooled:
        def __init__(self) -> None:
            self._work = worker()

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return _outcome(self._work, known[row["id"]])

    numbers = ray.data.range(len(items), override_num_blocks=len(items))
    pool = ray.data.ActorPoolStrategy(size=min(actors, len(items)))
    yield from _results(numbers.map(Pooled, compute=pool, num_cpus=cpus, num_gpus=gpus or None))


def training_batches(
    reader: PlannedReader, scale: IngestScale, *, worker: int, workers: int, steps: range, row_bytes: int
) -> Iterator[Batch]:
    """A worker's batches for `steps`, in order, read ahead by Ray Data tasks of several steps each."""
    rows = reader.plan.global_batch_size // workers
    width = max(1, min(scale.window_steps, scale.window_bytes // max(1, rows * row_bytes)))
    windows = [steps[at : at + width] for at in range(0, len(steps), width)]
    for first in range(0, len(windows), SEGMENT_WINDOWS):
        segment = windows[first : first + SEGMENT_WINDOWS]

        def read(row: dict[str, Any], segment: Sequence[range] = segment) -> dict[str, Any]:
            return reader.read(reader.plan.positions(segment[int(row["id"][0])], worker, workers).ravel())

        numbers = ray.data.range(len(segment), override_num_blocks=len(segment))
        pool = ray.data.TaskPoolStrategy(size=scale.tasks)
        blocks = numbers.map_batches(read, batch_size=1, num_cpus=scale.cpus_per_task, compute=pool)
        for columns in _ordered(blocks).iter_batches(batch_size=rows, batch_format="numpy", prefetch_batches=2):
            positions = columns.pop("positions")
            yield Batch(positions, columns)


def _ordered(dataset: Any) -> Any:
    """Blocks in the order of their rows, whichever task ends first; and no bars or stall limits of Ray Data's own."""
    context = dataset.context
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1
    context.print_on_execution_start = False
    return dataset


def _outcome(work: Callable[[T], bytes], item: T) -> dict[str, Any]:
    """The result, or the user's own error as a value: raised in a task it would come back wrapped, after retries."""
    try:
        return {"result": work(item), "error": "", "message": ""}
    except errors.RayographError as error:
        return {"result": b"", "error": type(error).__name__, "message": str(error)}


def _results(dataset: Any) -> Iterator[bytes]:
    for row in _ordered(dataset).iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        yield row["result"]
