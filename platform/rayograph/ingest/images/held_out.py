"""Some held-out images of every data set of a mixture: the same ones every time.

Shapes: n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8

from rayograph.ingest.images.decoding import decoded_images
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, Manifest
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.frames import middle_square
from rayograph.storage import Access

MOST_IMAGES, MOST_SHARDS = 256, 16
"""Enough for a figure of three digits; spread evenly over the split."""


@dataclass(frozen=True)
class HeldOut:
    """Some held-out images by shard and rows, and the side they are looked at with."""

    parts: tuple[tuple[Shards, str, tuple[int, ...]], ...]
    size: int

    def pixels(self) -> tuple[UInt8[np.ndarray, "n size size 3"], list[str]]:
        """The pixels, and what could not be read, by shard and key, with the reason."""
        found, unreadable = [], []
        choose = partial(middle_square, size=self.size)
        for shards, name, chosen in self.parts:
            rows = shards.rows(name, shards.index(name), chosen)
            decoded, rejected = decoded_images(rows, choose)
            found += [pixels for _, _, pixels in decoded]
            unreadable += [row["reason"] for row in rejected]
        return np.stack(found) if found else np.empty((0, self.size, self.size, 3), np.uint8), unreadable


def held_out(mixture: Sequence[tuple[Artifact, Manifest, float]], size: int, access: Access) -> HeldOut:
    """Choose among the held-out images of all data sets, by their manifests alone."""
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


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of 0 … count - 1, evenly; all of them if too few."""
    kept = min(count, wanted)
    return [count * place // kept for place in range(kept)]
