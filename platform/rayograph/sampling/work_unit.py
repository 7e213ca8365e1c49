"""Units of work: unit k is a fixed range of samples, and becomes output shard k whoever draws it, however often."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rayograph.conditioning.protocol import Conditioner
from rayograph.config import ImageFile
from rayograph.json_types import JsonObject
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import FileRecord, ShardRecord
from rayograph.sampling.marking.image_encoder import encode
from rayograph.sampling.marking.record import xmp_packet
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.plan import SPLIT, Unit
from rayograph.sampling.requests.sample_batch import SampleBatch
from rayograph.shards.sample import Sample
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import find_index, put_shard, shard_files


@dataclass(frozen=True)
class Origin:
    """What all images of a job have in common in their records."""

    artifact: str
    """Its path in the store: job, stage and key."""
    request: str
    model: str
    data: tuple[str, ...]
    """Digests: of the plan, of the model's manifest, and of all images that the model descends from."""

    def record(self, draws: SampleBatch, row: int) -> dict[str, Any]:
        """All there is to say of one image; the same whenever it is drawn."""
        common = {"artifact": self.artifact, "request": self.request, "model": self.model, "data": list(self.data)}
        return draws.record(row) | common


@dataclass(frozen=True)
class Files:
    """How pixels become files. `watermark` hides a text in pixels, `sign` adds credentials to a file's bytes."""

    image: ImageFile
    sign: Callable[[bytes, Literal["png", "jpeg", "webp"]], bytes] | None = None
    watermark: Callable[[np.ndarray], np.ndarray] | None = None

    def bytes_of(self, pixels: np.ndarray, record: JsonObject) -> bytes:
        """(h, w, 3) uint8 as a marked file."""
        if self.watermark is not None:
            pixels = self.watermark(pixels)
        data = encode(pixels, self.image, xmp_packet(record))
        return data if self.sign is None else self.sign(data, self.image.kind)


@dataclass(frozen=True)
class CompletedUnit:
    """A unit whose shard is committed: what the manifest says of it, and what it cost here."""

    unit: int
    files: tuple[FileRecord, ...]
    shard: ShardRecord
    device_seconds: float = 0.0

    @staticmethod
    def found(target: Artifact, unit: Unit) -> "CompletedUnit | None":
        """What is committed already, by whomever."""
        index = find_index(target, unit.shard)
        return None if index is None else CompletedUnit.of(target, unit, index)

    @staticmethod
    def of(target: Artifact, unit: Unit, index: ShardIndex, device_seconds: float = 0.0) -> "CompletedUnit":
        files, shard = shard_files(target, unit.shard, SPLIT, index)
        return CompletedUnit(unit.number, tuple(files), shard, device_seconds)


def draw(model: DiffusionModel, draws: SampleBatch, batch_size: int) -> np.ndarray:
    """Pixels (n, h, w, 3) uint8 of a unit, `batch_size` samples at a time."""
    return np.concatenate([model.draw_rows(batch).numpy() for batch in draws.batches(batch_size)])


def keep(
    target: Artifact,
    unit: Unit,
    draws: SampleBatch,
    pixels: np.ndarray,
    origin: Origin,
    files: Files,
    conditioner: Conditioner,
    pool: Executor,
) -> ShardIndex:
    """Encodes a unit's pixels and commits them as its shard: image, record, and members that say what it is of."""

    def sample(row: int) -> Sample:
        record = origin.record(draws, row)
        members = {
            files.image.extension: files.bytes_of(pixels[row], record),
            "json": json.dumps(record, sort_keys=True, ensure_ascii=False).encode(),
        } | conditioner.members_of(draws.conditions(row))
        return Sample(f"{record['number']:09d}", members)

    return put_shard(target, unit.shard, list(pool.map(sample, range(len(draws)))))
