"""A shard's images as arrays, batch by batch: for whoever looks at each once. What cannot be decoded is named.

Shapes: n images, h w pixels.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int64, UInt8

from rayograph.ingest.columns import class_columns
from rayograph.ingest.images.decoding import decoded_images
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.frames import middle_square, whole
from rayograph.shards.sample import Sample

IMAGES_AT_ONCE = 128
"""Rows in a batch, but the last one's: bounds what is decoded at a time."""


@dataclass(frozen=True)
class ImageBatch:
    """`rows` are the images' in their shard; `classes` are there where every image of the batch has one."""

    rows: Int64[np.ndarray, " n"]
    pixels: UInt8[np.ndarray, "n h w 3"]
    classes: Int64[np.ndarray, " n"] | None
    names: list[str]
    """Shard and key, for errors."""
    rejected: list[str]
    """What is left out, and why, with shard and key."""
    keys: list[str]
    """The images' own keys, or those that their json names in the field asked for; "" where it names none."""


def image_batches(shards: Shards, name: str, size: int, key_field: str | None = None) -> Iterator[ImageBatch]:
    """The middle squares of a shard's images, scaled to `size`, in the shard's order.

    `key_field` names the field of their json that holds their key; None takes the key that they are stored under.
    """
    index = shards.index(name)
    for start in range(0, len(index), IMAGES_AT_ONCE):
        rows = shards.rows(name, index, range(start, min(start + IMAGES_AT_ONCE, len(index))))
        decoded, rejected = decoded_images(rows, partial(middle_square, size=size))
        pixels = [image for _, _, image in decoded]
        yield ImageBatch(
            rows=np.array([start + row for row, _, _ in decoded], np.int64),
            pixels=np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8),
            classes=class_columns([sample for _, sample, _ in decoded]).get("classes"),
            names=[f"{name} {sample.key}" for _, sample, _ in decoded],
            rejected=[row["reason"] for row in rejected],
            keys=[sample.key if key_field is None else _named(sample, key_field) for _, sample, _ in decoded],
        )


def _named(sample: Sample, field: str) -> str:
    """A field of a sample's json as text; nothing where it has none."""
    try:
        said = json.loads(sample.members.get("json", b"null"))
    except ValueError:
        return ""
    return str(said.get(field, "")) if isinstance(said, dict) else ""


def first_side(shards: Shards) -> int | None:
    """The shorter side of the first image; None where that cannot be decoded."""
    name = shards.names[0]
    decoded, _ = decoded_images(shards.rows(name, shards.index(name), [0]), whole)
    return min(decoded[0][2].shape[:2]) if decoded else None
