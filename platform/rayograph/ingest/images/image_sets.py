"""Sets of images that are compared: which there are, and each summed up by actors while its images stream by.

No image is held on the driver but those that come onto a sheet, and no feature but those of images that are compared
one by one: its memory does not grow with the sets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from rayograph.config import Evaluate, Features
from rayograph.errors import ConfigError, DataError
from rayograph.evaluation.report.contents import COLUMNS
from rayograph.evaluation.selection import select
from rayograph.ingest.images.image_batches import first_side
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, TRAIN, Manifest, ShardRecord
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.shards.committed import Shards
from rayograph.storage import Access

if TYPE_CHECKING:
    from rayograph.evaluation.summaries import Summary
    from rayograph.ingest.images.shard_summariser import SelectedShard

SHOWN_SAMPLES, SHOWN_PAIRS = 2000, 2 * COLUMNS
"""The first so many may come onto sheets."""
SHOWN_BYTES = 256 << 20
"""Of pixels that may: large images are fewer."""
THUMBNAIL_SIDE = 8
"""The classifier reads images whose side is a multiple of it (evaluation/classifier.py)."""


@dataclass(frozen=True)
class ImageSet:
    """Some shards of an artifact, under the name that the report's counts have for them."""

    name: str
    artifact: Artifact
    manifest: Manifest
    shards: Sequence[ShardRecord]

    @property
    def images(self) -> int:
        """How many there are, those that cannot be decoded included."""
        return sum(shard.samples for shard in self.shards)

    def read(self, access: Access) -> Shards:
        """The shards for reading."""
        return Shards.of(self.artifact, self.manifest, self.shards, access)


def image_sets(stage: StageContext) -> list[ImageSet]:
    """Training images, held-out ones where there are any, and samples. An artifact without splits is one set."""
    images, packed = stage.input("images")
    samples, drawn = stage.input("samples")
    held_out = packed.split(HELD_OUT)
    train = packed.split(TRAIN) if held_out else packed.shards
    sets = [
        ImageSet("train", images, packed, train),
        ImageSet("held_out", images, packed, held_out),
        ImageSet("samples", samples, drawn, drawn.shards),
    ]
    for artifact, shards in ((images, packed.shards), (samples, drawn.shards)):
        if not shards:
            raise DataError(f"{artifact.uri}: expected images, got none")
    return [found for found in sets if found.shards]


def summaries(
    stage: StageContext, declared: Evaluate, sets: Sequence[ImageSet], recorder: Reporter
) -> dict[str, "Summary"]:
    """Each set's, by name; its shards are summed up by a pool of actors, and joined in their order."""
    from rayograph.evaluation.summaries import joined
    from rayograph.ingest.streams import each_with

    scale, pool = stage.scale, stage.scale.encode
    size = _image_size(stage, declared, sets[-1])
    shards = _selected(stage, declared, sets, size)
    worker = partial(
        _summariser,
        declared.extractor,
        stage.inputs.get("autoencoder"),
        size,
        scale.device,
        pool.threads_per_actor,
        scale.access,
    )
    parts = each_with(shards, worker, cpus=pool.cpus_per_actor, gpus=scale.gpus, actors=pool.actors)
    arrived = _arriving(parts, shards, declared.bad_sample_limit, recorder)
    found = {
        name: joined(part for _, part in group) for name, group in groupby(arrived, key=lambda pair: pair[0].set_name)
    }
    for images in sets:
        if not found[images.name].moments.count:
            first = "".join(f": {reason}" for reason in found[images.name].rejected[:1])
            raise DataError(f"{images.artifact.uri}: expected images, got none that can be decoded{first}")
    return found


def _image_size(stage: StageContext, declared: Evaluate, samples: ImageSet) -> int:
    """What is said, or what the autoencoder was trained at or the images packed at, or the first sample's own."""
    known = [
        stage.input(field)[1].facts.get("image_size") for field in ("autoencoder", "images") if field in stage.inputs
    ]
    size = next((size for size in (declared.image_size, *known) if size is not None), None)
    size = first_side(samples.read(stage.scale.access)) if size is None else int(size)
    if size is None:
        raise ConfigError(f"{stage.name}.image_size: expected a size, as neither autoencoder nor images have one")
    return size


def _selected(stage: StageContext, declared: Evaluate, sets: Sequence[ImageSet], size: int) -> list["SelectedShard"]:
    """Every shard of every set, with what is kept of it: known from the manifests alone."""
    from rayograph.ingest.images.shard_summariser import SelectedShard

    counts = {images.name: images.images for images in sets}
    room = SHOWN_BYTES // (3 * size * size)
    shown = {"held_out": SHOWN_PAIRS, "samples": max(SHOWN_PAIRS, min(SHOWN_SAMPLES, room))}
    found = []
    for images in sets:
        selections = select(
            [shard.samples for shard in images.shards],
            stage.seed,
            compared=declared.compared_images,
            stand_ins=counts["samples"] if images.name == "train" and "held_out" in counts else 0,
            shown=shown.get(images.name, 0),
        )
        shards = images.read(stage.scale.access)
        reconstructed = images.name == "held_out" and "autoencoder" in stage.inputs
        found += [
            SelectedShard(
                images.name,
                shards,
                name,
                selection,
                reconstructed,
                keyed=declared.asked_key is not None,
                key_field=declared.asked_key if images.name == "samples" else None,
            )
            for name, selection in zip(shards.names, selections, strict=True)
        ]
    return found


def _summariser(
    features: Features, autoencoder: Artifact | None, size: int, device: str, threads: int, access: Access
) -> Callable[["SelectedShard"], bytes]:
    import torch

    from rayograph.ingest.images.shard_summariser import ShardSummariser

    torch.set_num_threads(threads)
    summarise = ShardSummariser(features, autoencoder, size, device, access, judged=size % THUMBNAIL_SIDE == 0)
    return lambda shard: summarise(shard).to_bytes()


def _arriving(
    parts: Iterator[bytes], shards: Sequence["SelectedShard"], bad_sample_limit: int, recorder: Reporter
) -> Iterator[tuple["SelectedShard", "Summary"]]:
    """Each shard with its summary. Raises DataError as soon as too much is left out."""
    from rayograph.evaluation.summaries import Summary

    rejected: list[str] = []
    for shard, data in zip(shards, parts, strict=True):
        part = Summary.from_bytes(data)
        for reason in part.rejected:
            recorder.progress.say(f"left out: {reason}")
        rejected += part.rejected
        if len(rejected) > bad_sample_limit:
            raise DataError(f"{rejected[0]} ({len(rejected)} rejected so far, bad_sample_limit {bad_sample_limit})")
        recorder.progress.advance_to(recorder.progress.done + part.moments.count + len(part.rejected))
        yield shard, part
