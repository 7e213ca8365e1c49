"""A Ray Data source with one read task for each of a list of items: what it reads is any function of the item.

A source, and no map over numbers: each number would be a task of its own before, which waits for a whole free CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataContext, Datasource
from ray.data.block import Block, BlockAccessor, BlockMetadata
from ray.data.datasource import ReadTask

T = TypeVar("T")
_UNKNOWN = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)


class EachItem(Datasource):
    """work(item) for every item: the columns of one block after the other."""

    def __init__(self, items: Sequence[T], work: Callable[[T], Iterator[dict[str, np.ndarray] | pa.Table]]) -> None:
        super().__init__()
        self._items = items
        self._work = ray.put(work)  # once: it may know of every file there is, and a copy in each task would add up

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """One for each item, whatever is asked for."""
        return [ReadTask(partial(_blocks, self._work, item), _UNKNOWN) for item in self._items]

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows."""
        return None


def _blocks(work: ray.ObjectRef, item: T) -> Iterator[Block]:
    for columns in ray.get(work)(item):
        yield BlockAccessor.batch_to_block(columns)
