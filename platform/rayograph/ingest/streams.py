"""Ray Data streams: work spread over the cluster, and a training worker's own stream of batches.

Each training worker owns its stream. There is no split and no coordinator: what a worker reads at a step is arithmetic
(the plan), so a stream can start at any step, for any number of workers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from rayograph import errors
from rayograph.config import IngestScale
from rayograph.ingest.reading import PlannedReader
from rayograph.shards.batch import Batch

T = TypeVar("T")

SEGMENT_WINDOWS = 4096
"""Windows in one Ray Data set; the next set takes over where it ends."""

SCHEDULING_PAUSE_SECONDS = 0.05


def each(items: Sequence[T], work: Callable[[T], bytes], *, cpus: float, tasks: int) -> Iterator[bytes]:
    """work(item) for every item, by tasks over the cluster, in order. A RayographError of a task is raised here."""
    numbers = ray.data.range(len(items), override_num_blocks=len(items))
    pool = ray.data.TaskPoolStrategy(size=min(tasks, len(items)))
    known = ray.put(list(items))
    yield from _results(numbers.map(_work_on, fn_args=(work, known), num_cpus=cpus, compute=pool))


def each_with(
    items: Sequence[T], worker: Callable[[], Callable[[T], bytes]], *, cpus: float, gpus: float, actors: int
) -> Iterator[bytes]:
    """worker()(item) for every item, by a pool of actors that call worker() once each, in order."""
    numbers = ray.data.range(len(items), override_num_blocks=len(items))
    pool = ray.data.ActorPoolStrategy(size=min(actors, len(items)))
    made = {"worker": worker, "items": list(items)}
    yield from _results(
        numbers.map(_Pooled, fn_constructor_kwargs=made, compute=pool, num_cpus=cpus, num_gpus=gpus or None)
    )


def training_batches(
    reader: PlannedReader, scale: IngestScale, *, worker: int, workers: int, steps: range, row_bytes: int
) -> Iterator[Batch]:
    """A worker's batches for `steps`, in order, read ahead by Ray Data tasks of several steps each."""
    rows = reader.plan.global_batch_size // workers
    width = max(1, min(scale.window_steps, scale.window_bytes // max(1, rows * row_bytes)))
    for first in range(steps.start, steps.stop, width * SEGMENT_WINDOWS):
        segment = range(first, min(first + width * SEGMENT_WINDOWS, steps.stop))
        windows = -(-len(segment) // width)
        numbers = ray.data.range(windows, override_num_blocks=windows)
        pool = ray.data.TaskPoolStrategy(size=min(scale.tasks, windows))
        known = (reader, segment, width, worker, workers)
        blocks = numbers.map_batches(
            _read_window, fn_args=known, batch_size=1, num_cpus=scale.cpus_per_task, compute=pool
        )
        for columns in _ordered(blocks).iter_batches(batch_size=rows, batch_format="numpy", prefetch_batches=2):
            positions = columns.pop("positions")
            yield Batch(positions, columns)


class _Rest(ExecutionCallback):
    """A pause in every round of Ray Data's scheduling loop.

    While a consumer has all it needs, that loop goes round without waiting for anything: a whole core, and the lock
    of the interpreter that trains, taken from the training. A task lasts far longer than a pause.
    """

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(SCHEDULING_PAUSE_SECONDS)


def _ordered(dataset: Any) -> Any:
    """Blocks in the order of their rows, whichever task ends first; and no bars or stall limits of Ray Data's own."""
    context = dataset.context
    context.custom_execution_callback_classes = [_Rest]
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1
    context.print_on_execution_start = False
    return dataset


def _read_window(
    row: dict[str, Any], reader: PlannedReader, segment: range, width: int, worker: int, workers: int
) -> dict[str, Any]:
    """The rows of one window of a segment's steps."""
    first = int(row["id"][0]) * width
    return reader.read(reader.plan.positions(segment[first : first + width], worker, workers).ravel())


def _work_on(row: dict[str, Any], work: Callable[[Any], bytes], items: Any) -> dict[str, Any]:
    return _outcome(work, ray.get(items)[row["id"]])


class _Pooled:
    """An actor of `each_with`."""

    def __init__(self, worker: Callable[[], Callable[[Any], bytes]], items: list[Any]) -> None:
        self._work, self._items = worker(), items

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return _outcome(self._work, self._items[row["id"]])


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
