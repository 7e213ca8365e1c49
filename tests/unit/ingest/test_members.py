"""One row to one sample: upright RGB of the size asked; boxes and masks stay on what they mark."""

import io
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from png_files import png_header
from sources import declare, encoded, picture, pixels

from rayograph.config import SklearnDigits
from rayograph.errors import DataError
from rayograph.ingest.members import to_sample
from rayograph.ingest.sources import Boxes, Row
from rayograph.ingest.sources.boxes import parse_boxes
from rayograph.shards.pixels.decode import open_image, render


def members(image, declared=None, **parts):
    return to_sample(Row("key", "photo-7", image, **parts), declared or declare(SklearnDigits())).members


def as_is(**changes):
    return declare(SklearnDigits(), resize="none", image_size=None, **changes)


def oriented(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels(), kind, exif=exif)


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_a_plain_image_keeps_its_bytes_where_nothing_is_resized(kind, extension):
    data = encoded(pixels(), kind)
    assert members(data, as_is()) == {extension: data}
    assert members(oriented(kind, 1), as_is()) == {extension: oriented(kind, 1)}


def odd_images():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    rgb = Image.fromarray(pixels())
    found = {"turned": oriented("JPEG", 6), "animated": buffer.getvalue(), "gif": encoded(pixels(), "GIF")}
    for mode, kind in (("CMYK", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "JPEG")):
        buffer = io.BytesIO()
        rgb.convert(mode).save(buffer, kind)
        found[f"{mode} {kind}"] = buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(np.arange(81, dtype=np.uint16).reshape(9, 9) * 800).save(buffer, "PNG")
    return found | {"sixteen bits": buffer.getvalue()}


@pytest.mark.parametrize("name", sorted(odd_images()))
def test_what_readers_might_show_otherwise_is_written_anew_as_upright_rgb(name):
    data = odd_images()[name]
    (stored,) = members(data, as_is()).values()
    assert stored != data
    assert np.array_equal(render(stored, name), np.asarray(open_image(data, name)))
    assert list(members(data, as_is(format="jpeg"))) == ["jpg"]


def test_a_sixteen_bit_colour_png_is_written_anew_in_eight():
    raw = b"".join(b"\0" + b"\x40\xff" * 27 for _ in range(9))
    header = b"IHDR" + (9).to_bytes(4) * 2 + bytes([16, 2, 0, 0, 0])
    chunks = (header, b"IDAT" + zlib.compress(raw), b"IEND")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks
    )
    stored = members(data, as_is())["png"]
    assert stored != data
    assert (render(stored, "a") == 0x41).all()  # rounded: 0x40ff / 257 is 64.7


@pytest.mark.parametrize(
    ("changes", "shape"),
    [({}, (8, 8, 3)), ({"resize": "shorter_side"}, (8, 16, 3)), ({"resize": "none", "image_size": None}, (10, 20, 3))],
)
def test_each_way_to_resize_gives_its_size(changes, shape):
    assert render(members(picture(0, (10, 20)), declare(SklearnDigits(), **changes))["png"], "a").shape == shape


def test_jpeg_is_written_at_the_quality_asked():
    sizes = [
        len(
            members(picture(0, (64, 64)), declare(SklearnDigits(), image_size=64, format="jpeg", jpeg_quality=q))["jpg"]
        )
        for q in (30, 95)
    ]
    assert sizes[0] < sizes[1] / 2


def test_an_image_smaller_than_the_least_is_rejected_by_name_and_size():
    declared = declare(SklearnDigits(), minimum_size=10)
    assert "png" in members(picture(0, (10, 12)), declared)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(DataError, match=r"photo-7: expected at least 10 pixels a side, got 12×9"):
            members(encoded(pixels(), kind), declared)


@pytest.mark.parametrize("resize", ["square", "none"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "expected an image, got 0 bytes"),
        (encoded(pixels(0, (64, 64)), "JPEG")[:-900], "expected an image"),
        (encoded(pixels(0, (64, 64)), "PNG")[:-900], "expected an image"),
        (encoded(pixels(0, (64, 64)), "WEBP")[:-900], "expected an image"),
        (png_header(50_000, 50_000), "2500000000 pixels|at most .* pixels"),
    ],
)
def test_a_damaged_or_gigantic_image_is_rejected_by_name_also_where_its_bytes_would_be_kept(data, reason, resize):
    declared = as_is() if resize == "none" else declare(SklearnDigits())
    with pytest.raises(DataError, match=f"photo-7: .*({reason})"):
        members(data, declared)


def test_captions_classes_and_what_else_is_known_go_along():
    found = members(picture(), caption="ein Bär", label=3, metadata={"url": "x", "width": 12, "ä": None})
    assert found["txt"].decode() == "ein Bär"
    assert found["cls"] == b"3"
    assert json.loads(found["json"]) == {"url": "x", "width": 12, "ä": None}


def marked(height, width, top, left, side):
    """A black picture with a white square, its mask and its box."""
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    mask = image[..., 0] // 255 * 7
    return encoded(image), encoded(mask), Boxes(np.array([[left, top, side, side]], np.float64), ["it"])


@pytest.mark.parametrize("resize", ["square", "shorter_side", "none"])
@given(data=st.data())
def test_a_box_and_a_mask_stay_on_what_they_mark(resize, data):
    height, width = data.draw(st.integers(24, 60)), data.draw(st.integers(24, 60))
    side = data.draw(st.integers(8, 20))
    top, left = data.draw(st.integers(0, height - side)), data.draw(st.integers(0, width - side))
    image, mask, boxes = marked(height, width, top, left, side)
    size = {} if resize != "none" else {"image_size": None}
    declared = declare(SklearnDigits(), **({"resize": resize, "image_size": 48} | size))
    found = members(image, declared, boxes=boxes, mask=mask)
    shown = render(found["png"], "a")[..., 0].astype(int)
    classes = np.asarray(Image.open(io.BytesIO(found["mask.png"])))
    assert classes.shape == shown.shape
    assert set(np.unique(classes)) <= {0, 7}
    assert ((classes == 7) == (shown > 127)).mean() > 0.85
    stored = json.loads(found["json"])
    assert len(stored["boxes"]) == len(stored["labels"])
    for x, y, w, h in stored["boxes"]:
        drawn = np.zeros_like(classes, bool)
        drawn[
            round(y * classes.shape[0]) : round((y + h) * classes.shape[0]),
            round(x * classes.shape[1]) : round((x + w) * classes.shape[1]),
        ] = True
        assert (drawn == (classes == 7)).mean() > 0.9


def test_a_box_outside_the_frame_goes_with_its_label():
    boxes = Boxes(np.array([[0, 0, 2, 2], [9, 2, 4, 4]], np.float64), ["out", "in"])
    stored = json.loads(members(picture(0, (8, 24)), boxes=boxes)["json"])
    assert stored == {"boxes": [[0.125, 0.25, 0.5, 0.5]], "labels": ["in"]}


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (b"", "expected a mask, got 0 bytes"),
        (encoded(np.zeros((9, 11), np.uint8)), "expected a mask of 12×9 class indices, got 11×9"),
        (encoded(np.zeros((9, 12, 3), np.uint8)), "12×9 of mode RGB"),
    ],
)
def test_a_mask_that_does_not_fit_is_rejected_by_name(mask, reason):
    with pytest.raises(DataError, match=f"photo-7: .*{reason}"):
        members(picture(), mask=mask)


def test_a_palette_of_a_mask_is_its_classes_and_sixteen_bits_stay():
    classes = np.arange(108, dtype=np.uint8).reshape(9, 12)
    palette = Image.fromarray(classes, "L").convert("P")
    palette.putpalette([5] * 768)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    stored = members(picture(), as_is(), mask=buffer.getvalue())["mask.png"]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), classes)
    many = classes.astype(np.uint16) * 500
    stored = members(picture(), as_is(), mask=encoded(many))["mask.png"]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), many)


@pytest.mark.parametrize(
    "written",
    [
        [[1, 2, 3, 4]],
        {"bbox": [[1, 2, 3, 4]], "category": ["a"]},
        [{"bbox": [1, 2, 3, 4], "category": "a"}],
        b'[{"boxes": [1, 2, 3, 4], "label": "a"}]',
        "[[1, 2, 3, 4]]",
    ],
)
def test_boxes_are_read_as_people_write_them(written):
    found = parse_boxes(written, "a")
    assert found.places.tolist() == [[1, 2, 3, 4]]
    assert found.labels in (None, ["a"])


@pytest.mark.parametrize(
    "written",
    [
        *("[", 7, [[1, 2, 3]], [[1, 2, 3, 4], [1]], [[1, 2, -3, 4]], [["a", 1, 2, 3]], [[1, 2, 3, float("nan")]]),
        {"bbox": [[1, 2, 3, 4]], "category": ["a", "b"]},
    ],
)
def test_what_are_no_boxes_is_refused_by_name(written):
    with pytest.raises(DataError, match="photo-7: expected boxes"):
        parse_boxes(written, "photo-7")


def test_no_boxes_are_none_and_an_empty_list_is_empty():
    assert parse_boxes(None, "a") is None
    assert parse_boxes([], "a").places.shape == parse_boxes({"bbox": [], "category": []}, "a").places.shape == (0, 4)
