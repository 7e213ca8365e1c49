"""A training worker, from its assignment to the exported model. It runs under Ray Train, in a process group."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist

from rayograph.errors import DataError
from rayograph.ingest.memory import keep_freed_memory
from rayograph.ingest.streams import training_batches
from rayograph.models.model_folder import save_model
from rayograph.shards.batch import Batch
from rayograph.trainer.control_actor import Control
from rayograph.trainer.events import Busy, ModelMeasured, Note, Resumed, StoppedForResize, WorkerPlaced
from rayograph.trainer.metrics import Pace, Records, Report, drop_times
from rayograph.trainer.previews import Preview
from rayograph.trainer.sample_log import SampleLog
from rayograph.trainer.worker_config import WorkerConfig
from rayograph.training.checkpoints.checkpoint import Checkpoints
from rayograph.training.checkpoints.recovery import Recovery
from rayograph.training.divergence import DivergenceDetector
from rayograph.training.engine.peak import peak_flops
from rayograph.training.learner import Learner, Metrics
from rayograph.training.loop import Hook, fit
from rayograph.training.setup import retention_of
from rayograph.training.training_progress import TrainingProgress
from rayograph.training.workers import device

HEARTBEAT_STEPS = 8
"""Steps between two looks whether the driver wants the workers to stop."""


def train(assignment: WorkerConfig, control: Control) -> None:
    """Learner, newest checkpoint, stream, loop, export. The first worker alone reports and exports."""
    keep_freed_memory()
    recipe, scale, reader = assignment.recipe, assignment.scale, assignment.reader
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(scale.training.threads_per_worker)
    learner = assignment.make_learner()
    progress = TrainingProgress(recipe.global_batch_size, recipe.total_steps)
    records = Records.of(assignment, rank, workers)

    def tell(note: str) -> None:
        if rank == 0:
            control.put(Note(note))

    checkpoints = Checkpoints(assignment.artifact, learner, retention_of(recipe), tell)
    detector = DivergenceDetector(recipe.gradient_norm_limit)
    recovery = Recovery(checkpoints, progress, detector, recipe.max_rollbacks, records.flush, tell)
    recovery.resume()
    records.rewind(progress.images_seen)
    if progress.images_seen == 0:
        recovery.save()
    control.put(WorkerPlaced(ray.get_runtime_context().get_node_id()))
    if rank == 0:
        control.put(Resumed(progress.images_seen))
        for note in learner.notes:
            tell(note)
    hooks = [
        Hook(1, lambda learner, progress, metrics: recovery.note(metrics[learner.monitor_metric])),
        Hook(recipe.checkpoint_every_images, lambda *_: recovery.save()),
        Hook(HEARTBEAT_STEPS * recipe.global_batch_size, _StopCheck(rank, control, recovery)),
    ]
    if recipe.previews_every:
        hooks.append(Hook(recipe.previews_every, Preview(assignment, rank, control)))
    if not records.metrics:
        hooks.append(Hook(recipe.log_every_images, drop_times))
    else:
        pace = Pace(assignment.cost().flops, workers, peak_flops(scale.training))
        hooks = [Hook(1, Report(records.metrics, control, recipe.log_every_images, checkpoints, pace)), *hooks]
    batches = training_batches(
        reader, scale.ingest, worker=rank, workers=workers, steps=range(progress.step, progress.total_steps)
    )
    batches = watched(batches, control, recipe.bad_sample_limit, records.samples)

    def expected(step: int) -> np.ndarray:
        return reader.plan.positions(range(step, step + 1), rank, workers)[0]

    try:
        fit(learner, batches, progress, expected, hooks, detector, recovery.undo)
    except Stopped:
        checkpoints.finish()
        if rank == 0:
            control.deliver(StoppedForResize(progress.images_seen))
        return
    checkpoints.finish()
    models = dict(learner.exports())
    for folder, model in models.items():
        save_model(assignment.artifact, folder, model)
    if rank == 0 and assignment.measure:
        control.put(Busy("measures held-out images"))
        control.deliver(ModelMeasured(assignment.measure(models)))
    dist.barrier()


class Stopped(Exception):
    """The driver asked the workers to make room."""


@dataclass(frozen=True)
class _StopCheck:
    """Ends the group once the driver asks for it: all workers at the same step, with a checkpoint of it."""

    rank: int
    control: Control
    recovery: Recovery

    def __call__(self, learner: Learner, progress: TrainingProgress, metrics: Metrics) -> None:
        requested = self.control.stop_requested() if self.rank == 0 else False
        stop = torch.tensor(float(requested), device=device())
        dist.broadcast(stop, 0)
        if stop and not progress.done:
            self.recovery.save()
            raise Stopped


def watched(batches: Iterator[Batch], control: Control, limit: int, seen: SampleLog | None) -> Iterator[Batch]:
    """Yield the batches, and report samples that others stand in for.

    Raises DataError once all workers together pass the limit.
    """
    for batch in batches:
        reasons = [reason for reason in batch.substituted.tolist() if reason]
        if reasons:
            known = control.report_bad_samples(reasons)
            if len(known) > limit:
                raise DataError(f"{known[0]} ({len(known)} unreadable samples so far, bad_sample_limit {limit})")
        if seen:
            seen.append(batch)
        yield batch
