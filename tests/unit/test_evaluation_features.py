import numpy as np
import pytest

from rayograph.errors import ConfigError, DataError
from rayograph.evaluation.features import FeatureSpace, pooled_pixels


def test_pooling_averages_areas_and_scales_to_one():
    pixels = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    pixels[0, :2, :2] = 255
    pixels[0, 2, 2] = (255, 0, 0)
    quarters = pooled_pixels(pixels, size=2, grey=True)
    np.testing.assert_allclose(quarters, [[1.0, 0.0, 0.0, 1 / 12]])


def test_colour_features_keep_the_channels_apart_and_grey_is_their_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
    colour = pooled_pixels(pixels, size=8, grey=False)
    assert colour.shape == (5, 8 * 8 * 3)
    np.testing.assert_allclose(colour.reshape(5, 64, 3).mean(axis=2), pooled_pixels(pixels, size=8, grey=True))


def test_an_image_that_cannot_be_divided_evenly_is_refused():
    with pytest.raises(DataError, match="30×32"):
        pooled_pixels(np.zeros((1, 30, 32, 3), dtype=np.uint8), size=8, grey=True)
    with pytest.raises(ConfigError, match="got 0"):
        pooled_pixels(np.zeros((1, 32, 32, 3), dtype=np.uint8), size=0, grey=True)


def test_a_space_says_what_it_is():
    assert FeatureSpace(size=8, grey=True).name == "grey pixels pooled to 8×8"
    assert FeatureSpace(size=4, grey=False).name == "RGB pixels pooled to 4×4"
