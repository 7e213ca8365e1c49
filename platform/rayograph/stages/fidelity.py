"""What a first stage gives back of images that it never saw: measured once it is trained, before anything builds on it.

Shapes: n images, h w pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rayograph.ingest.decoding import decoded_images
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, Manifest
from rayograph.shards.committed import Shards
from rayograph.shards.frames import middle_square
from rayograph.storage import Access

MOST_IMAGES, MOST_SHARDS = 256, 16
"""Enough for a figure of three digits; spread evenly over the split."""
AT_ONCE = 16
"""Images through the network at a time: always the same, as batches decide the last digits."""


@dataclass(frozen=True)
class HeldOut:
    """Some held-out images by shard and rows, and the side they are looked at with."""

    parts: tuple[tuple[Shards, str, tuple[int, ...]], ...]
    size: int

    def pixels(self) -> tuple[np.ndarray, list[str]]:
        """(n, size, size, 3) uint8, and what could not be read, by shard and key, with the reason."""
        found, unreadable = [], []
        choose = partial(middle_square, size=self.size)
        for shards, name, chosen in self.parts:
            rows = shards.rows(name, shards.index(name), chosen)
            decoded, rejected = decoded_images(rows, choose)
            found += [pixels for _, _, pixels in decoded]
            unreadable += [row["reason"] for row in rejected]
        return np.stack(found) if found else np.empty((0, self.size, self.size, 3), np.uint8), unreadable


def held_out(mixture: Sequence[tuple[Artifact, Manifest, float]], size: int, access: Access) -> HeldOut:
    """Choose among the held-out images of all data sets, by their manifests alone: the same ones every time."""
    parts = []
    of_each = max(1, MOST_IMAGES // len(mixture))
    for artifact, manifest, _ in mixture:
        shards = manifest.split(HELD_OUT)
        chosen = [shards[place] for place in _spread(len(shards), MOST_SHARDS)]
        read = Shards.of(artifact, manifest, chosen, access)
        for number, shard in enumerate(chosen):
            wanted = of_each * (number + 1) // len(chosen) - of_each * number // len(chosen)
            parts.append((read, shard.path, tuple(_spread(shard.samples, wanted))))
    return HeldOut(tuple(parts), size)


def measured(images: HeldOut, models: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for the manifest: PSNR in decibels and SSIM, means over images; None where one cannot be had."""
    from rayograph.evaluation.reconstruction import SSIM_WINDOW, psnr, ssim
    from rayograph.models.autoencoder import reconstruct
    from rayograph.models.folder import AUTOENCODER
    from rayograph.training.workers import device

    pixels, unreadable = images.pixels()
    facts: dict[str, Any] = {"held_out_images": len(pixels), "held_out_unreadable": unreadable}
    if len(pixels):
        made = reconstruct(models[AUTOENCODER].eval().to(device()), pixels, AT_ONCE)
        facts["held_out_psnr"] = _finite(psnr(pixels, made), 3)
        facts["held_out_ssim"] = _finite(ssim(pixels, made), 4) if images.size >= SSIM_WINDOW else None
    return facts


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of 0 … count - 1, evenly; all of them if too few."""
    kept = min(count, wanted)
    return [count * place // kept for place in range(kept)]


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
