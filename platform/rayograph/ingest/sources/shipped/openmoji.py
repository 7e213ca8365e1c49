"""OpenMoji's drawings as a source: image, caption, map of layers, and perhaps a class."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rayograph.config import OpenMoji
from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.shipped.combinations import unseen_combinations
from rayograph.ingest.sources.shipped.openmoji_files import (
    MAP_LABELS,
    Drawing,
    drawings_of,
    layer_map,
    origin,
    packages,
    rendered,
)
from rayograph.ingest.sources.source import Findings, Row, Task
from rayograph.runs.digests import sha256
from rayograph.shards.pixels.decode import to_png


class OpenMojiDrawings:
    """Rendered one by one, in the order of their keys' hashes. Keys are hexcodes."""

    unit = "images"

    def __init__(self, declared: OpenMoji) -> None:
        """Raises ConfigError where a package is missing, DataError for unknown groups and too few combinations."""
        self._declared, self._drawings = declared, drawings_of(declared.groups)
        self.class_names = sorted({name for name in map(self._class, self._drawings) if name is not None})
        held_out = None
        if declared.unseen_combinations:
            captions = [drawing.caption for drawing in self._drawings]
            held_out = unseen_combinations(captions, declared.unseen_combinations, declared.seed)
        names = pa.array([drawing.hexcode for drawing in self._drawings], pa.large_string())
        self._listing = Listing.of(names, None, str, held_out)
        decided = b"" if held_out is None else np.packbits(held_out).tobytes()
        self.fingerprint = sha256(f"{self._listing.fingerprint} {packages()} ".encode() + decided)[:16]
        self.findings = Findings(notes=tuple(self._notes(held_out)), facts=origin() | {"map_labels": list(MAP_LABELS)})

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row]:
        split = self._listing.split(task)
        for number in self._listing.rows(task):
            yield self._row(self._drawings[number], split)

    def _row(self, drawing: Drawing, split: str | None) -> Row:
        svg, size, name = drawing.svg, self._declared.size, self._class(drawing)
        return Row(
            key=drawing.hexcode,
            place=f"OpenMoji {drawing.hexcode}",
            image=rendered(svg, size),
            label=None if name is None else self.class_names.index(name),
            caption=drawing.caption,
            map=to_png(layer_map(svg, size)),
            metadata={"hexcode": drawing.hexcode, "group": drawing.group, "subgroup": drawing.subgroup},
            split=split,
        )

    def _class(self, drawing: Drawing) -> str | None:
        match self._declared.classes:
            case "group":
                return drawing.group
            case "subgroup":
                return drawing.subgroup
        return None

    def _notes(self, held_out: np.ndarray | None) -> Iterator[str]:
        yield f"{len(self._drawings):,} drawings of OpenMoji (CC BY-SA 4.0), each with its name as caption"
        if held_out is not None:
            yield (
                f"{int(held_out.sum()):,} are held out, whose words are all seen in other captions, but not together "
                "(unseen_combinations; held_out_fraction has no say)"
            )
