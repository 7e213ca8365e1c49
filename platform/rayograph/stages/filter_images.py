"""The stage `filter_images`: images to fewer of them (ingest/images/image_filter.py). Nothing is copied."""

from collections import Counter
from collections.abc import Sequence

from rayograph.conditioning.class_names import class_number
from rayograph.config.job.filtering import FilterImages
from rayograph.errors import ConfigError, DataError
from rayograph.runs.digests import digest_of
from rayograph.runs.lineage import address
from rayograph.runs.manifest import ShardRecord
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.shards.committed import Shards
from rayograph.stages.stage import CheckContext, Foreseen, Stage
from rayograph.storage import Access

FACTS = ("class_names", "classes", "image_size", "resize", "held_out")
"""What of the images' facts stays true of some of them."""


class FilterImagesStage(Stage[FilterImages]):
    """Images to images."""

    def check(self, declared: FilterImages, context: CheckContext) -> None:
        """Raise ConfigError for a class that the images do not have."""
        names = context.input("images").class_names
        if names is not None:
            for field in ("classes", "classes_left_out"):
                numbers_of(getattr(declared, field) or (), names, f"{context.name}.{field}")

    def source_digest(self, declared: FilterImages, access: Access) -> str | None:
        """Return the digest of the keys that go, in whatever order they stand; nothing without them."""
        if declared.keys_left_out_uri is None:
            return None
        from rayograph.ingest.images.image_filter import keys_in

        return digest_of(sorted(keys_in(declared.keys_left_out_uri, access)))

    def foresee(self, declared: FilterImages, context: CheckContext) -> Foreseen:
        """Return what is known of the images."""
        return context.input("images")

    def run(self, declared: FilterImages, context: StageContext) -> StageResult:
        """Look at every shard. Raises DataError where nothing stays of a split."""
        from rayograph.ingest.images.image_filter import Filter, FilteredShard
        from rayograph.ingest.streams import each

        images, manifest = context.input("images")
        names = manifest.facts.get("class_names") or []
        shards = Shards.of(images, manifest, manifest.shards, context.scale.access)
        keep = Filter(
            declared,
            shards,
            context.artifact,
            None if declared.classes is None else numbers_of(declared.classes, names, f"{context.name}.classes"),
            numbers_of(declared.classes_left_out, names, f"{context.name}.classes_left_out"),
            context.scale.access,
        )
        result = StageResult(base_uri=address(context.artifact, shards.tars))
        left_out: Counter[str] = Counter()
        at_once = context.scale.ingest.tasks
        with Reporter(context, "images", manifest.samples, at_once=at_once) as recorder:
            done = each(shards.names, keep, context.scale.ingest)
            for shard, data in zip(manifest.shards, done, strict=True):
                found = FilteredShard.model_validate_json(data)
                result.add_shard(found.files, ShardRecord(path=shard.path, split=shard.split, samples=found.samples))
                left_out.update(found.left_out)
                recorder.progress.advance_to(recorder.progress.done + shard.samples)
        for split in {shard.split for shard in manifest.shards} - {shard.split for shard in result.shards}:
            raise DataError(f"{context.name}: expected some of the {split} images to stay, got none: {told(left_out)}")
        result.facts = {name: manifest.facts[name] for name in FACTS if name in manifest.facts}
        result.facts["left_out"] = dict(sorted(left_out.items()))
        result.headline = f"left out {told(left_out)}" if left_out else "left out none"
        return result


def numbers_of(classes: Sequence[int | str], names: Sequence[str], where: str) -> frozenset[int]:
    """Return classes by number. Raises ConfigError for one that the images do not have."""
    found = [class_number(given, names) for given in classes]
    for given, number in zip(classes, found, strict=True):
        if number is None or not 0 <= number < len(names):
            raise ConfigError(f"{where}: expected classes of the images, which have {len(names)}, got {given!r}")
    return frozenset(number for number in found if number is not None)


def told(left_out: Counter[str]) -> str:
    """Say how many, by what decided: 12 (9 size, 3 class)."""
    by = ", ".join(f"{count:,} {what}" for what, count in sorted(left_out.items()))
    return f"{left_out.total():,} ({by})"
