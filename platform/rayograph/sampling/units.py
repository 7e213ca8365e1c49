"""Units of work: unit k is a fixed range of samples, and becomes output shard k whoever draws it, however often."""

import json
from dataclasses import dataclass

import torch

from rayograph.config import Sample as SampleRequest
from rayograph.runs.artifact import Artifact
from rayograph.sampling.denoising import DiffusionModel
from rayograph.shards.images import to_png
from rayograph.shards.index import ShardIndex
from rayograph.shards.sample import Sample
from rayograph.shards.store import find_index, put_shard, shard_name

SPLIT = "samples"


@dataclass(frozen=True)
class Unit:
    """Samples [start, stop) of a request."""

    number: int
    start: int
    stop: int

    @property
    def shard(self) -> str:
        return shard_name(SPLIT, self.number)


def plan_units(request: SampleRequest) -> list[Unit]:
    """The request cut into units of `unit_size`, the last one shorter."""
    size = request.unit_size
    starts = range(0, request.num_samples, size)
    return [Unit(number, start, min(start + size, request.num_samples)) for number, start in enumerate(starts)]


def draw_unit(
    target: Artifact, unit: Unit, request: SampleRequest, seed: int, model: DiffusionModel, digest: str
) -> ShardIndex:
    """Draws a unit's samples and commits them as its shard, or finds them committed.

    Each sample carries its image and a JSON record of what drew it: number, seed, class, model digest and settings.
    """
    found = find_index(target, unit.shard)
    if found is not None:
        return found
    numbers = torch.arange(unit.start, unit.stop)
    classes = numbers % model.num_classes if model.num_classes else None
    pixels, _ = model.draw(seed, numbers, classes, request.sampler)
    samples = []
    for row, number in enumerate(numbers.tolist()):
        record = {"number": number, "seed": seed, "model": digest, **request.sampler.model_dump(mode="json")}
        members = {"png": to_png(pixels[row].numpy())}
        if classes is not None:
            record["class"] = int(classes[row])
            members["cls"] = str(int(classes[row])).encode()
        members["json"] = json.dumps(record, sort_keys=True).encode()
        samples.append(Sample(f"{number:09d}", members))
    return put_shard(target, unit.shard, samples)
