"""Samples to pixels, one by one: what cannot be decoded is left out, and named with its shard and key.

Shapes: h w pixels.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rayograph.errors import DataError
from rayograph.ingest.columns import class_of, image_of
from rayograph.shards.pixels.decode import render
from rayograph.shards.pixels.frames import Frame
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

Decoded = list[tuple[int, Sample, np.ndarray]]
"""Row, sample and pixels (h, w, 3) uint8 of each that could be decoded."""


def decoded_images(rows: Rows, choose: Callable[[int, int], Frame]) -> tuple[Decoded, list[dict[str, str]]]:
    """Decode every row whose image and class can be read; return the others as {"key", "reason"}."""
    decoded: Decoded = []
    rejected: list[dict[str, str]] = []
    for row, key in enumerate(rows.keys):
        try:
            sample = rows.sample(row)
            if "cls" in sample.members:
                class_of(sample)
            decoded.append((row, sample, render(*image_of(sample), choose)))
        except Exception as error:  # noqa: BLE001 - of whatever class, it is this sample's rejection
            rejected.append({"key": key, "reason": described(error, rows, row)})
    return decoded, rejected


def described(error: Exception, rows: Rows, row: int) -> str:
    """Return one line for what is wrong with a row's sample: shard, key and reason, whatever the error's class."""
    place, said = rows.place(row), " ".join(str(error).split()).removeprefix(f"{rows.keys[row]}: ")[:400]
    if not isinstance(error, DataError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return said if said.startswith(place) else f"{place}: {said}"


def require_few(rejected: Sequence[dict[str, str]], limit: int) -> None:
    """Raise DataError, naming the first, for more rejected samples than `bad_sample_limit` allows."""
    if len(rejected) > limit:
        raise DataError(f"{rejected[0]['reason']} ({len(rejected)} samples rejected so far, bad_sample_limit {limit})")
