"""The last step before a training: batches made ready by a thread while the one before is learned from."""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch

from rayograph.shards.batch import Batch

AHEAD = 2
"""Batches that wait; each is memory of its own."""


class Staged(Iterator[Batch]):
    """The same batches, taken ahead by a thread from now on; in page-locked memory, which a GPU fetches by itself."""

    def __init__(self, batches: Iterator[Batch], pinned: bool = False) -> None:
        self._waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches, pinned), name="staging", daemon=True)
        self._thread.start()

    def __next__(self) -> Batch:
        item = self._waiting.get()
        if isinstance(item, Batch):
            return item
        self._waiting.put(item)  # for whoever asks once more
        if isinstance(item, BaseException):
            raise item
        raise StopIteration

    def close(self) -> None:
        """Lets the thread end, whatever it still has."""
        self._closed.set()
        with suppress(queue.Empty):  # it may be waiting for room
            while True:
                self._waiting.get_nowait()

    def _fill(self, batches: Iterator[Batch], pinned: bool) -> None:
        try:
            for batch in batches:
                self._waiting.put(_pinned(batch) if pinned else batch)
                if self._closed.is_set():
                    return
            self._waiting.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the batches are used
            self._waiting.put(error)


def _pinned(batch: Batch) -> Batch:
    columns = {name: _page_locked(column) for name, column in batch.columns.items()}
    return Batch(batch.positions, columns, batch.keys, batch.substituted)


def _page_locked(column: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.require(column, requirements=["C", "W"])).pin_memory().numpy()
