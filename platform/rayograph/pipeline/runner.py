"""Running a job: every stage that its target needs, each skipped where its artifact is committed."""

import time
from collections.abc import Callable
from typing import Any

from rayograph.config import (
    Encode,
    Evaluate,
    Job,
    Pack,
    Sample,
    Scale,
    Stage,
    TrainAutoencoder,
    TrainDiffusion,
)
from rayograph.config.explain import suggestion
from rayograph.errors import ConfigError, StorageError
from rayograph.pipeline.foresight import check_cluster, check_conditions, check_machine
from rayograph.pipeline.preflight import check
from rayograph.pipeline.ray_cluster import connect
from rayograph.pipeline.resolve import needed, resolve
from rayograph.ray_compat import inside_submitted_job
from rayograph.runs.artifact import REPORT, RESOLVED
from rayograph.runs.console import say
from rayograph.runs.progress import duration
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult, commit
from rayograph.runs.wandb_access import settle
from rayograph.stages.verdict import advice, headline
from rayograph.storage import ObjectStore, open_store


def run_job(job: Job, scale: Scale, target: str | None) -> str:
    """Runs `target`, by default the whole job; the URI of the result, of the report where there is one.

    Everything that can be refused is refused before any work: names, fields, inputs, the store.
    """
    names = stage_names(job, target)
    check(job, scale, names)
    check_machine(scale)
    store = _open(scale)
    stages = resolve(job, scale, store)
    waiting = [stages[name] for name in names if stages[name].artifact.manifest() is None]
    check_conditions(stages, waiting)
    if waiting:
        settle(say)
    for name in names:
        stage = stages[name]
        if stage not in waiting:
            say(f"{stage.name:18} committed before  {stage.artifact.uri}")
            continue
        connect(scale)
        if stage is waiting[0]:
            check_cluster(waiting)
        _run_stage(stage)
        if isinstance(stage.declared, Pack):
            check_conditions(stages, waiting)
    return _result(stages[names[-1]])


def stage_names(job: Job, target: str | None) -> list[str]:
    """The stages that `target` needs, itself last; all of them for None. Raises ConfigError for an unknown one."""
    if target is None:
        return list(job.stages)
    if target not in job.stages:
        raise ConfigError(f"{target}: no such stage{suggestion(target, job.stages)}")
    return needed(job, target)


def _run_stage(stage: StageContext) -> None:
    started = time.monotonic()
    if isinstance(stage.declared, Sample):
        from rayograph.stages.prepare import plan_of

        plan_of(stage, stage.declared)
    stage.artifact.write(RESOLVED, stage.described())
    outcome = _work_of(stage.declared)(stage, stage.declared)
    manifest = commit(stage, outcome, started)
    counted = f"{manifest.samples:,} samples, " if manifest.shards else ""
    found = f"{found}, " if (found := headline(manifest.facts)) else ""
    say(
        f"{stage.name:18} done in {duration(manifest.seconds)}: {found}{counted}{manifest.total_bytes:,} bytes  "
        f"{stage.artifact.uri}"
    )
    if isinstance(stage.declared, TrainAutoencoder):
        advised = advice(stage.name, stage.declared, manifest.facts)
        if advised is not None:
            say(advised)


def _work_of(declared: Stage) -> Callable[[StageContext, Any], StageResult]:
    """Imported when its turn comes: a stage that is committed costs no import of torch or Ray."""
    match declared:
        case Pack():
            from rayograph.stages.pack import run_pack

            return run_pack
        case TrainAutoencoder():
            from rayograph.stages.train_autoencoder import run_train_autoencoder

            return run_train_autoencoder
        case Encode():
            from rayograph.stages.encode import run_encode

            return run_encode
        case TrainDiffusion():
            from rayograph.stages.train_diffusion import run_train_diffusion

            return run_train_diffusion
        case Sample():
            from rayograph.stages.sample import run_sample

            return run_sample
        case Evaluate():
            from rayograph.stages.evaluate import run_evaluate

            return run_evaluate


def _open(scale: Scale) -> ObjectStore:
    """The profile's store, shown to be usable."""
    if inside_submitted_job() and "://" not in scale.store and not scale.store.startswith(("/", "~")):
        raise StorageError(
            f"store: expected an absolute path or a URI inside a submitted job, got {scale.store!r}: "
            "it would be lost with the job's working directory"
        )
    store = open_store(scale.store, scale.access)
    store.check_access()
    return store


def _result(stage: StageContext) -> str:
    if stage.declared.kind == "evaluate":
        uri = stage.artifact.store.uri_of(stage.artifact.key(REPORT))
        return uri.removeprefix("file://")
    return stage.artifact.uri
