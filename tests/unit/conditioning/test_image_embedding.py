"""An image's embedding: as it is seen in training, of a request's file, by an extractor found when it is used."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from rayograph.conditioning.image_embedding import ImageEmbeddingConditioner
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.conditioning.spatial.image_columns import png_of
from rayograph.config import ImageEmbedding, PooledPixels
from rayograph.errors import ConfigError
from rayograph.evaluation.extractors import build_extractor
from rayograph.models.specs import Accepts, DenoiserSpec
from rayograph.shards.sample import Sample

DECLARED = ImageEmbedding(features=PooledPixels(size=4), dimension=16)
SPEC = DenoiserSpec(3, 8, accepts=Accepts(vector=8))


def network(declared=DECLARED):
    torch.manual_seed(0)
    made = ImageEmbeddingConditioner(declared, None).network(SPEC)
    made.use_extractors(lambda features: build_extractor(features, "cpu"))
    return made


def test_a_sample_and_a_request_of_the_same_picture_say_the_same():
    told, made = ImageEmbeddingConditioner(DECLARED, None), network()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    seen = told.decode_seen(Sample("a", {}), Seen(8, 8, pixels=pixels))
    rows = told.validate(pa.table({"image": pa.array([png_of(pixels)], pa.binary())}))
    asked = told.arrays_on(rows, Canvas(8, 8))
    one, other = (
        made.embed({"image": torch.from_numpy(values)}).vector for values in (seen["image"][None], asked["image"])
    )
    assert torch.equal(one, other)
    assert one.shape == made.null(1).vector.shape == (1, 8)
    assert not torch.equal(one, made.null(1).vector)


def test_only_the_projection_and_the_null_are_the_models_own():
    assert {name for name, _ in network().named_parameters()} == {
        "projection.weight",
        "projection.bias",
        "nothing.weight",
    }


def test_features_of_another_dimension_are_refused():
    with pytest.raises(
        ConfigError, match=r"^conditioner\.dimension: expected 16, the features' of grey pixels .*, got 9"
    ):
        network(ImageEmbedding(features=PooledPixels(size=4), dimension=9))
