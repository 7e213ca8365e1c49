"""sample: a request's units drawn by Ray Serve replicas, each committed as an output shard.

A stage killed half way goes on from its committed shards, whoever committed them; two drivers of one request share the
work, and every shard is committed once.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

from rayograph.config import Sample
from rayograph.config.address import LOCAL
from rayograph.errors import DataError, StoppedError
from rayograph.generation.deployment import application
from rayograph.generation.dispatcher import Coordinator, SetAside, Tick
from rayograph.generation.fair_share import Share
from rayograph.generation.monitor import Steward
from rayograph.generation.replica import MAX_ONGOING, Assignment
from rayograph.ray_compat import inside_submitted_job
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import ancestors, data_sets
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.sampling.job_state import DEAD, wanted
from rayograph.sampling.reproduce import keep_origin
from rayograph.sampling.requests.plan import Plan
from rayograph.sampling.work_unit import Landed, Origin
from rayograph.shards.index import SUFFIX
from rayograph.stages.resources import require
from rayograph.stages.sample import plan_of

READERS = 16


def run_sample(stage: StageContext, declared: Sample) -> StageResult:
    """Draws what is not drawn yet. Raises DataError naming units that had to be set aside: the same command tries them
    again; StoppedError where the job was cancelled.
    """
    if wanted(stage.artifact) == "cancelled":
        raise StoppedError(f"{stage.artifact.uri}: was cancelled; `rayograph resume` lets it go on")
    model, trained = stage.input("model")
    plan = plan_of(stage, declared)
    before = ancestors(model, stage.scale.access)
    data = sorted(data_sets(before))
    origin = Origin(stage.artifact.path, plan.digest, trained.digest, tuple(data))
    keep_origin(stage.artifact, origin, model, declared.image, declared.marking)
    there = committed_units(stage.artifact, plan)
    landed: dict[int, Landed] = {}
    facts = {"class_names": trained.facts["class_names"], "request": plan.digest}
    at_once = min(stage.scale.sampling.replicas[1], plan.total_units)
    with Reporter(stage, "images", plan.total_samples, at_once=at_once) as recorder:
        if not there.all():
            facts |= _draw_missing(stage, declared, plan, origin, there, landed, recorder)
        outcome = StageResult(facts=facts)
        for unit in _in_order(stage.artifact, plan, landed):
            outcome.files += unit.files
            outcome.shards.append(unit.shard)
    outcome.files += stage.artifact.records("request/p")  # the plan and its pages; not what this machine measured
    return outcome


def committed_units(artifact: Artifact, plan: Plan) -> np.ndarray:
    """(units,) bool, by one listing."""
    there = np.zeros(plan.total_units, bool)
    for name in artifact.names("shards/"):
        if name.endswith(SUFFIX):
            there[int(name.removesuffix(SUFFIX).rpartition("-")[2])] = True
    return there


def _draw_missing(
    stage: StageContext,
    declared: Sample,
    plan: Plan,
    origin: Origin,
    there: np.ndarray,
    landed: dict[int, Landed],
    recorder: Reporter,
) -> dict[str, Any]:
    """Draws what is not there into `landed`; what all of it cost, for the manifest."""
    scale = stage.scale.sampling
    missing = np.flatnonzero(~there)
    gpus = stage.scale.gpus if scale.gpus_per_replica is None else scale.gpus_per_replica
    replicas = scale.model_copy(update={"replicas": _bounded(scale.replicas, len(missing))})
    at_once = max(1, replicas.replicas[0])
    require(stage.scale, stage.name, cpus=at_once * scale.cpus_per_replica, gpus=at_once * gpus)
    assignment = Assignment(
        stage.artifact, stage.inputs["model"], origin, declared.image, declared.marking, replicas, stage.scale.device
    )
    for name in stage.artifact.names(DEAD):
        stage.artifact.store.delete(stage.artifact.key(name))
    with (
        application(f"rayograph-{stage.job.name}-{stage.name}-{stage.key}", assignment, gpus) as serving,
        closing(_share(stage, declared, replicas.replicas[1], gpus)) as share,
    ):
        steward = Steward(
            stage.artifact, plan.total_samples, plan.total_units, declared.priority, scale.price_per_hour,
            MAX_ONGOING, share.now, serving.running, serving.failure,
        )  # fmt: skip
        steward.units = int(there.sum())
        steward.samples = sum(len(plan.unit(int(number))) for number in np.flatnonzero(there))
        recorder.progress.begin_at(steward.samples)
        with steward:
            tried: set[int] = set()
            coordinator = Coordinator(serving.call, steward.window, scale.max_attempts)
            for event in coordinator.run(plan.unit(int(number)) for number in missing):
                match event:
                    case Landed():
                        landed[event.unit] = event
                        steward.units += 1
                        steward.samples += event.shard.samples
                        steward.device_seconds += event.device_seconds
                        recorder.progress.advance_to(steward.samples)
                    case SetAside():
                        _set_aside(stage.artifact, event)
                        steward.dead.append(event.unit.shard)
                        tried.add(event.attempts)
                        recorder.progress.say(f"{event.unit.shard} set aside: {event.error}")
                    case Tick():
                        steward.lost = event.lost
                        recorder.progress.doing("replicas", _going_on(steward, event))
                        _look_up(stage, steward)
                        if steward.overtaken:
                            break
            if steward.dead:
                raise DataError(
                    f"{stage.artifact.uri}: {len(steward.dead)} of {plan.total_units} units failed "
                    f"{_times(tried)} each and were set aside ({', '.join(steward.dead[:3])}): "
                    f"{DEAD} says why; the same command tries them again"
                )
    return {
        "device_seconds": round(steward.device_seconds, 3),
        "replica_seconds": round(steward.replica_seconds, 3),
        "device_seconds_per_image": round(steward.device_seconds / plan.total_samples, 6),
        "money": steward.money,
        "money_per_image": None if steward.money is None else round(steward.money / plan.total_samples, 9),
        "lost": steward.lost,
    }


def _going_on(steward: Steward, tick: Tick) -> str:
    """What replicas are at, for the line below the bar."""
    if steward.wanted == "paused":
        return f"paused, {tick.flying} units under way"
    again = f", {tick.lost} sent again" if tick.lost else ""
    aside = f", {len(steward.dead)} set aside" if steward.dead else ""
    return f"{steward.running} running, {tick.flying} units under way{again}{aside}"


def _look_up(stage: StageContext, steward: Steward) -> None:
    """Raises StoppedError once the job is cancelled, DataError once no replica can ever start."""
    if steward.wanted == "cancelled":
        raise StoppedError(f"{stage.artifact.uri}: cancelled; `rayograph resume` lets it go on")
    if steward.failure is not None:
        raise DataError(f"{stage.name}: its replicas cannot start: {steward.failure}")


def _share(stage: StageContext, declared: Sample, replicas: int, gpus: float) -> Share:
    shared = stage.scale.ray.address != LOCAL or inside_submitted_job()
    cost, resource = (gpus, "GPU") if gpus else (stage.scale.sampling.cpus_per_replica, "CPU")
    return Share(
        stage.artifact.path, declared.priority, replicas, cost, resource, shared and not stage.scale.ray.autoscaling
    )


def _bounded(replicas: tuple[int, int], units: int) -> tuple[int, int]:
    """No more replicas than units."""
    fewest, most = replicas
    return min(fewest, units), min(most, units)


def _times(attempts: set[int]) -> str:
    """Of a unit, or of several that were not tried equally often."""
    fewest, most = min(attempts), max(attempts)
    return f"{most} times" if fewest == most else f"{fewest} to {most} times"


def _set_aside(artifact: Artifact, event: SetAside) -> None:
    unit = event.unit
    said = {
        "unit": unit.number,
        "samples": [unit.start, unit.stop],
        "attempts": event.attempts,
        "error": event.error,
    }
    name = unit.shard.rpartition("/")[2].removesuffix(".tar")
    artifact.write(f"{DEAD}{name}.json", json.dumps(said, indent=1).encode())


def _in_order(artifact: Artifact, plan: Plan, landed: dict[int, Landed]) -> Iterator[Landed]:
    """Every unit; those of earlier attempts, and of other drivers, by their indices."""

    def read(number: int) -> Landed:
        unit = plan.unit(number)
        found = landed.get(number) or Landed.found(artifact, unit)
        if found is None:
            raise DataError(f"{artifact.uri}/{unit.shard}: expected the shard, found none")
        return found

    with ThreadPoolExecutor(READERS, thread_name_prefix="indices") as pool:
        yield from pool.map(read, range(plan.total_units))
