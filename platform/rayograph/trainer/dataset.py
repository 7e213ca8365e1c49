"""A training's input: the plan over its committed data sets, the reader that follows it, its images' size."""

from rayograph.config import View
from rayograph.config.job.training import Training
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.decoders import Content
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.manifest import TRAIN
from rayograph.runs.stage_context import StageContext
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet, slice_rows
from rayograph.shards.order.sample_order import Plan


def planned_reader(stage: StageContext, recipe: Training, field: str, content: Content) -> PlannedReader:
    """Over the training split of all data sets of input `field`. Raises DataError for one that has none."""
    sets, read = [], []
    for artifact, manifest, weight in stage.mixture(field):
        shards = manifest.split(TRAIN)
        samples = sum(shard.samples for shard in shards)
        if not samples:
            raise DataError(f"{artifact.uri}: expected samples in the {TRAIN} split, got none")
        sizes = {file.path: file.bytes for file in manifest.files}
        rows = slice_rows(samples, sum(sizes[shard.path] for shard in shards), recipe.lanes)
        sets.append(DataSet(tuple(shard.samples for shard in shards), rows, weight))
        read.append(Shards.of(artifact, manifest, shards, stage.scale.access))
    plan = Plan(tuple(sets), stage.seed, recipe.global_batch_size, recipe.lanes)
    return PlannedReader(tuple(read), plan, content)


def seen_size(view: View, stage: StageContext) -> int:
    """Return the size, once the images are there. Raises ConfigError where they have none in common."""
    if view.image_size is not None:
        return view.image_size
    packed: set[int | None] = {manifest.facts.get("image_size") for _, manifest, _ in stage.mixture("images")}
    size = packed.pop()
    if packed or size is None:
        raise ConfigError(f"{stage.name}.view.image_size: expected a size, as the images were not packed at one")
    return size
