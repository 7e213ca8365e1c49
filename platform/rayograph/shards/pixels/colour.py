"""Colours to sRGB: what a file's profile says its numbers mean, by Little CMS.

An ICC profile is used where there is one. Where there is none, the primaries and the curve that a PNG or an AVIF names
(cICP, gAMA and cHRM, nclx) become one. The intent is perceptual, as browsers and ImageMagick have it; a profile that
changes no colour by more than one level is sRGB itself and costs nothing. Converted are eight bits a channel.

Shapes: h w pixels; c channels: 1 grey, 3 RGB, 4 CMYK (0 is no ink).
"""

import io
import struct
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from rayograph.errors import DataError

_CACHED_BYTES = 4 << 20
"""The transform of a larger profile is built for each image again: the cache stays small whatever people send."""

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_SPACES = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_SPACE = slice(16, 20)  # where a profile's header names it

# Of ITU-T H.273: x and y of red, green, blue and white.
_D65 = (0.3127, 0.3290)
_SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)
_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    2: _SRGB_PRIMARIES,  # unspecified
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}
# Curves by their exponent; None is sRGB's, with which pictures under a camera's curve (1, 6, 14, 15) are shown as well.
_CURVES = {1: None, 2: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def to_srgb(pixels: np.ndarray, profile: bytes | None, found: set[str]) -> np.ndarray:
    """(h, w, c) in a profile's colours → (h, w, 3) uint8 in sRGB.

    Adds `converted` to what was found where colours changed. A profile that cannot be used, or is one of other
    channels, adds `profile_ignored`: the numbers then count as sRGB.
    """
    if profile:
        channels = _SPACES.get(profile[_SPACE])
        if channels == 3 and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        try:
            if channels != pixels.shape[2]:
                raise ValueError("a profile of other channels")
            build = _transform if len(profile) <= _CACHED_BYTES else _transform.__wrapped__
            transform = build(profile, channels)
        except Exception:  # noqa: BLE001 - whatever a foreign profile does to its reader
            found.add("profile_ignored")
        else:
            if transform is None:
                return _plain(pixels)
            found.add("converted")
            if channels == 1:
                levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
                return np.asarray(ImageCms.applyTransform(_image(levels), transform))[0][pixels[..., 0]]
            return np.asarray(ImageCms.applyTransform(_image(pixels), transform))
    return _plain(pixels)


def coded_profile(primaries: int, curve: int, name: str) -> bytes | None:
    """The profile of a pair of H.273's code points, None for sRGB.

    Raises DataError naming the sample for those without one, high dynamic range above all.
    """
    if curve in _HIGH_DYNAMIC_RANGE:
        raise DataError(
            f"{name}: expected colours to be shown on a screen, got high dynamic range ({_HIGH_DYNAMIC_RANGE[curve]})"
        )
    if primaries not in _PRIMARIES or curve not in _CURVES:
        raise DataError(f"{name}: expected known colours, got primaries {primaries} and transfer {curve} of H.273")
    if _PRIMARIES[primaries] is _SRGB_PRIMARIES and _CURVES[curve] is None:
        return None
    return matrix_profile(_PRIMARIES[primaries], _CURVES[curve])


def measured_profile(exponent: float | None, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """The profile of a PNG's gAMA (as the exponent of its curve) and cHRM (white, red, green, blue); None for sRGB."""
    primaries = _SRGB_PRIMARIES if chromaticities is None else (*chromaticities[2:], *chromaticities[:2])
    curve = None if exponent is None or abs(exponent - 2.2) < 0.01 else exponent
    same = np.abs(np.subtract(primaries, _SRGB_PRIMARIES)).max() < 0.001
    return None if same and curve is None else matrix_profile(primaries, curve)


def matrix_profile(primaries: tuple[float, ...], exponent: float | None) -> bytes:
    """An ICC profile (version 4) of an RGB space: primaries as x and y, and a curve, None being sRGB's.

    Raises ValueError for primaries that span no colours.
    """
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in np.reshape(primaries, (4, 2)).tolist() if y > 0]).T
    if columns.shape != (3, 4) or not 0.1 <= (exponent or 1) <= 10:
        raise ValueError(f"expected colours, got primaries {primaries} and exponent {exponent}")
    matrix, white = columns[:, :3], columns[:, 3]
    matrix = matrix * np.linalg.solve(matrix, white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    red, green, blue = (adapt @ matrix).T
    shape = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045) if exponent is None else (exponent,)
    curve = struct.pack(">4sIHH", b"para", 0, 0 if exponent else 3, 0) + _fixed(*shape)
    tags = {
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50),
        **{
            name: b"XYZ " + bytes(4) + _fixed(*value)
            for name, value in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue))
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x04200000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    return (header + bytes(28) + _fixed(*_D50)).ljust(128, b"\0") + table + body


@lru_cache(maxsize=1)
def adobe_rgb() -> bytes:
    """The profile of Adobe RGB (1998)."""
    return matrix_profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), 563 / 256)


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


@lru_cache(maxsize=16)
def _transform(profile: bytes, channels: int) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where it is sRGB. Little CMS uses one in several threads."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        _MODES[channels],
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
        # A grey's curve is not cut into 49 lines: its dark end would be six levels off.
        ImageCms.Flags.NOOPTIMIZE if channels == 1 else ImageCms.Flags.HIGHRESPRECALC,
    )
    if channels == 4:
        return transform
    levels = np.linspace(0, 255, 256 if channels == 1 else 18).round().astype(np.uint8)
    probe = np.stack(np.meshgrid(*[levels] * channels, indexing="ij"), axis=-1).reshape(1, -1, channels)
    shown = np.asarray(ImageCms.applyTransform(_image(probe), transform))
    return None if np.abs(shown.astype(np.int16) - _plain(probe)).max() <= 1 else transform


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(
        pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels), _MODES[pixels.shape[2]]
    )


def _plain(pixels: np.ndarray) -> np.ndarray:
    """(h, w, c) → (h, w, 3), the numbers as sRGB, ink as what it leaves of white."""
    if pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(_image(pixels).convert("RGB"))
