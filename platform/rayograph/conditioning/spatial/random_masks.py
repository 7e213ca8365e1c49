"""Random holes to fill, as the paper draws them for inpainting: boxes, and strokes of a thick brush (app. E.2.3).

Shapes: s side of a square.
"""

import math
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

Masks = Literal["boxes", "strokes", "mixed"]

MOST_BOXES, MOST_STROKES, MOST_TURNS = 4, 4, 8
BOX_SIDES, BRUSHES, STEPS = (0.1, 0.5), (0.06, 0.2), (0.1, 0.4)
"""In sides of the image: of a box, a brush's width, and a stroke's way from one turn to the next."""


def random_mask(side: int, masks: Masks, rng: np.random.Generator) -> np.ndarray:
    """(side, side) uint8: 1 in the hole, 0 elsewhere; there is some of both, unless the image is one pixel."""
    drawing = Image.new("L", (side, side))
    brush = ImageDraw.Draw(drawing)
    boxes = rng.random() < 0.5
    if masks == "boxes" or (masks == "mixed" and boxes):
        _boxes(brush, side, rng)
    else:
        _strokes(brush, side, rng)
    found = np.asarray(drawing).copy()
    if found.all() and side > 1:
        found[0] = 0
    if not found.any():
        found[side // 2, side // 2] = 1
    return found


def _boxes(brush: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    for _ in range(1 + int(rng.random() * MOST_BOXES)):
        width, height = (max(1, round(side * (BOX_SIDES[0] + np.ptp(BOX_SIDES) * rng.random()))) for _ in range(2))
        left, top = int(rng.random() * (side - width + 1)), int(rng.random() * (side - height + 1))
        brush.rectangle((left, top, left + width - 1, top + height - 1), fill=1)


def _strokes(brush: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Each goes on from turn to turn, about as it went before, with a round end and round corners."""
    for _ in range(1 + int(rng.random() * MOST_STROKES)):
        width = max(1, round(side * (BRUSHES[0] + np.ptp(BRUSHES) * rng.random())))
        x, y, angle = side * rng.random(), side * rng.random(), 2 * math.pi * rng.random()
        for _ in range(1 + int(rng.random() * MOST_TURNS)):
            angle += math.pi * (rng.random() - 0.5)
            way = side * (STEPS[0] + np.ptp(STEPS) * rng.random())
            to_x = min(max(x + way * math.cos(angle), 0), side - 1)
            to_y = min(max(y + way * math.sin(angle), 0), side - 1)
            brush.line((x, y, to_x, to_y), fill=1, width=width)
            brush.ellipse((to_x - width / 2, to_y - width / 2, to_x + width / 2, to_y + width / 2), fill=1)
            x, y = to_x, to_y
