"""Pixels of every format, colour space and transparency are those of an independent conversion."""

import io
import subprocess

import needs
import numpy as np
import pytest
from PIL import Image, ImageCms

from rayograph.shards.pixels.colour import _PRIMARIES, matrix_profile
from rayograph.shards.pixels.decode import render

SMOOTH = Image.fromarray(np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)).resize((40, 32))
LOSSLESS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
PROFILES = {
    "untagged": None,
    "p3": matrix_profile(_PRIMARIES[12], None),
    "adobe": matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290), 2.2),
}
KINDS = [
    *(("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "LA")),
    *(("WEBP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("TIFF", "RGBA"), ("TIFF", "L"), ("GIF", "P")),
    *(("BMP", "RGB"), ("AVIF", "RGB")),
]
WITHOUT_PROFILE = {("GIF", "P"), ("BMP", "RGB"), *((kind, mode) for kind, mode in KINDS if mode in ("L", "LA"))}
"""A grey image has no such space, and these formats hold no profile."""
CASES = [
    (*kind, space) for kind in KINDS for space in PROFILES if PROFILES[space] is None or kind not in WITHOUT_PROFILE
]


@pytest.mark.parametrize(("kind", "mode", "space"), CASES)
def test_every_pixel_is_within_two_of_imagemagicks(kind, mode, space, tmp_path):
    needs.need("convert")
    image = SMOOTH.convert(mode.removesuffix("A"))
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(SMOOTH.size))
    buffer = io.BytesIO()
    options = {} if PROFILES[space] is None else {"icc_profile": PROFILES[space]}
    image.save(buffer, kind, **LOSSLESS.get(kind, {}), **options)
    srgb = tmp_path / "srgb.icc"
    srgb.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    to_srgb = [] if PROFILES[space] is None else ["-profile", str(srgb)]
    given, kind_given = buffer.getvalue(), kind
    if kind == "AVIF":  # Debian's ImageMagick reads its colours at half the resolution: it converts what was coded
        coded, source = Image.open(buffer), io.BytesIO()
        assert np.abs(np.asarray(coded).astype(int) - np.asarray(image)).max() <= 4
        coded.save(source, "PNG", **options)
        given, kind_given = source.getvalue(), "PNG"
    command = [
        "convert",
        f"{kind_given.lower()}:-",
        *to_srgb,
        "-background",
        "white",
        "-flatten",
        "-depth",
        "8",
        "rgb:-",
    ]
    shown = subprocess.run(command, input=given, capture_output=True, check=True).stdout
    expected = np.frombuffer(shown, np.uint8).reshape(32, 40, 3).astype(int)
    assert np.abs(render(buffer.getvalue(), "a") - expected).max() <= 2
