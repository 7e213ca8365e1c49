"""Scenes composed of OpenMoji's drawings: an image, its boxes with labels, and a sentence that says what lies where.

All that is drawn by chance is a fixed function of seed, scene and what it is drawn for.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from PIL import Image

from rayograph.config import Scenes
from rayograph.errors import DataError
from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.shipped.openmoji_files import Drawing, drawings_of, opacity, origin, packages, rendered
from rayograph.ingest.sources.source import Findings, Row, Task
from rayograph.runs.digests import sha256
from rayograph.shards.sample import key_fraction

BOXES = "boxes.json"

_TRIES = 200
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


@dataclass(frozen=True)
class Placed:
    """A drawing of a scene: `left`, `top`, `right`, `bottom` hold what is seen of it, in pixels."""

    drawing: Drawing
    pixels: Image.Image
    left: int
    top: int

    @property
    def right(self) -> int:
        """Behind its last column."""
        return self.left + self.pixels.width

    @property
    def bottom(self) -> int:
        """Behind its last row."""
        return self.top + self.pixels.height

    def apart_from(self, other: "Placed") -> bool:
        """Whether their boxes share no pixel."""
        beside = self.right <= other.left or other.right <= self.left
        return beside or self.bottom <= other.top or other.bottom <= self.top


class ComposedScenes:
    """Composed one by one, in the order of their keys' hashes."""

    unit = "images"
    class_names: list[str] = []  # noqa: RUF012 - a scene is of no class

    def __init__(self, declared: Scenes) -> None:
        """Raises ConfigError where a package is missing, DataError for groups of too few drawings."""
        self._declared, self._drawings = declared, drawings_of(declared.groups)
        if len(self._drawings) < declared.most:
            raise DataError(f"groups: expected at least {declared.most} drawings, got {len(self._drawings)}")
        names = pa.array([f"scene-{number:07d}" for number in range(declared.scenes)], pa.large_string())
        self._listing = Listing.of(names, None, str)
        drawn = " ".join(drawing.hexcode for drawing in self._drawings)
        self.fingerprint = sha256(f"{self._listing.fingerprint} {packages()} {drawn} {declared!r}".encode())[:16]
        what = f"scenes composed of {len(self._drawings):,} drawings, placed at random: nobody drew them so"
        labels = sorted({drawing.caption for drawing in self._drawings})
        self.findings = Findings(notes=(what,), facts=origin() | {"composed": what, "box_labels": labels})

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row]:
        for number in self._listing.rows(task):
            key = self._listing.keys[number]
            placed = composed(self._declared, self._drawings, number)
            yield Row(
                key=key,
                place=key,
                image=painted(placed, self._declared.size),
                caption=sentence(placed, self._declared.size),
                members={BOXES: boxes_member(placed, self._declared.size)},
                metadata={"drawings": [one.drawing.hexcode for one in placed]},
            )


def composed(declared: Scenes, drawings: Sequence[Drawing], number: int) -> list[Placed]:
    """The drawings of scene `number`, all different, none of whose boxes overlap."""
    for attempt in range(_TRIES):
        chance = _Chance(f"{declared.seed} {number} {attempt}")
        wanted = declared.fewest + chance.below(declared.most - declared.fewest + 1, "count")
        placed: list[Placed] = []
        chosen = sorted(range(len(drawings)), key=lambda at, chance=chance: chance.share(f"drawing {at}"))  # type: ignore[misc]
        for drawing in (drawings[at] for at in chosen[:wanted]):
            one = _placed(declared, drawing, placed, chance)
            if one is not None:
                placed.append(one)
        if len(placed) >= declared.fewest:
            return placed
    raise DataError(f"scene {number}: expected room for {declared.fewest} drawings, got none (smallest, largest)")


def painted(placed: Sequence[Placed], size: int) -> bytes:
    """A PNG, transparent around the drawings."""
    canvas = Image.new("RGBA", (size, size))
    for one in placed:
        canvas.paste(one.pixels, (one.left, one.top))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def boxes_member(placed: Sequence[Placed], size: int) -> bytes:
    """[{"label": …, "box": [x0, y0, x1, y1]}, …] in fractions of the image."""
    found = [
        {
            "label": one.drawing.caption,
            "box": [round(edge / size, 6) for edge in (one.left, one.top, one.right, one.bottom)],
        }
        for one in placed
    ]
    return json.dumps(found, ensure_ascii=False).encode()


def sentence(placed: Sequence[Placed], size: int) -> str:
    """What lies where, by thirds: "cat face at the top left, red apple in the center and lion at the bottom"."""
    parts = [f"{one.drawing.caption} {_somewhere(one, size)}" for one in placed]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _somewhere(one: Placed, size: int) -> str:
    """A middle at (.2, .5) is "at the middle left", one at (.5, .5) "in the center"."""
    row = _ROWS[min(2, (one.top + one.bottom) * 3 // (2 * size))]
    column = _COLUMNS[min(2, (one.left + one.right) * 3 // (2 * size))]
    return "in the center" if (row, column) == ("middle", "center") else f"at the {row} {column}"


def _placed(declared: Scenes, drawing: Drawing, others: Sequence[Placed], chance: "_Chance") -> Placed | None:
    """A drawing at some size where there is room; None where none was found."""
    for attempt in range(_TRIES):
        what = f"{drawing.hexcode} {attempt}"
        share = declared.smallest + (declared.largest - declared.smallest) * chance.share(f"side {what}")
        pixels = _seen(drawing, max(1, round(declared.size * share)))
        left = chance.below(declared.size - pixels.width + 1, f"left {what}")
        top = chance.below(declared.size - pixels.height + 1, f"top {what}")
        one = Placed(drawing, pixels, left, top)
        if all(one.apart_from(other) for other in others):
            return one
    return None


@lru_cache(maxsize=4096)
def _seen(drawing: Drawing, side: int) -> Image.Image:
    """What is seen of a drawing, without the empty edges around it."""
    png = rendered(drawing.svg, side)
    rows, columns = np.nonzero(opacity(png))
    with Image.open(io.BytesIO(png)) as image:
        edges = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        return image.convert("RGBA").crop(edges)


@dataclass(frozen=True)
class _Chance:
    """Numbers that depend on names alone: no generator's version can change them."""

    name: str

    def share(self, what: str) -> float:
        """In [0, 1)."""
        return key_fraction(f"{self.name} {what}")

    def below(self, count: int, what: str) -> int:
        """0 … count - 1."""
        return int(self.share(what) * count)
