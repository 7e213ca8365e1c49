"""pack: a source to image shards (ingest/packing.py), by Ray Data tasks, one shard each."""

from functools import partial

from rayograph.config import Pack
from rayograph.errors import DataError
from rayograph.ingest.packing import ShardTask, pack_shard, plan_shards
from rayograph.ingest.sources import SourceReader, open_source
from rayograph.runs.artifact import Artifact
from rayograph.shards.index import ShardIndex
from rayograph.stages.outcome import Outcome
from rayograph.stages.recorder import Recorder
from rayograph.stages.resolve import ResolvedStage


def run_pack(stage: ResolvedStage, declared: Pack) -> Outcome:
    """Raises DataError once more images are rejected than `bad_sample_limit` allows, naming the first of them."""
    from rayograph.ingest.streams import each

    source = open_source(declared.source, stage.scale.endpoint_url)
    tasks = plan_shards(source.entries(), declared)
    work = partial(_pack, stage.artifact, source, declared)
    outcome = Outcome(facts={"class_names": source.class_names, "image_size": declared.image_size, "rejected": []})
    total = sum(len(task.entries) for task in tasks)
    with Recorder(stage, "images", total) as recorder:
        ingest = stage.scale.ingest
        for task, data in zip(tasks, each(tasks, work, cpus=ingest.cpus_per_task, tasks=ingest.tasks), strict=True):
            index = ShardIndex.from_json(data, task.name)
            outcome.add_shard(stage, task.name, task.split, index)
            rejected = outcome.facts["rejected"]
            rejected += index.facts["rejected"]
            if len(rejected) > declared.bad_sample_limit:
                raise DataError(
                    f"{rejected[0]['reason']} ({len(rejected)} images rejected so far, "
                    f"bad_sample_limit {declared.bad_sample_limit})"
                )
            recorder.progress.advance_to(recorder.progress.done + len(task.entries))
        if outcome.facts["rejected"]:
            recorder.progress.say(f"{len(outcome.facts['rejected'])} images rejected; the manifest names them")
    return outcome


def _pack(artifact: Artifact, source: SourceReader, declared: Pack, task: ShardTask) -> bytes:
    return pack_shard(artifact, task, source, declared).to_json()
