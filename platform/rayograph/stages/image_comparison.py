"""What `evaluate` does: actors sum up images while they stream by; the driver measures, and draws the page.

No image is held on the driver but those that come onto a sheet, and no feature but those of images that are compared
one by one: its memory does not grow with the sets.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from rayograph.config import Evaluate, Features
from rayograph.config.reading import core_yaml
from rayograph.errors import ConfigError, DataError
from rayograph.evaluation.selection import select
from rayograph.ingest.images.image_batches import first_side
from rayograph.runs.artifact import REPORT, Artifact
from rayograph.runs.lineage import ancestors
from rayograph.runs.manifest import HELD_OUT, TRAIN, Manifest, ShardRecord
from rayograph.runs.origins import origins_of
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.sampling.denoising import denoising_steps
from rayograph.shards.committed import Shards
from rayograph.stages.resources import require_pool
from rayograph.storage import Access

if TYPE_CHECKING:
    from rayograph.evaluation.measures import Measures
    from rayograph.evaluation.report.page import Report
    from rayograph.evaluation.summaries import Summary
    from rayograph.ingest.images.shard_summariser import SelectedShard

FIGURES = "report.json"
COLUMNS = 12
"""Images side by side on a sheet."""
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


def run_evaluate(stage: StageContext, declared: Evaluate) -> StageResult:
    """Sum up, measure, draw the page. Raises DataError once more is left out than `bad_sample_limit`."""
    from rayograph.evaluation.measures import measure
    from rayograph.evaluation.report.page import circumstances, headlines, render, summary

    require_pool(stage)
    sets = _image_sets(stage)
    with Reporter(
        stage, "images", sum(images.images for images in sets), at_once=stage.scale.encode.actors
    ) as recorder:
        if not any(images.name == "held_out" for images in sets):
            recorder.progress.say(
                "no held-out images: samples are compared with all, and there is nothing to compare that with"
            )
        found = _summaries(stage, declared, sets, recorder)
        recorder.progress.doing("now", "draws a few step by step")
        steps = _steps(stage)
        recorder.progress.doing("now", "measures")
        measures = measure(found.get("train"), found.get("held_out"), found["samples"], declared.neighbours)
        report = _report(stage, measures, found, steps)
        figures = summary(report)
        recorder.wandb.summarise({name: value for name, value in figures.items() if isinstance(value, float)})
        for name, picture in _pictures(report, found["samples"]).items():
            recorder.wandb.log_image(name, picture)
        for line in headlines(figures):
            recorder.progress.say(line)
    rejected = [reason for part in found.values() for reason in part.rejected]
    text = json.dumps(figures, allow_nan=False, indent=2).encode()
    return StageResult(
        files=[stage.artifact.write(FIGURES, text), stage.artifact.write(REPORT, render(report).encode())],
        facts=figures | circumstances(report) | {"rejected": rejected},
    )


def _image_sets(stage: StageContext) -> list[ImageSet]:
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


def _summaries(
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
            SelectedShard(images.name, shards, name, selection, reconstructed)
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


def _steps(stage: StageContext) -> np.ndarray | None:
    """(s, n, h, w, 3): the first samples on their way, and done; None where no model is named that drew them."""
    import ray

    _, drawn = stage.input("samples")
    if "model" not in stage.inputs or drawn.kind != "sample":
        return None
    task = ray.remote(num_cpus=stage.scale.encode.cpus_per_actor, num_gpus=stage.scale.gpus)(denoising_steps)
    steps: np.ndarray = ray.get(task.remote(stage.inputs["model"], drawn, stage.scale.device))
    return steps


def _report(
    stage: StageContext, measures: "Measures", found: Mapping[str, "Summary"], steps: np.ndarray | None
) -> "Report":
    from rayograph.evaluation.report.ancestry import lineage, training_curves
    from rayograph.evaluation.report.figures import denoising_strip, reconstruction_pairs, samples_by_class, tile
    from rayograph.evaluation.report.page import Report

    samples, held_out = found["samples"], found.get("held_out")
    shown = samples.shown
    rows = samples_by_class(shown.pixels, shown.labels, COLUMNS) if samples.labelled else []
    pairs = None
    if held_out is not None and len(held_out.shown.reconstructions):
        pairs = reconstruction_pairs(held_out.shown.pixels, held_out.shown.reconstructions, COLUMNS)
    ancestry = ancestors(stage.inputs["samples"], stage.scale.access)
    known = {node.uri for node in ancestry}
    ancestry += [node for node in ancestors(stage.inputs["images"], stage.scale.access) if node.uri not in known]
    names = [stage.input(field)[1].facts.get("class_names") for field in ("images", "samples")]
    return Report(
        job=stage.job.name,
        measures=measures,
        stage_seconds={node.manifest.stage: node.manifest.seconds for node in reversed(ancestry)},
        lineage=lineage(ancestry),
        configuration=core_yaml.dump(stage.job.model_dump(mode="json")),
        training=training_curves(ancestry),
        samples_by_class=rows,
        samples=None if rows else tile(shown.pixels[: 8 * COLUMNS], COLUMNS),
        denoising=None if steps is None else denoising_strip(steps, scale=2),
        reconstructions=pairs,
        origins=origins_of(node.manifest.facts for node in ancestry),
        class_names=dict(enumerate(next(filter(None, names), []))),
    )


def _pictures(report: "Report", samples: "Summary") -> dict[str, bytes]:
    """What the tracker shows."""
    from rayograph.evaluation.report.figures import tile

    pictures = {
        "reconstructions": report.reconstructions,
        "samples": report.samples or tile(samples.shown.pixels[: 8 * COLUMNS], COLUMNS),
        "denoising": report.denoising,
    }
    return {name: picture for name, picture in pictures.items() if picture is not None}
