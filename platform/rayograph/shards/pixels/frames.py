"""Which part of an image is taken, and at what size: one geometry for its pixels, its masks and its boxes.

Shapes: w h of the upright source, n boxes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """The rectangle (left, top, width, height) of a source, in its pixels, shown at `size` (w, h), perhaps mirrored."""

    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]
    flip: bool = False

    def shrunk(self, divisor: int) -> "Frame":
        """The same part of the source decoded at 1/divisor of its size, to the nearest pixel."""
        if divisor == 1:
            return self
        left, top = round(self.left / divisor), round(self.top / divisor)
        right, bottom = round((self.left + self.width) / divisor), round((self.top + self.height) / divisor)
        return Frame(left, top, max(1, right - left), max(1, bottom - top), self.size, self.flip)

    def stored(self, orientation: int, width: int, height: int) -> "Frame":
        """The same part of the source as it lies in its file, (w, h) there, before it is turned upright; not mirrored.

        100×60, upright 60×100 by a quarter to the right (6): the top left 10×20 is the bottom left 20×10 in the file.
        """
        upright_width, upright_height = (height, width) if orientation >= 5 else (width, height)
        left, top, size = self.left, self.top, self.size
        if orientation in (2, 3, 6, 7):
            left = upright_width - left - self.width
        if orientation in (3, 4, 7, 8):
            top = upright_height - top - self.height
        if orientation >= 5:
            return Frame(top, left, self.height, self.width, size[::-1])
        return Frame(left, top, self.width, self.height, size)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) x, y, w, h in source pixels → the same in fractions of the frame, cut off at its edges.

        A box outside has no width or no height.
        """
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float64)
        corners -= (self.left, self.top, self.left, self.top)
        corners /= (self.width, self.height, self.width, self.height)
        corners = corners.clip(0, 1)
        if self.flip:
            corners[:, [0, 2]] = 1 - corners[:, [2, 0]]
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def whole(width: int, height: int) -> Frame:
    """Everything, as it is."""
    return Frame(0, 0, width, height, (width, height))


def shorter_side(width: int, height: int, size: int) -> Frame:
    """Everything, with the shorter side scaled to `size`."""
    scale = size / min(width, height)
    return Frame(0, 0, width, height, (max(size, round(width * scale)), max(size, round(height * scale))))


def middle_square(width: int, height: int, size: int) -> Frame:
    """The largest square in the middle."""
    side = min(width, height)
    return Frame((width - side) // 2, (height - side) // 2, side, side, (size, size))


def random_square(
    width: int, height: int, size: int, draws: np.ndarray, smallest: float, flip_probability: float
) -> Frame:
    """A square of `smallest` to 1 times the shorter side, anywhere. `draws` (4,) in [0, 1): side, left, top, flip."""
    shorter = min(width, height)
    side = max(1, round(shorter * (smallest + (1 - smallest) * float(draws[0]))))
    left, top = int(float(draws[1]) * (width - side + 1)), int(float(draws[2]) * (height - side + 1))
    return Frame(left, top, side, side, (size, size), bool(draws[3] < flip_probability))
