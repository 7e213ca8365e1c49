"""pack: a source to image shards (ingest/packing.py), by Ray Data tasks."""

from collections import Counter
from functools import partial

from rayograph.config import Pack
from rayograph.ingest.sources import open_source
from rayograph.ingest.sources.shipped.packages import extra_of, require_packages
from rayograph.ingest.sources.source import Findings, require_rows
from rayograph.json_types import Json
from rayograph.runs.manifest import HELD_OUT, TRAIN
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.stages.stage import CheckContext, Foreseen, Stage


class PackStage(Stage[Pack]):
    """A source to images, as shards."""

    def check(self, declared: Pack, context: CheckContext) -> None:
        """Raise ConfigError where the source comes in a package that is not installed."""
        extra = extra_of(declared.source)
        if extra is not None:
            require_packages(extra)

    def foresee(self, declared: Pack, context: CheckContext) -> Foreseen:
        """Return the images' size, where they get one, and whether some are held out."""
        return Foreseen(
            image_size=declared.image_size,
            decided_by=f"{context.name}.image_size",
            sizes_vary=declared.image_size is None,
            held_out=declared.held_out_fraction > 0,
        )

    def run(self, declared: Pack, context: StageContext) -> StageResult:
        """Pack what is not packed yet."""
        return run_pack(context, declared)


def run_pack(stage: StageContext, declared: Pack) -> StageResult:
    """Raises DataError once more images are rejected than `bad_sample_limit` allows, naming the first of them."""
    from rayograph.ingest.packing import pack_task
    from rayograph.ingest.streams import each

    source = open_source(declared.source, stage.scale.access)
    tasks = source.tasks(declared.samples_per_shard, declared.held_out_fraction)
    work = partial(pack_task, stage.artifact, source, declared)
    packed = Packed(stage, declared)
    total, at_once = sum(task.size for task in tasks), stage.scale.ingest.tasks
    with Reporter(stage, source.unit, total, at_once=at_once) as recorder:
        for task, data in zip(tasks, each(tasks, work, stage.scale.ingest), strict=True):
            packed.add(data)
            recorder.progress.advance_to(recorder.progress.done + task.size)
        outcome = packed.outcome(source.class_names)
        outcome.facts |= {"passed_over": dict(sorted(source.findings.passed_over.items()))}
        outcome.facts |= {"notes": list(source.findings.notes)} | dict(source.findings.facts)
        if packed.left_out:
            outcome.facts |= {"left_out": dict(sorted(packed.left_out.items()))}
            recorder.progress.say("left out: " + ", ".join(f"{kind} {n:,}" for kind, n in packed.left_out.items()))
        for line in told_of(source.findings, packed.counts["captions_left"]):
            recorder.progress.say(line)
        if packed.rejected:
            recorder.progress.say(f"{len(packed.rejected)} images rejected; the manifest names them")
        if packed.counts["unavailable"]:
            recorder.progress.say(f"{packed.counts['unavailable']} images left out, which the source never got")
    return outcome


def told_of(findings: Findings, captions_left: int) -> list[str]:
    """What the console says of how a source was read, and of what it holds that was not taken."""
    lines = list(findings.notes)
    if findings.passed_over:
        most = sorted(findings.passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
        lines.append("files passed over: " + ", ".join(f"{kind} {count:,}" for kind, count in most))
    if captions_left:
        lines.append(f'{captions_left:,} further captions were left; columns.captions="all" keeps them')
    return lines


class Packed:
    """What the tasks did, all together: a few numbers and files' records, whatever the number of images."""

    def __init__(self, stage: StageContext, declared: Pack) -> None:
        self._stage, self._declared, self._outcome = stage, declared, StageResult()
        self.rejected: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self._members: Counter[str] = Counter()
        self._images: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._classes = 0

    def add(self, data: bytes) -> None:
        """One task's record. Raises DataError as `run_pack` does."""
        from rayograph.ingest.packing import PackedTask, require_few, task_record

        task = PackedTask.model_validate_json(data)
        self._outcome.files += [*task.files, self._stage.artifact.record(task_record(task.task), data)]
        self._outcome.shards += task.shards
        self.rejected += task.rejected
        self.counts.update(rows=task.rows, unavailable=task.unavailable, captions_left=task.captions_left)
        self.counts.update({shard.split: 0 for shard in task.shards})
        for shard in task.shards:
            self.counts[shard.split] += shard.samples
        self._members.update(task.members)
        self._images.update(task.images)
        self.left_out.update(task.left_out)
        self._classes = max(self._classes, task.classes)
        require_few(self.rejected, self._declared.bad_sample_limit)

    def outcome(self, class_names: list[str]) -> StageResult:
        """Everything, for the manifest. Raises DataError where a split has no image."""
        for split in (TRAIN, HELD_OUT) if self._declared.held_out_fraction else (TRAIN,):
            require_rows(split, self.counts[split], self.counts["rows"])
        facts: dict[str, Json] = {
            "class_names": class_names or [str(number) for number in range(self._classes)],
            "image_size": self._declared.image_size,
            "resize": self._declared.resize,
            "rejected": self.rejected,
            "unavailable": self.counts["unavailable"],
            "captions_left": self.counts["captions_left"],
            "members": dict(sorted(self._members.items())),
            "images": dict(sorted(self._images.items())),
        }
        self._outcome.facts |= facts
        return self._outcome
