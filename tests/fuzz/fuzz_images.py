"""Mutates images of every format and opens them: each ends with pixels or a DataError, within bounded memory.

python tests/fuzz/fuzz_images.py --count 50000 --seed 0
"""

import argparse
import io
import random
import resource
import time
import warnings
import zlib
from collections import Counter
from functools import partial

import numpy as np
from PIL import Image

from rayograph.errors import DataError
from rayograph.shards.pixels.colour import _PRIMARIES, matrix_profile
from rayograph.shards.pixels.decode import Reading, render
from rayograph.shards.pixels.frames import middle_square, shorter_side, whole

SLOW_SECONDS = 5.0


def seeds() -> list[bytes]:
    """Small files of each format, plain, progressive, animated, transparent, profiled and turned."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = matrix_profile(_PRIMARIES[12], None)
    clear = smooth.copy()
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (48, 64), np.uint8)))
    deep = Image.fromarray(rng.integers(0, 65536, (48, 64)).astype(np.uint16))
    frames = {"save_all": True, "append_images": [smooth.rotate(90)]}
    given = [
        *[(smooth, "JPEG", options) for options in ({}, {"progressive": True}, {"exif": exif, "icc_profile": profile})],
        *[(smooth.convert(mode), "JPEG", {}) for mode in ("L", "CMYK")],
        *[(smooth, kind, {"icc_profile": profile, "exif": exif}) for kind in ("PNG", "WEBP", "AVIF")],
        *[(clear, kind, {}) for kind in ("PNG", "WEBP", "AVIF", "TIFF")],
        *[(image, kind, {}) for image in (deep, smooth.convert("1"), smooth.convert("L")) for kind in ("PNG", "TIFF")],
        *[(smooth, kind, frames) for kind in ("GIF", "WEBP", "PNG")],
        *[(smooth, "TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")],
        *[(smooth, "BMP", {}), (smooth.convert("P"), "BMP", {}), (smooth.convert("P"), "PNG", {"transparency": 3})],
        *[(smooth, "WEBP", {"lossless": True}), (smooth.convert("P"), "GIF", {})],
    ]
    found = []
    for image, kind, options in given:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return found


def mutated(data: bytes, other: bytes, draws: random.Random) -> bytes:
    """One to four of: flipped bits, a cut, a splice, a field of the header; a PNG's checksums mostly made good."""
    new = bytearray(data)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(new) or 1)
        match draws.randrange(5):
            case 0:
                for _ in range(draws.randint(1, 8)):
                    if new:
                        new[draws.randrange(len(new))] ^= 1 << draws.randrange(8)
            case 1:
                del new[at:]
            case 2:
                begin = draws.randrange(len(other))
                new[at : at + draws.randrange(64)] = other[begin : begin + draws.randrange(64)]
            case 3:
                at = draws.randrange(min(len(new), 64) or 1)
                new[at : at + 2] = draws.choice((b"\xff\xff", b"\0\0", b"\x7f\xff", draws.randbytes(2)))
            case _:
                del new[at : at + draws.randrange(200)]
    return _checked(bytes(new)) if draws.random() < 0.7 else bytes(new)


def _checked(data: bytes) -> bytes:
    """A PNG with right checksums, so that damage comes through to the decoder."""
    if not data.startswith(b"\x89PNG"):
        return data
    new, at = bytearray(data), 8
    while at + 12 <= len(new):
        end = at + 12 + int.from_bytes(new[at : at + 4], "big")
        if end > len(new):
            break
        new[end - 4 : end] = zlib.crc32(new[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(new)


def fuzz(count: int, seed: int) -> Counter[str]:
    """How many gave pixels, how many a DataError. Anything else is raised."""
    draws, files, outcomes = random.Random(seed), seeds(), Counter[str]()
    frames = (whole, partial(middle_square, size=32), partial(shorter_side, size=32))
    for number in range(count):
        data = mutated(draws.choice(files), draws.choice(files), draws)
        began = time.monotonic()
        try:
            pixels = render(data, "photo-7", draws.choice(frames), Reading(tolerate_damage=draws.random() < 0.3))
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            outcomes["pixels"] += 1
        except DataError as error:
            said = str(error)
            outcomes["refused"] += 1
            if not said.startswith("photo-7: ") or " at 0x" in said:
                raise
        took = time.monotonic() - began
        assert took < SLOW_SECONDS, f"number {number} of seed {seed} took {took:.1f} s"
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.monotonic()
    outcomes = fuzz(given.count, given.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{dict(outcomes)} in {time.monotonic() - began:.0f} s, peak {peak} MiB")


if __name__ == "__main__":
    main()
