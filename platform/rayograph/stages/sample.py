"""sample: units of samples drawn by Ray Serve replicas, each committed as an output shard."""

from rayograph.config import Sample
from rayograph.sampling.units import SPLIT, plan_units
from rayograph.shards.index import ShardIndex
from rayograph.shards.store import find_index
from rayograph.stages.cluster import require
from rayograph.stages.outcome import Outcome
from rayograph.stages.recorder import Recorder
from rayograph.stages.resolve import ResolvedStage


def run_sample(stage: ResolvedStage, declared: Sample) -> Outcome:
    """Draws what is not drawn yet; a stage killed half way goes on from its committed shards."""
    from rayograph.serving.coordinator import draw_all
    from rayograph.serving.sampler import MAX_ONGOING, deploy, remove

    model, trained = stage.input("model")
    scale = stage.scale.sampling
    units = plan_units(declared)
    indices = {unit.number: index for unit in units if (index := find_index(stage.artifact, unit.shard)) is not None}
    todo = [unit for unit in units if unit.number not in indices]
    with Recorder(stage, "images", declared.num_samples) as recorder:
        recorder.progress.advance_to(sum(len(index) for index in indices.values()))
        if todo:
            replicas = min(scale.replicas, len(todo))
            require(stage.scale, stage.name, cpus=replicas * scale.cpus_per_replica, gpus=replicas * stage.scale.gpus)
            application = f"rayograph-{stage.job.name}-{stage.name}-{stage.key}"
            handle = deploy(
                application,
                replicas,
                scale.cpus_per_replica,
                stage.scale.gpus,
                request=declared,
                seed=stage.seed,
                model=model,
                digest=trained.digest,
                target=stage.artifact,
                device=stage.scale.device,
                threads=scale.threads_per_replica,
            )
            try:
                window = MAX_ONGOING * replicas
                for unit, data in draw_all(handle, todo, window=window, max_attempts=scale.max_attempts):
                    indices[unit.number] = ShardIndex.from_bytes(data, unit.shard)
                    recorder.progress.advance_to(recorder.progress.done + len(indices[unit.number]))
            finally:
                remove(application)
    outcome = Outcome(facts={"class_names": trained.facts["class_names"]})
    for unit in units:
        outcome.add_shard(stage, unit.shard, SPLIT, indices[unit.number])
    return outcome
