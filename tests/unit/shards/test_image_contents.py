"""What stands in a file decides its pixels: damage, colours, what covers them; nothing wrong goes unsaid."""

import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from fuzz import fuzz_images
from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels.colour import _PRIMARIES, matrix_profile
from rayograph.shards.pixels.decode import Reading, render
from rayograph.shards.pixels.frames import shorter_side

P3 = matrix_profile(_PRIMARIES[12], None)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_chunk(data, kind, body):
    """A PNG with one chunk more, right behind its header."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_whole_without_its_end_mark_and_damaged_without_its_last_codes(mode, options):
    whole = encoded(NOISE.convert(mode), "JPEG", **options)
    pixels = render(whole, "a")
    for same in (whole[:-2], whole + b"trailing", whole[:-2] + bytes(9), whole[:-2] + bytes(9) + whole[-2:]):
        assert np.array_equal(render(same, "a"), pixels)
    half = whole[: len(whole) // 2]
    for damaged in (half, half + b"\xff\xd9", half + whole[-300:]):
        with pytest.raises(DataError, match=r"photo-7: .*corrupt JPEG: "):
            render(damaged, "photo-7")
        found = set()
        assert render(damaged, "a", reading=Reading(tolerate_damage=True), found=found).shape == (64, 48, 3)
        assert "damaged" in found


def test_a_progressive_jpeg_lacks_no_scan():
    whole = encoded(NOISE, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    for end in (b"", b"\xff\xd9"):
        with pytest.raises(DataError, match="scans are missing"):
            render(whole[:last] + end, "photo-7")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_wide_colours_become_srgb_whatever_the_format(kind):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
    flat = Image.new("RGB", (16, 16), (30, 160, 60))
    found = set()
    pixels = render(encoded(flat, kind, icc_profile=P3, **options.get(kind, {})), "a", found=found)
    assert np.abs(pixels.astype(int) - (0, 163, 41)).max() <= 3
    assert found == {"converted"}


def test_a_profile_that_cannot_be_read_is_counted_and_taken_for_srgb():
    found = set()
    pixels = render(encoded(Image.new("RGB", (2, 2), (30, 160, 60)), "PNG", icc_profile=b"x" * 200), "a", found=found)
    assert pixels[0, 0].tolist() == [30, 160, 60]
    assert found == {"profile_ignored"}


def test_what_a_png_codes_of_its_colours_counts():
    flat = encoded(Image.new("RGB", (2, 2), (30, 160, 60)), "PNG")
    assert np.abs(render(with_chunk(flat, b"cICP", bytes([12, 13, 0, 1])), "a")[0, 0] - [0, 163, 41]).max() <= 2
    assert render(with_chunk(flat, b"gAMA", struct.pack(">I", 45455)), "a")[0, 0].tolist() == [30, 160, 60]
    linear = render(with_chunk(flat, b"gAMA", struct.pack(">I", 100000)), "a")[0, 0].tolist()
    assert np.abs(np.subtract(linear, [96, 207, 132])).max() <= 2
    with pytest.raises(DataError, match=r"high dynamic range \(PQ\)"):
        render(with_chunk(flat, b"cICP", bytes([9, 16, 0, 1])), "a")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_half_transparent_red_is_laid_over_the_background(kind):
    data = encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = set()
    assert (render(data, "a", found=found) == (255, 127, 127)).all()
    assert (render(data, "a", reading=Reading((0, 0, 0))) == (128, 0, 0)).all()
    assert found == {"composited"}


@pytest.mark.parametrize(("mode", "key", "seen"), [("L", 7, 8), ("RGB", (1, 2, 3), (1, 2, 4))])
def test_a_colour_key_is_nothing(mode, key, seen):
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), seen)
    pixels = render(encoded(image, "PNG", transparency=key), "a")[0]
    assert pixels[0].tolist() == [255] * 3
    assert pixels[1].tolist() == list(np.broadcast_to(seen, 3))


def test_text_beyond_a_megabyte_is_no_hindrance():
    data = with_chunk(encoded(NOISE, "PNG"), b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3 << 20)))
    assert np.array_equal(render(data, "a"), np.asarray(NOISE))


def test_a_flipped_bit_of_a_png_is_found():
    data = bytearray(encoded(NOISE, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(DataError, match=r"photo-7: .*checksum"):
        render(bytes(data), "photo-7")


def test_a_thin_image_is_one_rejected_sample():
    data = encoded(Image.new("1", (65000, 1)), "PNG")
    with pytest.raises(DataError, match="photo-7: 65000×1 at the size asked for: expected at most"):
        render(data, "photo-7", partial(shorter_side, size=256))


def test_an_orientation_counts_behind_any_number_of_segments():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(NOISE, "JPEG", exif=exif)
    far = data[:2] + (b"\xff\xed\xff\xff" + bytes(65533)) * 3 + data[2:]
    assert render(far, "a").shape == (48, 64, 3)
    assert np.array_equal(render(far, "a"), render(data, "a"))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "GIF", "BMP", "WEBP"])
def test_formats_are_told_by_their_content(kind):
    assert render(encoded(NOISE, kind), "a").shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes: empty file"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, which is not read"),
        (b"\xff\x0a" + bytes(40), "JPEG XL, which is not read"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG, which is not read"),
        (b"<!DOCTYPE html><p>404", "HTML, which is not read"),
        (b'{"error": 404}', "JSON, which is not read"),
        (b"8BPS\0\x01", "PSD"),
        (b"%PDF-1.7", "PDF, which is not read"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_first_bytes(data, said):
    with pytest.raises(DataError, match=f"photo-7: expected an image, got .*{said}"):
        render(data, "photo-7")


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_of_every_format_give_pixels_or_a_refusal_by_name():
    outcomes = fuzz_images.fuzz(count=1000, seed=7)
    assert outcomes["pixels"] > 50
    assert outcomes["refused"] > 500
