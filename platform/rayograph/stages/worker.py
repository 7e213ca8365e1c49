"""A training worker, from its assignment to the exported model. It runs under Ray Train, in a process group."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist

from rayograph.errors import DataError
from rayograph.ingest.memory import keep_freed_memory
from rayograph.ingest.streams import training_batches
from rayograph.models.folder import save_model
from rayograph.runs.tracking import MetricsLog
from rayograph.shards.batch import Batch
from rayograph.stages.assignment import Assignment
from rayograph.stages.reporting import Report
from rayograph.stages.sample_log import SampleLog, rewind_samples
from rayograph.training.checkpoint import Checkpoints
from rayograph.training.clock import Clock
from rayograph.training.guard import Guard
from rayograph.training.loop import Hook, fit
from rayograph.training.recovery import Recovery


def train(assignment: Assignment, mailbox: Any) -> None:
    """Learner, newest checkpoint, stream, loop, export. The first worker alone reports and exports."""
    keep_freed_memory()
    recipe, scale, reader = assignment.recipe, assignment.scale, assignment.reader
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(scale.training.threads_per_worker)
    learner = assignment.make_learner()
    clock = Clock(recipe.global_batch_size, recipe.total_steps)
    checkpoints = Checkpoints(assignment.artifact, learner, recipe.keep_checkpoints)
    guard = Guard(recipe.gradient_norm_limit)

    def tell(note: str) -> None:
        if rank == 0:
            mailbox.put.remote({"note": note})

    recovery = Recovery(checkpoints, clock, guard, recipe.max_rollbacks, tell)
    images_seen = recovery.resume()
    hooks = [Hook(recipe.checkpoint_every_images, lambda *_: recovery.save())]
    seen = SampleLog(assignment.artifact, recipe.global_batch_size, rank, workers) if scale.ingest.log_samples else None
    if seen:
        hooks = [Hook(recipe.checkpoint_every_images, lambda *_: seen.flush()), *hooks]
    if rank == 0:
        rewind_samples(assignment.artifact, images_seen)
        mailbox.put.remote({"resumed": images_seen})
        note = getattr(learner, "perceptual_note", None)
        if note:
            tell(note)
        log = MetricsLog(assignment.artifact)
        log.rewind(images_seen)
        # Rows are in the store before a checkpoint counts: whoever dies afterwards, none is missing.
        written = Hook(recipe.checkpoint_every_images, lambda *_: log.flush())
        hooks = [Hook(1, Report(log, mailbox, recipe.log_every_images, checkpoints)), written, *hooks]
    batches = training_batches(
        reader, scale.ingest, worker=rank, workers=workers, steps=range(clock.step, clock.total_steps)
    )
    batches = watched(batches, mailbox, recipe.bad_sample_limit, seen)

    def expected(step: int) -> np.ndarray:
        return reader.plan.positions(range(step, step + 1), rank, workers)[0]

    fit(learner, batches, clock, expected, hooks, guard, recovery.undo)
    checkpoints.finish()
    for folder, model in learner.exports():
        if rank == 0:
            save_model(assignment.artifact, folder, model)
    dist.barrier()


def watched(batches: Iterator[Batch], mailbox: Any, limit: int, seen: SampleLog | None) -> Iterator[Batch]:
    """Tells of samples that others stand in for. Raises DataError once all workers together pass the limit."""
    for batch in batches:
        reasons = [reason for reason in batch.substituted.tolist() if reason]
        if reasons:
            known = ray.get(mailbox.substituted.remote(reasons))
            if len(known) > limit:
                raise DataError(f"{known[0]} ({len(known)} unreadable samples so far, bad_sample_limit {limit})")
        if seen:
            seen.append(batch)
        yield batch
