"""Classes as sources write them, to numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rayograph.errors import DataError

MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Labels:
    """`names` in the order of their numbers; empty where labels are numbers without names."""

    names: tuple[str, ...] = ()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def number(self, label: Any, where: str) -> int:
        """Raises DataError naming the sample for a label that is no class."""
        if isinstance(label, bytes):
            label = label.decode(errors="replace").strip()
        if isinstance(label, str):
            if label in self._numbers:
                return self._numbers[label]
            if not (label.isascii() and label.isdecimal()):
                known = f"one of {len(self.names)} class names" if self.names else "a class's number (class_names)"
                raise DataError(f"{where}: expected {known}, got {label[:80]!r}")
            label = int(label)
        most = len(self.names) or MOST_CLASSES
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < most:
            raise DataError(f'{where}: expected a class below {most}, got {label!r} (columns.label="" packs without)')
        return label
