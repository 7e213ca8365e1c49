"""The watermark: read back by the library's own decoder after JPEG and WebP, and not to be seen."""

import io
import sys

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from rayograph.errors import ConfigError, DataError
from rayograph.sampling.marking.watermark import SMALLEST, Watermark, fits, hidden_in


def picture(height, width, cells=8, seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="444")
    return simplejpeg.decode_jpeg(data)


def webp(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 320), (257, 511), (384, 384)])
@pytest.mark.parametrize("text", ["ray1", "x", "A~"])
def test_a_watermark_comes_back_also_out_of_jpeg_and_webp(height, width, text):
    marked = Watermark(text).hide(picture(height, width))
    for found in (marked, jpeg(marked, 90), jpeg(marked, 70), webp(marked, 95)):
        assert hidden_in(found, len(text)) == text.encode()


@pytest.mark.parametrize("cells", [2, 8, 64, 256])
def test_a_watermark_is_hardly_there(cells):
    before = picture(256, 256, cells)
    marked = Watermark("ray1").hide(before)
    difference = np.abs(marked.astype(int) - before)
    assert hidden_in(marked, 4) == b"ray1"
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 39
    assert np.percentile(difference, 99) <= 8


def test_the_same_pixels_give_the_same_and_what_was_given_stays():
    before = picture(256, 256)
    kept = before.copy()
    first = Watermark("ray1").hide(before)
    assert np.array_equal(first, Watermark("ray1").hide(before[:, ::-1].copy()[:, ::-1]))
    assert np.array_equal(before, kept)
    assert first.dtype == np.uint8
    assert first.shape == before.shape


def test_what_was_not_marked_does_not_hold_it():
    assert hidden_in(picture(256, 256), 4) != b"ray1"
    assert hidden_in(Watermark("ray2").hide(picture(256, 256)), 4) == b"ray2"


@pytest.mark.parametrize(("height", "width"), [(SMALLEST - 1, 1024), (1024, SMALLEST - 1), (32, 32)])
def test_small_images_get_none_and_stay_as_they_are(height, width):
    before = picture(height, width)
    assert not fits(before)
    assert Watermark("ray1").hide(before) is before
    with pytest.raises(DataError, match=f"expected an image of at least 256 × 256, got {width} × {height}"):
        hidden_in(before, 4)


def test_values_at_the_end_of_the_scale_are_cut_off_and_never_begin_again():
    for value in (0, 255):
        flat = np.full((256, 256, 3), value, np.uint8)
        assert np.abs(Watermark("ray1").hide(flat).astype(int) - value).max() <= 8
    for colour in ((0, 0, 255), (255, 255, 0)):  # where blue chroma is at its most and at its least
        flat = np.full((256, 256, 3), colour, np.uint8)
        assert np.abs(Watermark("ray1").hide(flat).astype(int) - flat).max() <= 16


@pytest.mark.parametrize("text", ["", "fives", "ü", "a\n"])
def test_texts_that_cannot_be_are_refused(text):
    with pytest.raises(ConfigError, match=r"marking.watermark: expected 1 to 4 printable ASCII characters"):
        Watermark(text)


@pytest.mark.parametrize("asked", [lambda: Watermark("ray1"), lambda: hidden_in(picture(256, 256), 4)])
def test_without_the_library_the_extra_is_named(monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    monkeypatch.setitem(sys.modules, "imwatermark.dwtDctSvd", None)
    with pytest.raises(ConfigError, match=r"invisible-watermark, .*pip install 'rayograph\[watermark\]'"):
        asked()
