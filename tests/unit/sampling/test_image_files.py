"""Pixels to files with their XMP: the same bytes for the same pixels, and nothing but a packet more."""

import io
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marked import KINDS, RECORD, exiftool, marked, picture, pillow
from PIL import Image

from rayograph.config import ImageFile
from rayograph.sampling.marking import image_encoder as encoding
from rayograph.sampling.marking.image_encoder import encode
from rayograph.sampling.marking.record import record_in, xmp_packet
from rayograph.shards.pixels.decode import render, to_jpeg, to_png

__all__ = ["exiftool"]

PACKET = xmp_packet(RECORD)
FORMAT = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels_and_record_are_the_same_bytes(kind):
    image = ImageFile(kind=kind)
    assert encode(picture(), image, PACKET) == encode(picture().copy(), image, bytes(PACKET))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_its_kind_says_and_holds_the_very_packet(kind):
    data = marked(kind)
    image = pillow(data)
    assert image.format == FORMAT[kind]
    assert image.size == (64, 48)
    assert (image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()) == PACKET


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_png_keeps_every_pixel(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(render(encode(pixels, ImageFile(), PACKET), "a"), pixels)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_lossy_files_are_near_their_pixels_and_quality_decides_how_near(kind):
    errors, sizes = [], []
    for quality in (100, 95, 60, 10):
        data = encode(picture(), ImageFile(kind=kind, quality=quality), PACKET)
        errors.append(np.abs(render(data, "a").astype(int) - picture()).mean())
        sizes.append(len(data))
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)
    assert errors[1] < 4
    assert encode(picture(), ImageFile(kind=kind), PACKET) == encode(
        picture(), ImageFile(kind=kind, quality=encoding.QUALITY), PACKET
    )


@pytest.mark.parametrize(("kind", "plain"), [("png", to_png(picture())), ("jpeg", to_jpeg(picture(), 95))])
def test_xmp_adds_its_own_bytes_and_changes_none(kind, plain):
    data = encode(picture(), ImageFile(kind=kind), PACKET)
    at = next(place for place in range(len(plain)) if data[place] != plain[place])
    more = len(data) - len(plain)
    assert data[:at] + data[at + more :] == plain
    assert len(PACKET) < more < len(PACKET) + 50


def test_xmp_in_webp_leaves_the_pixels_as_they_would_be():
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "WEBP", quality=95)
    assert np.array_equal(render(buffer.getvalue(), "a"), render(marked("webp"), "a"))


def test_pixels_that_are_a_view_of_others_are_taken_as_they_look():
    whole = picture()
    for kind in KINDS:
        turned = encode(whole[:, ::-1], ImageFile(kind=kind), PACKET)
        assert turned == encode(whole[:, ::-1].copy(), ImageFile(kind=kind), PACKET)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_encode_at_the_same_time_and_alike(kind):
    found = [b""] * 8

    def work(place):
        found[place] = marked(kind, RECORD | {"number": place})

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record_in(data, "a")["number"] for data in found] == list(range(len(found)))
    assert found == [marked(kind, RECORD | {"number": place}) for place in range(len(found))]


@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_finds_nothing_wrong_with_the_files(exiftool, kind):
    tags = exiftool.read(marked(kind), "-validate", "-warning", "-FileType", "-ImageSize")
    assert tags["Validate"] == "OK"
    assert tags["FileType"] == {"png": "PNG", "jpeg": "JPEG", "webp": "Extended WEBP"}[kind]
    assert tags["ImageSize"] == "64x48"
