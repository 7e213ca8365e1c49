"""An image's embedding by a frozen network, as a vector added to the time embedding.

Shapes: b batch, h w pixels, d features, e width of the time embedding.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rayograph.conditioning.network import ConditionerNetwork, Extract, FindExtractor
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.image_columns import check_images, pixels_of, png_of
from rayograph.config.job.conditions.embedding import ImageEmbedding
from rayograph.errors import ConfigError, DataError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import Sample

IMAGE = "image"


class ImageEmbeddingConditioner(Conditioner):
    """Takes the image of a sample, as it is seen; of a request an image file's bytes."""

    takes = "an image"
    members = ()
    request_columns: Mapping[str, pa.DataType] = {IMAGE: pa.binary()}
    depends_on_view = needs_examples = True

    def __init__(self, declared: ImageEmbedding, facts: Mapping[str, object] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared: ImageEmbedding = declared

    def decode(self, sample: Sample) -> Arrays:
        raise DataError(f"{sample.key}: expected an image as a training sees it, got its members alone")

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        if seen.pixels is None:
            raise DataError(f"{sample.key}: expected an image to embed, got its latents")
        return {IMAGE: seen.pixels}

    def validate(self, rows: pa.Table) -> pa.Table:
        """Every image is decoded."""
        check_images(IMAGE, "an image", rows[IMAGE], render)
        return pa.table({IMAGE: rows[IMAGE]})

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        shown = [pixels_of(value.as_py(), IMAGE, canvas.height, canvas.width) for value in rows[IMAGE]]
        return {IMAGE: np.stack(shown)}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Grey."""
        return pa.table({IMAGE: pa.array([png_of(np.full((1, 1, 3), 128, np.uint8))] * len(numbers), pa.binary())})

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(vector=True)

    def network(self, spec: DenoiserSpec) -> "EmbeddingNetwork":
        return EmbeddingNetwork(self.declared, spec.accepts.vector or 0)


class EmbeddingNetwork(ConditionerNetwork):
    """Features, brought to mean 0 and deviation 1 each by itself, through one layer; one learned vector for none."""

    def __init__(self, declared: ImageEmbedding, width: int) -> None:
        super().__init__()
        self._declared = declared
        self._extract: Extract | None = None
        self.projection = nn.Linear(declared.dimension, width)
        self.nothing = nn.Embedding(1, width)

    def use_extractors(self, find: FindExtractor) -> None:
        """Raises ConfigError for one of another dimension than declared."""
        extractor = find(self._declared.features)
        if extractor.dimension != self._declared.dimension:
            raise ConfigError(
                f"conditioner.dimension: expected {extractor.dimension}, the features' of {extractor.name}, got "
                f"{self._declared.dimension}"
            )
        self._extract = extractor

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        """Raises ConfigError without its extractor."""
        pixels, size = columns[IMAGE], (self._declared.dimension,)
        if pixels.is_meta:
            features = torch.empty(len(pixels), *size, device=pixels.device)
        elif self._extract is None:
            raise ConfigError("conditioner: expected the network of its features, got none")
        else:
            with torch.no_grad():
                features = self._extract(pixels.cpu()).float().to(pixels.device)
        weight = self.projection.weight
        return Conditioning(vector=self.projection(F.layer_norm(features, size).to(weight.dtype)))

    def null(self, count: int) -> Conditioning:
        rows = torch.zeros(count, dtype=torch.int64, device=self.nothing.weight.device)
        return Conditioning(vector=self.nothing(rows))
