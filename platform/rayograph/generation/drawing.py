"""sample: a request's units drawn by Ray Serve replicas, each committed as an output shard.

A stage killed half way goes on from its committed shards, whoever committed them; two drivers of one request share the
work, and every shard is committed once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from rayograph.config import Sample
from rayograph.config.address import LOCAL
from rayograph.errors import DataError, StoppedError
from rayograph.generation.deployment import application
from rayograph.generation.dispatcher import DeadLetter, Dispatcher, Window
from rayograph.generation.fair_share import FairShare
from rayograph.generation.job_driver import drive
from rayograph.generation.monitor import Monitor
from rayograph.generation.replica import MAX_ONGOING, ReplicaConfig
from rayograph.generation.tally import Tally
from rayograph.ingest.resources import require
from rayograph.json_types import Json
from rayograph.ray_compat import inside_submitted_job
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import ancestors, data_sets
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.sampling.job_state import DEAD, wanted
from rayograph.sampling.reproduce import keep_origin
from rayograph.sampling.requests.plan import Plan
from rayograph.sampling.requests.planner import planned_request
from rayograph.sampling.work_unit import CompletedUnit, Origin
from rayograph.shards.shard_index import SUFFIX

READERS = 16


def run_sample(stage: StageContext, declared: Sample) -> StageResult:
    """Draw what is not drawn yet. Raises DataError naming dead-letter units: the same command tries them
    again; StoppedError where the job was cancelled.
    """
    if wanted(stage.artifact) == "cancelled":
        raise StoppedError(f"{stage.artifact.uri}: was cancelled; `rayograph resume` lets it go on")
    model, trained = stage.input("model")
    plan = planned_request(stage, declared)
    before = ancestors(model, stage.scale.access)
    data = sorted(data_sets(before))
    origin = Origin(stage.artifact.path, plan.digest, trained.digest, tuple(data))
    keep_origin(stage.artifact, origin, model, declared.image, declared.marking)
    there = committed_units(stage.artifact, plan)
    completed: dict[int, CompletedUnit] = {}
    facts: dict[str, Json] = {"class_names": trained.facts["class_names"], "request": plan.digest}
    at_once = min(stage.scale.sampling.replicas[1], plan.total_units)
    with Reporter(stage, "images", plan.total_samples, at_once=at_once) as reporter:
        if not there.all():
            facts |= _draw_missing(stage, declared, plan, origin, there, completed, reporter)
        outcome = StageResult(facts=facts)
        for unit in _in_order(stage.artifact, plan, completed):
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
    completed: dict[int, CompletedUnit],
    reporter: Reporter,
) -> dict[str, float | int | None]:
    """Draw what is not there into `completed`; return what all of it cost, for the manifest."""
    scale = stage.scale.sampling
    missing = np.flatnonzero(~there)
    gpus = stage.scale.gpus if scale.gpus_per_replica is None else scale.gpus_per_replica
    replicas = scale.model_copy(update={"replicas": _bounded(scale.replicas, len(missing))})
    at_once = max(1, replicas.replicas[0])
    require(stage.scale, stage.name, cpus=at_once * scale.cpus_per_replica, gpus=at_once * gpus)
    assignment = ReplicaConfig(
        stage.artifact, stage.inputs["model"], origin, declared.image, declared.marking, replicas, stage.scale.device
    )
    for name in stage.artifact.names(DEAD):
        stage.artifact.store.delete(stage.artifact.key(name))
    tally = Tally(plan.total_samples, plan.total_units, units=int(there.sum()))
    tally.samples = sum(len(plan.unit(int(number))) for number in np.flatnonzero(there))
    reporter.progress.begin_at(tally.samples)

    def keep(unit: CompletedUnit) -> None:
        completed[unit.unit] = unit
        tally.complete(unit)
        reporter.progress.advance_to(tally.samples)

    def give_up(letter: DeadLetter) -> None:
        tally.give_up(letter)
        reporter.progress.say(f"{letter.unit.shard} is a dead letter: {letter.error}")

    def show() -> None:
        reporter.progress.doing("replicas", _going_on(monitor))

    with (
        application(f"rayograph-{stage.job.name}-{stage.name}-{stage.key}", assignment, gpus) as serving,
        closing(_share(stage, declared, replicas.replicas[1], gpus)) as share,
    ):
        window = Window()
        monitor = Monitor(
            stage.artifact, tally, window, declared.priority, scale.price_per_hour, MAX_ONGOING,
            share.now, serving.running, serving.failure, show,
        )  # fmt: skip
        dispatcher = Dispatcher(serving.call, window, scale.max_attempts, keep, give_up, tally.send_again)
        drive((plan.unit(int(number)) for number in missing), dispatcher, monitor)
    return {
        "device_seconds": round(tally.device_seconds, 3),
        "replica_seconds": round(monitor.replica_seconds, 3),
        "device_seconds_per_image": round(tally.device_seconds / plan.total_samples, 6),
        "money": monitor.money,
        "money_per_image": None if monitor.money is None else round(monitor.money / plan.total_samples, 9),
        "lost": tally.sent_again,
    }


def _going_on(monitor: Monitor) -> str:
    """Say what replicas are at, for the line below the bar."""
    under_way = f"{monitor.window.in_flight} units under way"
    if monitor.wanted == "paused":
        return f"paused, {under_way}"
    again = f", {monitor.tally.sent_again} sent again" if monitor.tally.sent_again else ""
    dead = f", {len(monitor.tally.dead)} dead" if monitor.tally.dead else ""
    return f"{monitor.running} running, {under_way}{again}{dead}"


def _share(stage: StageContext, declared: Sample, replicas: int, gpus: float) -> FairShare:
    shared = stage.scale.ray.address != LOCAL or inside_submitted_job()
    cost, resource = (gpus, "GPU") if gpus else (stage.scale.sampling.cpus_per_replica, "CPU")
    return FairShare(
        stage.artifact.path, declared.priority, replicas, cost, resource, shared and not stage.scale.ray.autoscaling
    )


def _bounded(replicas: tuple[int, int], units: int) -> tuple[int, int]:
    """No more replicas than units."""
    fewest, most = replicas
    return min(fewest, units), min(most, units)


def _in_order(artifact: Artifact, plan: Plan, completed: dict[int, CompletedUnit]) -> Iterator[CompletedUnit]:
    """Every unit; those of earlier attempts, and of other drivers, by their indices."""

    def read(number: int) -> CompletedUnit:
        unit = plan.unit(number)
        found = completed.get(number) or CompletedUnit.found(artifact, unit)
        if found is None:
            raise DataError(f"{artifact.uri}/{unit.shard}: expected the shard, found none")
        return found

    with ThreadPoolExecutor(READERS, thread_name_prefix="indices") as pool:
        yield from pool.map(read, range(plan.total_units))
