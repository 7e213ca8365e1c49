"""Boxes with labels, as samples and requests say them: corners in fractions of the image, from 0 to 1.

Shapes: n boxes.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayograph.shards.pixels.frames import Frame
from rayograph.shards.sample import Sample

BOXES = "boxes.json"
"""The member of a sample: [{"label": …, "box": [left, top, right, bottom]}, …]."""

PACKED = "json"
"""The member of a packed table's row, which may have boxes as the table did."""

EXPECTED = 'a list of {"label": …, "box": [left, top, right, bottom]}'


class WrongBoxes(ValueError):
    """What was expected of boxes, and what came."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {got!r}")
        self.expected, self.got = expected, got


@dataclass(frozen=True)
class LabelledBoxes:
    """`places` (n, 4) are left, top, right and bottom."""

    labels: tuple[str | int, ...]
    places: np.ndarray

    @staticmethod
    def read(said: Any) -> "LabelledBoxes":
        """Raises WrongBoxes for the first that is none, or lies outside."""
        if not isinstance(said, list):
            raise WrongBoxes(EXPECTED, _short(said))
        labels, places = [], []
        for number, one in enumerate(said):
            if not isinstance(one, dict) or one.keys() != {"label", "box"}:
                raise WrongBoxes(EXPECTED, _short(one))
            label, box = one["label"], one["box"]
            if isinstance(label, bool) or not isinstance(label, str | int):
                raise WrongBoxes(f"a label's name or number in box {number}", _short(label))
            if not _is_box(box):
                corners = "left < right and top < bottom from 0 to 1"
                raise WrongBoxes(f"[left, top, right, bottom] with {corners} in box {number}", _short(box))
            labels.append(label)
            places.append([float(edge) for edge in box])
        return LabelledBoxes(tuple(labels), np.array(places, np.float64).reshape(-1, 4))

    @staticmethod
    def packed(said: Any) -> "LabelledBoxes | None":
        """Of a packed table's row, whose JSON has "boxes" of left, top, width and height, and "labels"; or none."""
        if not isinstance(said, dict) or "boxes" not in said or len(said.get("labels", ())) != len(said["boxes"]):
            return None
        places = np.array(said["boxes"], np.float64).reshape(-1, 4)
        return LabelledBoxes(tuple(said["labels"]), np.concatenate([places[:, :2], places[:, :2] + places[:, 2:]], 1))

    def within(self, frame: Frame, source: tuple[int, int], smallest_share: float = 0.0) -> "LabelledBoxes":
        """In fractions of what is seen of an image of `source` (w, h), without those outside.

        Nor those of which no more than `smallest_share` of their area is seen.
        """
        scale = np.array([*source, *source], np.float64)
        corners = self.places * scale
        sizes = corners[:, 2:] - corners[:, :2]
        found = frame.boxes(np.concatenate([corners[:, :2], sizes], axis=1))
        seen = found[:, 2:] * (frame.width, frame.height)
        kept = np.flatnonzero(
            (found[:, 2:] > 0).all(axis=1) & (seen.prod(axis=1) > smallest_share * sizes.prod(axis=1))
        )
        places = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)[kept]
        return LabelledBoxes(tuple(self.labels[number] for number in kept.tolist()), places)

    def largest(self, count: int) -> "LabelledBoxes":
        """At most so many, in their order."""
        if len(self.labels) <= count:
            return self
        areas = (self.places[:, 2:] - self.places[:, :2]).prod(axis=1)
        kept = np.sort(np.argsort(-areas, kind="stable")[:count])
        return LabelledBoxes(tuple(self.labels[number] for number in kept.tolist()), self.places[kept])

    def to_json(self) -> bytes:
        """The same bytes for the same boxes."""
        said = [
            {"label": label, "box": [round(float(edge), 6) for edge in place]}
            for label, place in zip(self.labels, self.places, strict=True)
        ]
        return json.dumps(said, ensure_ascii=False).encode()


def from_json(given: Any) -> Any:
    """Return what a text says; anything else as it is. Raises WrongBoxes for what is no JSON."""
    if not isinstance(given, str | bytes):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise WrongBoxes(EXPECTED, given) from error


def boxes_of(sample: Sample) -> LabelledBoxes | None:
    """Return a sample's boxes, in a member of their own or as they were packed; None where none can be read."""
    try:
        if BOXES in sample.members:
            return LabelledBoxes.read(from_json(sample.members[BOXES]))
        return LabelledBoxes.packed(from_json(sample.members.get(PACKED, b"null")))
    except WrongBoxes:
        return None


def box_tokens(numbers: Sequence[int], places: np.ndarray, most: int, vocabulary: int) -> np.ndarray:
    """(3 × most + 2,) int64: label, upper left and lower right corner of each, nothing, and what is seen: all of it.

    A corner (0.5, 1) on a grid of 90×90 is round(0.5 × 89) + 90 × round(1 × 89) = 44 + 8010.
    """
    side, nothing = math.isqrt(vocabulary - 1), vocabulary - 1
    tokens = np.full(3 * most + 2, nothing, np.int64)
    corners = np.rint(places.reshape(-1, 2, 2) * (side - 1)).astype(np.int64)
    objects = tokens[: 3 * len(numbers)].reshape(-1, 3)
    objects[:, 0] = numbers
    objects[:, 1:] = corners[..., 0] + side * corners[..., 1]
    tokens[-2:] = 0, side * side - 1
    return tokens


def _is_box(box: Any) -> bool:
    if not isinstance(box, list | tuple) or len(box) != 4:
        return False
    if any(isinstance(edge, bool) or not isinstance(edge, int | float) or not 0 <= edge <= 1 for edge in box):
        return False
    return bool(box[0] < box[2] and box[1] < box[3])


def _short(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= 80 else f"{text[:80]}…"
