"""Rows of a table taken some at once, in their order; and what is refused before any is read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rayograph.errors import DataError

S = TypeVar("S")
T = TypeVar("T")

READS_AT_ONCE = 16
"""An object store answers late, but to many at once."""


def refuse_the_web(name: str, where: str) -> None:
    """Raises DataError for an image that would have to be fetched from the web."""
    if name.lower().startswith(("http://", "https://")):
        raise DataError(
            f"{where}: expected images or URIs of a store, got {name[:200]}: the web is not crawled: download with "
            "img2dataset first, and pack the shards it writes"
        )


def ahead(work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """work(item) for every item, in order, some at once and none far ahead of the reader."""
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="rows") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * READS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the reader had enough
                future.cancel()
