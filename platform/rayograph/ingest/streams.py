"""Ray Data streams: work spread over the cluster, and a training worker's own stream of batches.

Each training worker owns its stream. There is no split and no coordinator: what a worker reads at a step is arithmetic
(the plan), so a stream can start at any step, for any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, SupportsIndex, TypedDict, TypeVar

import numpy as np
import ray
import ray.data
import torch
from ray.data import Dataset

from rayograph import errors
from rayograph.config import IngestScale
from rayograph.ingest.decoders import BLOCK_BYTES
from rayograph.ingest.memory import keep_freed_memory
from rayograph.ingest.ray_datasource import EachItem
from rayograph.ingest.reading import KEYS, POSITIONS, SUBSTITUTED, PlannedReader
from rayograph.ingest.staging import Staged
from rayograph.ray_compat import pause_between_rounds
from rayograph.shards.batch import Batch

T = TypeVar("T")

SEGMENT_WINDOWS = 4096
"""Windows in one Ray Data set; the next set takes over where it ends."""

OWN_WINDOWS = 1
"""Windows that a training worker reads by itself: it need not wait for processes to start and import."""


def each(items: Sequence[T], work: Callable[[T], bytes], scale: IngestScale) -> Iterator[bytes]:
    """work(item) for every item, by tasks over the cluster, in order. A RayographError of a task is raised here."""
    yield from _results(_by_tasks(items, partial(_results_of, work), scale))


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
    reader: PlannedReader, scale: IngestScale, *, worker: int, workers: int, steps: range
) -> Iterator[Batch]:
    """A worker's batches for `steps`, in order, read ahead; page-locked where there is a GPU."""
    rows = reader.plan.global_batch_size // workers
    width = min(scale.steps_per_task, scale.bytes_per_task // max(1, rows * reader.content.row_bytes))
    windows = list(reader.plan.windows(steps, max(1, width)))
    own = len(windows) if scale.in_worker else OWN_WINDOWS
    batches = _in_this_process(reader, worker, workers, windows[:own])
    if windows[own:]:
        batches = _one_after_the_other(batches, _in_tasks(reader, scale, worker, workers, windows[own:]))
    return Staged(batches, pinned=torch.cuda.is_available())


def _one_after_the_other(here: Iterator[Batch], there: Iterator[Batch]) -> Iterator[Batch]:
    """The worker reads at once by itself, while the tasks of all that follows are starting."""
    following = Staged(there)
    try:
        yield from here
        yield from following
    finally:
        following.close()


def _in_this_process(reader: PlannedReader, worker: int, workers: int, windows: list[range]) -> Iterator[Batch]:
    rows = reader.plan.global_batch_size // workers
    for window in windows:
        for block in reader.blocks(window, worker, workers):
            yield from _batch(block).split(rows)


def _in_tasks(
    reader: PlannedReader, scale: IngestScale, worker: int, workers: int, windows: list[range]
) -> Iterator[Batch]:
    """A window each. They hand on blocks as they decode, and stop where nobody takes them."""
    rows = reader.plan.global_batch_size // workers
    work = partial(_read_window, reader, worker, workers)
    for first in range(0, len(windows), SEGMENT_WINDOWS):
        blocks = _by_tasks(windows[first : first + SEGMENT_WINDOWS], work, scale)
        for columns in _ordered(blocks).iter_batches(batch_size=rows, batch_format="numpy", prefetch_batches=2):
            yield _batch(columns)


def _by_tasks(items: Sequence[T], work: Callable[[T], Iterator[dict[str, np.ndarray]]], scale: IngestScale) -> Dataset:
    """The data set of all blocks of work(item): how many tasks at once, and what each needs of a node."""
    return ray.data.read_datasource(
        EachItem(items, work),
        override_num_blocks=len(items),
        num_cpus=scale.cpus_per_task,
        resources=dict(scale.resources),
        compute=ray.data.TaskPoolStrategy(size=min(scale.tasks, len(items))),
    )


def _ordered(dataset: Dataset) -> Dataset:
    """Blocks in the order of their rows, whichever task ends first; and no bars or stall limits of Ray Data's own."""
    context = dataset.context
    pause_between_rounds(context)
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES  # a block that a task hands on stays one
    return dataset


def _read_window(reader: PlannedReader, worker: int, workers: int, window: range) -> Iterator[dict[str, np.ndarray]]:
    """The rows of one window, block by block."""
    keep_freed_memory()
    yield from reader.blocks(window, worker, workers)


def _batch(columns: dict[str, np.ndarray]) -> Batch:
    named = {name: columns.pop(name) for name in (POSITIONS, KEYS, SUBSTITUTED)}
    return Batch(named[POSITIONS], columns, named[KEYS], named[SUBSTITUTED])


def _results_of(work: Callable[[T], bytes], item: T) -> Iterator[dict[str, np.ndarray]]:
    yield {name: np.array([value], object) for name, value in _outcome(work, item).items()}


class _Outcome(TypedDict):
    """A result, or the class and the message of the error that came in its place."""

    result: bytes
    error: str
    message: str


class _Pooled(Generic[T]):
    """An actor of `each_with`."""

    def __init__(self, worker: Callable[[], Callable[[T], bytes]], items: list[T]) -> None:
        self._items = items
        try:
            self._work = worker()
        except errors.RayographError as error:  # an actor that cannot start would be started again and again
            self._work = partial(_refused, error)

    def __call__(self, row: Mapping[str, SupportsIndex]) -> _Outcome:
        return _outcome(self._work, self._items[row["id"]])


def _refused(error: errors.RayographError, item: object) -> bytes:
    raise error


def _outcome(work: Callable[[T], bytes], item: T) -> _Outcome:
    """The result, or the user's own error as a value: raised in a task it would come back wrapped, after retries."""
    try:
        return {"result": work(item), "error": "", "message": ""}
    except errors.RayographError as error:
        return {"result": b"", "error": type(error).__name__, "message": str(error)}


def _results(dataset: Dataset) -> Iterator[bytes]:
    for row in _ordered(dataset).iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        yield row["result"]
