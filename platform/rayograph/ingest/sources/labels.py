"""Classes as sources write them, to numbers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rayograph.errors import DataError

MOST_CLASSES = 1_000_000

NO_VALUE = frozenset(("", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "n/a"))
"""How tables of text write that there is none, where the other values are numbers."""

_NUMBER = re.compile(r"-?[0-9]{1,4000}(?:\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Labels:
    """`names` in the order of their numbers; empty where labels are numbers without names."""

    names: tuple[str, ...] = ()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def number(self, label: object, where: str) -> int:
        """Raises DataError naming the sample for a label that is no class."""
        if isinstance(label, bytes):
            label = label.decode(errors="replace").strip()
        if isinstance(label, str):
            found = self._numbers.get(label, self._numbers.get(label.strip()))
            if found is not None:
                return found
            number = as_number(label)
            if number is None:
                known = f"one of {len(self.names)} class names" if self.names else "a class's number (class_names)"
                got = repr(label[:80]) if label.strip() else "an empty label"
                raise DataError(f"{where}: expected {known}, got {got}")
            label = number
        most = len(self.names) or MOST_CLASSES
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < most:
            raise DataError(
                f'{where}: expected a class below {most}, got {str(label)[:80]} (columns.label="" packs without)'
            )
        return label


def as_number(text: str) -> int | None:
    """The whole number that a text is, also as pandas writes it beside what is missing (1.0); None for other text."""
    text = text.strip()
    return int(text.partition(".")[0]) if _NUMBER.fullmatch(text) else None


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names in the order of their classes: by value where all are whole numbers, or else as text."""
    found = set(names)
    numbers = {name: as_number(name) for name in found}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(found, key=lambda name: (numbers[name], name)))
    return tuple(sorted(found))


def labels_of_texts(texts: Iterable[str]) -> Labels:
    """How a column of text becomes numbers: as the numbers that it holds, or else as names, which are sorted.

    So "2" is class 2 whichever kind of file it stands in.
    """
    names = {text.strip() for text in texts} - {""}
    if all(as_number(name) is not None for name in names - NO_VALUE):
        return Labels()
    return Labels(class_order(names))
