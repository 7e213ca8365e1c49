"""The image made smaller, as channels beside the latents: super-resolution (Rombach et al. 2022, sec. 4.4).

Shapes: n rows, b batch, y x latent grid.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.beside import NullChannels
from rayograph.conditioning.spatial.degradation import degraded, made_smaller
from rayograph.conditioning.spatial.image_columns import check_images, pixels_of, png_of, same_shape, sizes_of
from rayograph.config.job.conditions.spatial import LowResolution
from rayograph.errors import DataError
from rayograph.models.autoencoder import to_images
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import Sample

IMAGE = "image"
CHANNELS = 3


class LowResolutionConditioner(Conditioner):
    """Makes the image of a sample smaller; of a request it reads the bytes of a small image's file."""

    takes = "a low-resolution image"
    members = ()
    request_columns: Mapping[str, pa.DataType] = {IMAGE: pa.binary()}
    depends_on_view = needs_examples = True

    def __init__(self, declared: LowResolution, facts: Mapping[str, object] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared: LowResolution = declared

    def decode(self, sample: Sample) -> Arrays:
        raise DataError(f"{sample.key}: expected an image as a training sees it, got its members alone")

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        if seen.pixels is None:
            raise DataError(f"{sample.key}: expected an image to make smaller, got its latents")
        if self.declared.degradation == "blind":
            small = degraded(seen.pixels, self.declared, seen.rng(RngStream.DEGRADATION))
        else:
            small = made_smaller(seen.pixels, self.declared.factor)
        return {IMAGE: self._on_grid(small, (seen.grid, seen.grid))}

    def validate(self, rows: pa.Table) -> pa.Table:
        """Every image is decoded."""
        check_images(IMAGE, "an image", rows[IMAGE], render)
        return pa.table({IMAGE: rows[IMAGE]})

    def validate_sizes(self, rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> None:
        same_shape(IMAGE, rows[IMAGE], sizes_of(rows[IMAGE]), heights, widths)

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        height, width = max(1, canvas.height // self.declared.factor), max(1, canvas.width // self.declared.factor)
        small = [pixels_of(value.as_py(), IMAGE, height, width) for value in rows[IMAGE]]
        return {IMAGE: np.stack([self._on_grid(pixels, canvas.grid) for pixels in small])}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Grey."""
        return pa.table({IMAGE: pa.array([png_of(np.full((1, 1, 3), 128, np.uint8))] * len(numbers), pa.binary())})

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(concat=CHANNELS)

    def network(self, spec: DenoiserSpec) -> "LowResolutionNetwork":
        return LowResolutionNetwork(self.declared)

    def _on_grid(self, pixels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """The small image with a pixel a cell of the latents."""
        if pixels.shape[:2] == grid:
            return pixels
        by = {"nearest": Resampling.NEAREST, "bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC}
        return np.asarray(Image.fromarray(pixels).resize(grid[::-1], by[self.declared.resize]))


class LowResolutionNetwork(ConditionerNetwork):
    """Pixels in [-1, 1]."""

    def __init__(self, declared: LowResolution) -> None:
        super().__init__()
        self.nothing = NullChannels(CHANNELS, declared.null == "learned")

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning(concat=to_images(columns[IMAGE]).to(self.nothing.dtype))

    def null(self, count: int) -> Conditioning:
        return Conditioning(concat=self.nothing(count))
