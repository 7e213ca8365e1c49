"""A bounded memory of what was read last, for threads to share."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The `most` values used last. Two threads that miss at once both make the value; either one stays."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """None for what is not, or no longer, remembered."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: K, value: V) -> V:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value

    def once(self, key: K, make: Callable[[], V]) -> V:
        """The remembered value, or a new one; what raises is not remembered."""
        found = self.get(key)
        return self.put(key, make()) if found is None else found

    def forget(self, key: K) -> None:
        with self._lock:
            self._kept.pop(key, None)
