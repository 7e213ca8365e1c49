"""Sixteen bits a channel become eight to the nearest, in every layout that PNG and TIFF have for them."""

import numpy as np
import pytest
from deep_files import png, tiff

from rayograph.errors import DataError
from rayograph.shards.pixels.decode import Reading, render
from rayograph.shards.pixels.pictures import open_picture

VALUES = np.random.default_rng(5).integers(0, 65536, (9, 7, 4), np.uint16)


def nearest(values):
    return np.rint(values.astype(np.float64) * 255 / 65535).astype(int)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png_are_rounded(channels):
    found = open_picture(png(VALUES[..., :channels]), "a")
    colours = 1 if channels < 3 else 3
    assert np.array_equal(found.pixels, nearest(VALUES[..., :colours]))
    if channels in (2, 4):
        assert np.array_equal(found.alpha, nearest(VALUES[..., colours]))
    else:
        assert found.alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("channels", "photometric", "extra", "colours", "has_alpha"),
    [
        (1, 1, None, 1, False),
        (3, 2, None, 3, False),
        (4, 2, 2, 3, True),
        (4, 2, 0, 3, False),
        (4, 5, None, 4, False),
    ],
    ids=["grey", "RGB", "RGBA", "RGBX", "CMYK"],
)
def test_sixteen_bits_of_a_tiff_are_rounded(order, channels, photometric, extra, colours, has_alpha):
    found = open_picture(tiff(VALUES[..., :channels], photometric, extra, order), "a")
    assert np.array_equal(found.pixels, nearest(VALUES[..., :colours]))
    assert (found.alpha is not None) == has_alpha
    if has_alpha:
        assert np.array_equal(found.alpha, nearest(VALUES[..., 3]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_that_were_multiplied_by_their_alpha_become_what_they_were(order):
    alpha = VALUES[..., 3:] | 4096
    stored = np.append((VALUES[..., :3].astype(np.uint64) * alpha // 65535).astype(np.uint16), alpha, axis=2)
    data = tiff(stored, 2, 1, order)
    found = open_picture(data, "a")
    assert np.array_equal(found.alpha, nearest(alpha[..., 0]))
    assert np.abs(found.pixels - nearest(VALUES[..., :3])).max() <= 1
    cover = alpha.astype(float) / 65535
    shown = VALUES[..., :3] * cover / 257 + (1 - cover) * [0, 255, 0]
    assert np.abs(render(data, "a", reading=Reading(background=(0, 255, 0))) - shown).max() <= 1
    nothing = np.zeros((2, 2, 4), np.uint16)
    assert (render(tiff(nothing, 2, 1, order), "a") == 255).all()


def test_planes_of_sixteen_bits_that_lie_apart_are_refused_and_never_taken_for_eight():
    with pytest.raises(DataError, match=r"photo-7: expected a TIFF of pixels, got planes of 16 bits apart"):
        render(tiff(VALUES[..., :3], 2, planes=True), "photo-7")
