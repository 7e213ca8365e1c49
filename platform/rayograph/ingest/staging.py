"""The last step before a training: batches made ready by a thread while the one before is learned from."""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from rayograph.shards.batch import Batch

AHEAD = 2
"""Batches that wait; each is memory of its own."""

_END = object()


def staged(batches: Iterator[Batch], pinned: bool) -> Iterator[Batch]:
    """The same batches, taken ahead by a thread; copied to page-locked memory, from which a GPU fetches by itself."""
    waiting: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(batches, waiting, stop, pinned), name="staging", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        with suppress(queue.Empty):  # a thread that waits to put sees the stop after it has put
            while True:
                waiting.get_nowait()


def _fill(batches: Iterator[Batch], waiting: "queue.Queue[Any]", stop: threading.Event, pinned: bool) -> None:
    try:
        for batch in batches:
            waiting.put(_pinned(batch) if pinned else batch)
            if stop.is_set():
                return
        waiting.put(_END)
    except BaseException as error:  # noqa: BLE001 - raised again where the batches are used
        waiting.put(error)


def _pinned(batch: Batch) -> Batch:
    columns = {name: _page_locked(column) for name, column in batch.columns.items()}
    return Batch(batch.positions, columns, batch.keys, batch.substituted)


def _page_locked(column: np.ndarray) -> np.ndarray:
    return torch.from_numpy(np.require(column, requirements=["C", "W"])).pin_memory().numpy()
