"""Whose colours a file's numbers are, said in every way that files have, is what its pixels show."""

import io
import struct
import subprocess

import needs
import numpy as np
import pytest
from PIL import Image, ImageCms

from rayograph.errors import DataError
from rayograph.shards.pixels import colour
from rayograph.shards.pixels.decode import Reading, render
from rayograph.shards.pixels.jpeg import CannotReadError, decode, read_header

SMOOTH = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 10, 3), np.uint8)).resize((200, 160))
FLAT = Image.new("RGB", (16, 16), (30, 160, 60))
OPTIONS = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **OPTIONS.get(kind, {}) | options)
    return buffer.getvalue()


def camera(space=0xFFFF, index="R03"):
    """EXIF as a camera writes it."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = space
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_adobe_rgb_that_only_exif_names_is_converted_and_counted(kind):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(colour.adobe_rgb()))
    expected = ImageCms.profileToProfile(FLAT, profile, ImageCms.createProfile("sRGB"))
    found = set()
    shown = render(encoded(FLAT, kind, exif=camera()), "a", found=found)
    assert np.abs(shown - np.asarray(expected).astype(int)).max() <= 2
    assert np.abs(shown - np.asarray(FLAT).astype(int)).max() > 9
    assert found == {"converted", "adobe_by_exif"}


@pytest.mark.parametrize(("space", "index"), [(1, "R98"), (0xFFFF, "R98"), (0xFFFF, "THM"), (1, "R03")])
def test_exif_that_does_not_name_adobe_rgb_changes_nothing(space, index):
    found = set()
    shown = render(encoded(FLAT, "JPEG", exif=camera(space, index)), "a", found=found)
    assert np.abs(shown - np.asarray(FLAT).astype(int)).max() <= 2
    assert not found


def test_a_profile_says_more_than_exif():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = set()
    shown = render(encoded(FLAT, "JPEG", exif=camera(), icc_profile=srgb), "a", found=found)
    assert np.abs(shown - np.asarray(FLAT).astype(int)).max() <= 2
    assert not found


def grey_profile(exponent):
    """Of version 2: a white and one curve."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    size = 156 + len(white) + len(curve)
    header = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp")
    return (header + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + white + curve


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_grey_profile_is_a_curve(kind):
    levels = Image.linear_gradient("L")
    found = set()
    shown = render(encoded(levels, kind, icc_profile=grey_profile(1.0)), "a", found=found)
    linear = np.asarray(levels) / 255
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(shown - expected[..., None]).max() <= (8 if kind == "JPEG" else 2)  # one level is many in the dark
    assert found == {"converted"}


CYAN, MAGENTA = (70, -30, -45), (60, 40, -10)  # Lab of a press of our own


def press_profile():
    """Of four inks, by a table of two steps each: full cyan and full magenta are what they are, black ink is black."""
    lab = np.zeros((2, 2, 2, 2, 3))
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        lab[c, m, y, k] = CYAN if c and not m else MAGENTA if m else (90, -5, 90) if y else (100, 0, 0)
        if k:
            lab[c, m, y, k] = (10, 0, 0)
    coded = np.rint(lab * (2.55, 1, 1) + (0, 128, 128)).astype(np.uint8)
    line = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table += line * 4 + coded.tobytes() + line * 3
    table += bytes(-len(table) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"A2B0", 156 + len(white), len(table))
    size = 156 + len(white) + len(table)
    header = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    return (header + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + tags + white + table


def lab_to_srgb(lightness, a, b):
    fy = (lightness + 16) / 116
    xyz = [f**3 if f > 6 / 29 else (f - 4 / 29) * 108 / 841 for f in (fy + a / 500, fy, fy - b / 200)]
    to_linear = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(to_linear @ (np.array(xyz) * (0.9642, 1, 0.8249)), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("inks", "lab"), [((0, 0, 0, 0), (100, 0, 0)), ((255, 0, 0, 0), CYAN), ((0, 255, 0, 0), MAGENTA)]
)
def test_inks_are_those_of_their_press(kind, inks, lab):
    found = set()
    data = encoded(Image.new("CMYK", (16, 16), inks), kind, icc_profile=press_profile())
    assert np.abs(render(data, "a", found=found) - lab_to_srgb(*lab)).max() <= 3  # Lab of eight bits is coarse
    assert found == {"converted"}


def unusual(*options):
    """A JPEG of samplings that libjpeg-turbo's API has no name for."""
    needs.need("convert")
    command = ["convert", "png:-", *options, "jpg:-"]
    data = subprocess.run(command, input=encoded(SMOOTH, "PNG"), capture_output=True, check=True).stdout
    with pytest.raises(CannotReadError):
        decode(data, read_header(data), 1, "a", False, set())
    return data


@pytest.mark.parametrize(
    "options",
    [("3x1",), ("1x3",), ("3x1", "-interlace", "JPEG"), ("3x1", "-define", "jpeg:restart-interval=4")],
    ids=["3:1", "1:3", "progressive", "restarts"],
)
def test_a_jpeg_of_an_unusual_sampling_is_read_and_a_cut_one_is_damaged(options):
    whole = unusual("-sampling-factor", *options)
    pixels = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    found = set()
    for same in (whole, whole[:-2], whole + b"trailing"):
        assert np.array_equal(render(same, "a", found=found), pixels)
    assert not found
    for length in (len(whole) // 3, len(whole) * 2 // 3, len(whole) - 40, len(whole) - 8):
        cut = whole[:length] + b"\xff\xd9"
        with pytest.raises(DataError, match=r"photo-7: .*corrupt JPEG: premature end of data"):
            render(cut, "photo-7")
        found = set()
        assert render(cut, "a", reading=Reading(tolerate_damage=True), found=found).shape == (160, 200, 3)
        assert found == {"damaged"}


def test_what_a_program_of_ours_raises_is_no_damage_of_the_picture():
    def broken(width, height):
        raise IndexError("of the caller")

    with pytest.raises(IndexError, match="of the caller"):
        render(encoded(FLAT, "JPEG"), "a", broken)
