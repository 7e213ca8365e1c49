"""The image with a hole: what is left of it as latents, and the hole, beside the latents (the paper's sec. 4.5).

Shapes: n rows, b batch, h w pixels, z latent channels, y x latent grid.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from rayograph.conditioning.form import FormField
from rayograph.conditioning.network import ConditionerNetwork, Encode
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.beside import NullChannels
from rayograph.conditioning.spatial.image_columns import check_images, pixels_of, png_of, same_shape, sizes_of
from rayograph.conditioning.spatial.random_masks import random_mask
from rayograph.config.job.conditions.spatial import MaskedImage
from rayograph.errors import ConfigError, DataError
from rayograph.models.autoencoder import to_images
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.pixels.decode import render
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.pixels.labels import read_labels, shown_labels
from rayograph.shards.sample import Sample

IMAGE, MASK = "image", "mask"
COMPOSITED = "composited"
"""Beside a request's columns, and so in each image's record: whether the given pixels stand outside of the hole."""


class MaskedImageConditioner(Conditioner):
    """Draws holes in a sample's image, or reads one of its members; of a request it reads two files' bytes."""

    takes = "an image and a mask"
    request_columns: Mapping[str, pa.DataType] = {IMAGE: pa.binary(), MASK: pa.binary()}
    depends_on_view = needs_examples = True

    def __init__(self, declared: MaskedImage, facts: Mapping[str, object] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared: MaskedImage = declared
        self.members = () if declared.member is None else (declared.member,)

    def decode(self, sample: Sample) -> Arrays:
        raise DataError(f"{sample.key}: expected an image as a training sees it, got its members alone")

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        if seen.pixels is None:
            raise DataError(f"{sample.key}: expected an image to make a hole in, got its latents")
        return {IMAGE: seen.pixels, MASK: self._mask(sample, seen)}

    def form(self) -> tuple[FormField, ...]:
        return FormField(IMAGE, "image"), FormField(MASK, "mask")

    def validate(self, rows: pa.Table) -> pa.Table:
        """Every image and every mask is decoded."""
        check_images(IMAGE, "an image", rows[IMAGE], render)
        check_images(MASK, "a mask", rows[MASK], _hole)
        said = pa.array([self.declared.composite] * len(rows))
        return pa.table({IMAGE: rows[IMAGE], MASK: rows[MASK], COMPOSITED: said})

    def validate_sizes(self, rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> None:
        for column in (IMAGE, MASK):
            same_shape(column, rows[column], sizes_of(rows[column]), heights, widths)

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        height, width = canvas.height, canvas.width
        images = [pixels_of(value.as_py(), IMAGE, height, width) for value in rows[IMAGE]]
        holes = [_hole(value.as_py(), MASK) for value in rows[MASK]]
        masks = [shown_labels(hole, Frame(0, 0, hole.shape[1], hole.shape[0], (width, height))) for hole in holes]
        return {IMAGE: np.stack(images), MASK: np.stack(masks)}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """All of it is to be drawn."""
        grey, hole = png_of(np.full((1, 1, 3), 128, np.uint8)), png_of(np.full((1, 1), 255, np.uint8))
        columns = {IMAGE: [grey] * len(numbers), MASK: [hole] * len(numbers)}
        return pa.table({name: pa.array(values, pa.binary()) for name, values in columns.items()})

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(concat=latents.channels + 1)

    def network(self, spec: DenoiserSpec) -> "MaskedImageNetwork":
        return MaskedImageNetwork(self.declared, spec.in_channels)

    def _mask(self, sample: Sample, seen: Seen) -> np.ndarray:
        """(side, side) uint8."""
        member = self.declared.member
        if member is None:
            return random_mask(seen.side, self.declared.masks, seen.rng(RngStream.MASK))
        if member not in sample.members:
            raise DataError(f"{sample.key}: expected a mask ({member}), got {', '.join(sample.members)}")
        hole = _hole(sample.members[member], sample.key)
        height, width = hole.shape
        return np.ascontiguousarray(shown_labels(hole, seen.part(width, height, seen.side, sample.key)))


class MaskedImageNetwork(ConditionerNetwork):
    """Encodes what is left of the image by the first stage; a cell is in the hole where any of its pixels is."""

    def __init__(self, declared: MaskedImage, latent_channels: int) -> None:
        super().__init__()
        self._composite = declared.composite
        self._encode: Encode | None = None
        self.nothing = NullChannels(latent_channels + 1, declared.null == "learned")

    def use_first_stage(self, encode: Encode) -> None:
        self._encode = encode

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        """Raises ConfigError without a first stage."""
        if self._encode is None:
            raise ConfigError("conditioner: expected the model's first stage to encode masked images, got none")
        hole = columns[MASK][:, None].float()
        with torch.no_grad():
            latents = self._encode(to_images(columns[IMAGE]) * (1 - hole))
        cells = F.adaptive_max_pool2d(hole, latents.shape[2:])
        return Conditioning(concat=torch.cat([latents, 2 * cells - 1], dim=1).to(self.nothing.dtype))

    def null(self, count: int) -> Conditioning:
        return Conditioning(concat=self.nothing(count))

    def finished(self, pixels: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        """With the given image outside of the hole, where it is so declared."""
        if not self._composite:
            return pixels
        hole, given = columns[MASK].to(pixels.device).bool(), columns[IMAGE].to(pixels.device)
        return torch.where(hole[..., None], pixels, given)


def _hole(data: bytes, where: str) -> np.ndarray:
    """(h, w) uint8: 1 where the mask is not 0. Raises DataError naming what is no mask."""
    return (read_labels(data, where, "a mask") > 0).astype(np.uint8)
