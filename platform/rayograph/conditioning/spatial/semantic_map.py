"""The semantic map of a sample: a label a pixel, as channels beside the latents (Rombach et al. 2022, sec. 4.3.2).

Shapes: b batch, h w pixels of the map, k channels, y x latent grid.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch.nn.functional as F
from torch import Tensor, nn

from rayograph.conditioning.form import FormField
from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.beside import NullChannels
from rayograph.conditioning.spatial.image_columns import check_images, png_of, same_shape, sizes_of
from rayograph.config.job.conditions.spatial import SemanticMap
from rayograph.errors import DataError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.pixels.labels import read_labels, shown_labels
from rayograph.shards.sample import Sample

MAP = "map"


class SemanticMapConditioner(Conditioner):
    """Reads a member of a sample, and of a request the bytes of an image file."""

    takes = "a semantic map"
    request_columns: Mapping[str, pa.DataType] = {MAP: pa.binary()}
    depends_on_view = needs_examples = True

    def __init__(self, declared: SemanticMap, facts: Mapping[str, object] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared: SemanticMap = declared
        self.members = (declared.member,)

    def decode(self, sample: Sample) -> Arrays:
        labels = self._labels(self._member(sample), sample.key)
        return {MAP: labels}

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        labels = self._labels(self._member(sample), sample.key)
        height, width = labels.shape
        side = seen.grid << self.declared.halvings
        return {MAP: np.ascontiguousarray(shown_labels(labels, seen.part(width, height, side, sample.key)))}

    def form(self) -> tuple[FormField, ...]:
        return (FormField(MAP, "map", count=self.declared.num_labels),)

    def validate(self, rows: pa.Table) -> pa.Table:
        """Every map is decoded, and each of its labels known."""
        check_images(MAP, "a label map", rows[MAP], self._labels)
        return pa.table({MAP: rows[MAP]})

    def validate_sizes(self, rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> None:
        same_shape(MAP, rows[MAP], sizes_of(rows[MAP]), heights, widths)

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        height, width = (side << self.declared.halvings for side in canvas.grid)
        return {MAP: np.stack([self._shown(value.as_py(), height, width) for value in rows[MAP]])}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """One label everywhere; labels take turns."""
        count = self.declared.num_labels
        maps = [png_of(np.full((1, 1), number % count, np.uint8 if count <= 256 else np.uint16)) for number in numbers]
        return pa.table({MAP: pa.array(maps, pa.binary())})

    def members_of(self, row: Mapping[str, object]) -> dict[str, bytes]:
        given = row.get(MAP)
        return {self.declared.member: given} if isinstance(given, bytes) else {}

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(concat=self.declared.channels or self.declared.num_labels)

    def network(self, spec: DenoiserSpec) -> "SemanticMapNetwork":
        return SemanticMapNetwork(self.declared)

    def _member(self, sample: Sample) -> bytes:
        member = self.declared.member
        if member not in sample.members:
            raise DataError(f"{sample.key}: expected a semantic map ({member}), got {', '.join(sample.members)}")
        return sample.members[member]

    def _shown(self, data: bytes, height: int, width: int) -> np.ndarray:
        labels = self._labels(data, MAP)
        return shown_labels(labels, Frame(0, 0, labels.shape[1], labels.shape[0], (width, height)))

    def _labels(self, data: bytes, where: str) -> np.ndarray:
        """(h, w), the void label as -1. Raises DataError naming the sample and the first label that is unknown."""
        labels = read_labels(data, where).astype(np.int32)
        count, void = self.declared.num_labels, self.declared.void_label
        nothing = labels == void if void is not None else np.zeros(labels.shape, bool)
        wrong = (labels >= count) & ~nothing
        if wrong.any():
            further = "" if void is None else f", or {void} for none"
            raise DataError(f"{where}: expected labels from 0 to {count - 1}{further}, got {labels[wrong][0]}")
        return np.where(nothing, -1, labels).astype(np.int16 if count < 1 << 15 else np.int32)


class SemanticMapNetwork(ConditionerNetwork):
    """One channel a label, halved and projected as declared."""

    def __init__(self, declared: SemanticMap) -> None:
        super().__init__()
        self._labels, self._halvings = declared.num_labels, declared.halvings
        channels = declared.channels or declared.num_labels
        self.projection = nn.Conv2d(declared.num_labels, channels, 1, bias=False) if declared.channels else None
        self.nothing = NullChannels(channels, declared.null == "learned")

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        numbers = columns[MAP].long()
        channels = F.one_hot(numbers + 1, self._labels + 1)[..., 1:]  # of the void label, -1, none
        maps = channels.permute(0, 3, 1, 2).to(self.nothing.dtype)
        for _ in range(self._halvings):
            maps = F.interpolate(maps, scale_factor=0.5, mode="bilinear", align_corners=False)
        return Conditioning(concat=maps if self.projection is None else self.projection(maps))

    def null(self, count: int) -> Conditioning:
        return Conditioning(concat=self.nothing(count))
