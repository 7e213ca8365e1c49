"""Running a job: every stage that its target needs, each skipped where its artifact is committed."""

import time

from rayograph.config import Job, Scale
from rayograph.config.reading.explain import suggestion
from rayograph.errors import ConfigError, StorageError
from rayograph.pipeline.preflight import check, check_cluster, check_machine
from rayograph.pipeline.ray_cluster import connect
from rayograph.pipeline.resolve import needed, resolve
from rayograph.ray_compat import inside_submitted_job
from rayograph.runs.artifact import REPORT, RESOLVED
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import commit
from rayograph.runs.terminal.console import say
from rayograph.runs.terminal.progress import duration
from rayograph.runs.wandb_access import settle
from rayograph.stages.stage import stage_of
from rayograph.storage import ObjectStore, open_store


def run_job(job: Job, scale: Scale, target: str | None) -> str:
    """Run `target`, by default the whole job, and return the URI of the result, of the report where there is one.

    Everything that can be refused is refused before any work: names, fields, inputs, the store.
    """
    names = stage_names(job, target)
    check(job, scale, names)
    check_machine(scale)
    store = store_of(scale)
    stages = resolve(job, scale, store)
    waiting = [stages[name] for name in names if stages[name].artifact.manifest() is None]
    check(job, scale, [stage.name for stage in waiting], stages)
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
        run_stage(stage)
        left = [other.name for other in waiting[waiting.index(stage) + 1 :]]
        check(job, scale, left, stages)
    return _result(stages[names[-1]])


def stage_names(job: Job, target: str | None) -> list[str]:
    """Return the stages that `target` needs, itself last; all for None. Raises ConfigError for an unknown one."""
    if target is None:
        return list(job.stages)
    if target not in job.stages:
        raise ConfigError(f"{target}: no such stage{suggestion(target, job.stages)}")
    return needed(job, target)


def run_stage(stage: StageContext) -> None:
    """Do one stage's work and commit it; its inputs are committed."""
    started = time.monotonic()
    work = stage_of(stage.declared)
    work.prepare(stage.declared, stage)
    stage.artifact.write(RESOLVED, stage.described())
    outcome = work.run(stage.declared, stage)
    manifest = commit(stage, outcome, started)
    counted = f"{manifest.samples:,} samples, " if manifest.shards else ""
    found = f"{outcome.headline}, " if outcome.headline else ""
    say(
        f"{stage.name:18} done in {duration(manifest.seconds)}: {found}{counted}{manifest.total_bytes:,} bytes  "
        f"{stage.artifact.uri}"
    )
    for warning in outcome.warnings:
        say(f"warning: {stage.name}: {warning}")


def store_of(scale: Scale) -> ObjectStore:
    """Open the profile's store, shown to be usable."""
    if inside_submitted_job() and "://" not in scale.store and not scale.store.startswith(("/", "~")):
        raise StorageError(
            f"store: expected an absolute path or a URI inside a submitted job, got {scale.store!r}: "
            "it would be lost with the job's working directory"
        )
    store = open_store(scale.store, scale.access)
    store.check_access()
    return store


def _result(stage: StageContext) -> str:
    """Return the report where there is one, else the artifact."""
    if any(file.path == REPORT for file in stage.artifact.committed().files):
        uri = stage.artifact.store.uri_of(stage.artifact.key(REPORT))
        return uri.removeprefix("file://")
    return stage.artifact.uri
