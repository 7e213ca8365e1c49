"""Bytes to pixels: whatever a file holds comes out upright, RGB, eight bits; or is refused by its name."""

import io
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from png_files import png_header

from rayograph.errors import DataError
from rayograph.shards.pixels import pictures
from rayograph.shards.pixels.decode import open_image, render, resample, to_jpeg, to_png
from rayograph.shards.pixels.frames import Frame, middle_square

# Red to the left, green above, so that every turn and flip shows.
SCENE = np.zeros((6, 10, 3), np.uint8)
SCENE[:, :5, 0], SCENE[:3, :, 1], SCENE[..., 2] = 200, 180, 40


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture():
    return Image.fromarray(SCENE)


def test_pixels_come_back_from_our_png():
    assert np.array_equal(render(to_png(SCENE), "a"), SCENE)
    assert to_png(SCENE) == to_png(SCENE.copy())


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})])
def test_lossless_formats_keep_every_pixel(kind, options):
    assert np.array_equal(render(encoded(picture(), kind, **options), "a"), SCENE)


def test_a_jpeg_is_near_its_source():
    found = render(encoded(picture(), "JPEG", quality=95, subsampling=0), "a")
    assert np.abs(found.astype(int) - SCENE).mean() < 4


def test_cmyk_becomes_the_colours_it_stands_for():
    flat = Image.new("RGB", (16, 16), (200, 60, 20))
    found = render(encoded(flat.convert("CMYK"), "JPEG", quality=95), "a")
    assert found.shape == (16, 16, 3)
    assert np.abs(found.astype(int) - (200, 60, 20)).max() < 12


def test_sixteen_bits_are_scaled_to_eight_not_cut_off():
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    found = render(encoded(Image.fromarray(deep), "PNG"), "a")
    assert found.shape == (8, 8, 3)
    assert np.array_equal(found, np.repeat(np.round(deep / 257).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_a_palette_becomes_its_colours_over_white_where_it_is_transparent(transparency):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    options = {} if transparency is None else {"transparency": transparency}
    found = render(encoded(image, "PNG", **options), "a")
    covers = {None: [255] * 3, 1: [255, 0, 255], b"\x00\x80\xff": [0, 128, 255]}[transparency]
    colours = [
        [round(255 + (c - 255) * a / 255) for c in colour]
        for colour, a in zip(([10, 20, 30], [40, 50, 60], [70, 80, 90]), covers, strict=True)
    ]
    assert found.tolist() == [[colours[0], colours[1]], [colours[2], colours[1]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA"])
def test_grey_and_transparent_images_become_rgb(mode):
    found = render(encoded(picture().convert(mode), "PNG"), "a")
    assert np.array_equal(found, np.asarray(picture().convert(mode).convert("RGB")))


def test_of_an_animation_the_first_image_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (render(data, "a") == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, SCENE),
        (2, SCENE[:, ::-1]),
        (3, SCENE[::-1, ::-1]),
        (4, SCENE[::-1]),
        (5, SCENE.transpose(1, 0, 2)),
        (6, np.rot90(SCENE, 1)),
        (7, SCENE.transpose(1, 0, 2)[::-1, ::-1]),
        (8, np.rot90(SCENE, -1)),
    ],
)
def test_an_image_comes_upright_whichever_way_the_camera_was_held(orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(render(data, "a"), SCENE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_is_turned_when_it_is_small_and_has_the_pixels_of_one_that_was_turned_before(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    data = encoded(coarse.resize((241, 162), Image.Resampling.BICUBIC), kind, exif=exif)
    whole = render(data, "a")
    assert whole.shape == ((241, 162, 3) if orientation >= 5 else (162, 241, 3))
    for flip in (False, True):
        frame = Frame(31, 17, 97, 111, (80, 64), flip)
        found = render(data, "a", lambda *_, frame=frame: frame)
        assert np.abs(found.astype(int) - resample(whole, frame)).max() <= 2
        assert found.flags.c_contiguous


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_image_is_refused_by_name(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    for length in (0, 1, 12, len(data) // 2):
        with pytest.raises(DataError, match=f"photo-7: expected an image, got {length} bytes"):
            open_image(data[:length], "photo-7")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x80\x04]\x94.", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_is_refused_by_name(data):
    with pytest.raises(DataError, match="photo-7"):
        open_image(data, "photo-7")


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PPM"])
def test_formats_beyond_the_listed_ones_are_not_opened_though_pillow_could(kind):
    data = encoded(picture(), kind)
    assert Image.open(io.BytesIO(data)).format == kind
    with pytest.raises(DataError, match="photo-7"):
        open_image(data, "photo-7")


def test_a_header_of_a_gigantic_image_is_refused_before_it_is_decoded():
    with pytest.raises(DataError, match=r"photo-7: expected at most .* got 50000×50000"):
        open_image(png_header(50_000, 50_000), "photo-7")


def test_the_bound_on_pixels_is_ours_even_where_pillows_is_off(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="photo-7: expected at most 178956970 pixels, got 50000×50000"):
        open_image(png_header(50_000, 50_000), "photo-7")
    monkeypatch.setattr(pictures, "MAX_PIXELS", SCENE.shape[0] * SCENE.shape[1])
    assert open_image(to_png(SCENE), "fits").size == (10, 6)


def damaged_seeds():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a description", 72.0
    rough = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8))
    return [
        encoded(rough, "JPEG", exif=exif),
        encoded(rough.convert("CMYK"), "JPEG"),
        encoded(rough, "PNG", exif=exif),
        encoded(rough.convert("P"), "PNG", transparency=b"\0\1"),
        encoded(rough, "WEBP", exif=exif),
        encoded(rough.convert("P"), "GIF"),
    ]


SEEDS = damaged_seeds()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
@settings(max_examples=200)
@given(
    seed=st.sampled_from(SEEDS),
    damage=st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=3)), min_size=1, max_size=4),
    cut=st.integers(0, 1500),
)
def test_damaged_files_give_an_rgb_image_or_a_refusal_by_name_and_nothing_else(seed, damage, cut):
    data = bytearray(seed)
    for at, new in damage:
        data[at : at + len(new)] = new
    try:
        outcome = open_image(bytes(data[: cut or None]), "photo-7").mode
    except DataError as error:
        outcome = str(error)
    assert outcome == "RGB" or outcome.startswith("photo-7: ")


def square(pixels, size):
    return resample(pixels, middle_square(pixels.shape[1], pixels.shape[0], size))


@given(width=st.integers(1, 70), height=st.integers(1, 70), size=st.integers(1, 48))
def test_a_square_has_exactly_the_size_asked_whatever_the_source(width, height, size):
    assert square(np.zeros((height, width, 3), np.uint8), size).shape == (size, size, 3)


def test_a_square_of_the_right_size_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(square(pixels, 8), pixels)


@pytest.mark.parametrize("turned", [False, True])
def test_a_square_is_cut_from_the_middle(turned):
    stripes = np.zeros((8, 24, 3), np.uint8)
    stripes[:, 8:16] = 255
    assert (square(stripes.transpose(1, 0, 2).copy() if turned else stripes, 8) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [5, 16, 40, 100])
def test_scaling_is_near_pillows_own_also_where_a_jpeg_is_decoded_at_a_part_of_its_size(kind, size):
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)).resize((240, 180))
    data = encoded(smooth, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    found = render(data, "a", partial(middle_square, size=size))
    expected = open_image(data, "a").crop((30, 0, 210, 180)).resize((size, size), Image.Resampling.BICUBIC)
    assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 5


def test_a_jpeg_of_ours_keeps_colours_next_to_each_other_apart():
    found = render(to_jpeg(SCENE, 95), "a")
    assert np.abs(found.astype(int) - SCENE).mean() < 4
    assert to_jpeg(SCENE, 95) == to_jpeg(SCENE.copy(), 95)
