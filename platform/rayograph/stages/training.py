"""What both trainings share: workers under Ray Train, each with its own stream, and the driver that listens to them."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rayograph.config import Scale
from rayograph.config.training import Training
from rayograph.errors import RayographError
from rayograph.ingest.reading import PlannedReader
from rayograph.ingest.streams import training_batches
from rayograph.models.folder import save_model
from rayograph.runs.artifact import Artifact
from rayograph.stages.cluster import require
from rayograph.stages.mailbox import Mailbox
from rayograph.stages.outcome import Outcome
from rayograph.stages.recorder import Recorder
from rayograph.stages.resolve import ResolvedStage
from rayograph.training.checkpoint import load_newest, save_checkpoint
from rayograph.training.clock import Clock
from rayograph.training.learner import Learner, Metrics
from rayograph.training.loop import Hook, fit

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Assignment:
    """All that a worker needs to train, sent to it once."""

    recipe: Training
    scale: Scale
    artifact: Artifact
    reader: PlannedReader
    row_bytes: int
    make_learner: Callable[[], Learner]
    """Called on the worker, once its process group is up."""


def run_training(stage: ResolvedStage, recipe: Training, assignment: Assignment, shown: dict[str, str]) -> Outcome:
    """Trains to the end, from the newest checkpoint if there is one, starting over after lost workers.

    Raises the worker's own RayographError at once, and anything else after `max_failures` restarts.
    """
    scale = stage.scale.training
    workers = scale.workers
    stream_cpus = stage.scale.ingest.cpus_per_task
    require(
        stage.scale, stage.name, cpus=workers * (scale.cpus_per_worker + stream_cpus), gpus=workers * stage.scale.gpus
    )
    mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
    with Recorder(stage, "images", recipe.total_steps * recipe.global_batch_size, shown) as recorder:
        for failures in range(scale.max_failures + 1):
            error = _fit_once(stage, assignment, mailbox, recorder)
            if error is None:
                break
            cause = _users_error(error)
            if cause is not None:
                raise cause
            if failures == scale.max_failures:
                raise error
            first_line = str(error).strip().splitlines()[-1][:200]
            recorder.progress.say(
                f"workers lost ({first_line}); starting again, {failures + 1} of {scale.max_failures}"
            )
    return Outcome(files=stage.artifact.records("model/"))


def _fit_once(stage: ResolvedStage, assignment: Assignment, mailbox: Any, recorder: Recorder) -> BaseException | None:
    """One worker group's life. It runs in a thread, so that Ctrl-C is answered here at once."""
    scale = stage.scale.training
    scratch = tempfile.mkdtemp(prefix="rayograph-train-")  # Ray Train's own record; our checkpoints are in the store
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"assignment": assignment, "mailbox": mailbox},
        torch_config=TorchConfig(backend="nccl" if stage.scale.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=scale.workers,
            use_gpu=bool(stage.scale.gpus),
            resources_per_worker={"CPU": scale.cpus_per_worker} | ({"GPU": 1} if stage.scale.gpus else {}),
        ),
        run_config=RunConfig(name=stage.key, storage_path=scratch, failure_config=FailureConfig(max_failures=0)),
    )
    errors: list[BaseException] = []

    def run() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread, which decides
            errors.append(error)

    thread = threading.Thread(target=run, name="rayograph-fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        for message in ray.get(mailbox.take.remote()):
            if "resumed" in message:
                recorder.resumed(message["resumed"])
            elif "note" in message:
                recorder.progress.say(message["note"])
            else:
                recorder.row(message)
    shutil.rmtree(scratch, ignore_errors=True)
    return errors[0] if errors else None


def _train_on_worker(config: dict[str, Any]) -> None:
    """Runs on every worker: learner, newest checkpoint, stream, loop, export."""
    import torch
    import torch.distributed as dist

    assignment: Assignment = config["assignment"]
    recipe, scale, reader = assignment.recipe, assignment.scale, assignment.reader
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(scale.training.threads_per_worker)
    learner = assignment.make_learner()
    images_seen = load_newest(assignment.artifact, learner)
    clock = Clock(recipe.global_batch_size, recipe.total_steps, images_seen)
    hooks = [Hook(recipe.checkpoint_every_images, lambda *_: _checkpoint(assignment, learner, clock))]
    if rank == 0:
        mailbox = config["mailbox"]
        mailbox.put.remote({"resumed": images_seen})
        note = getattr(learner, "perceptual_note", None)
        if note:
            mailbox.put.remote({"note": note})
        hooks.insert(0, Hook(1, _Log(mailbox, recipe.log_every_images)))
    batches = training_batches(
        reader,
        scale.ingest,
        worker=rank,
        workers=workers,
        steps=range(clock.step, clock.total_steps),
        row_bytes=assignment.row_bytes,
    )
    fit(learner, batches, clock, lambda step: reader.plan.positions(range(step, step + 1), rank, workers)[0], hooks)
    for folder, model in learner.exports():
        if rank == 0:
            save_model(assignment.artifact, folder, model)
    dist.barrier()


def _checkpoint(assignment: Assignment, learner: Learner, clock: Clock) -> None:
    save_checkpoint(assignment.artifact, learner, clock.images_seen, assignment.recipe.keep_checkpoints)


class _Log:
    """Sends the means of the figures since the last row, and the rate."""

    def __init__(self, mailbox: Any, every_images: int) -> None:
        self._mailbox, self._every_images = mailbox, every_images
        self._since, self._from = time.monotonic(), -1
        self._rows: list[Metrics] = []

    def __call__(self, learner: Learner, clock: Clock, metrics: Metrics) -> None:
        self._rows.append(metrics)
        if not clock.due(self._every_images):
            return
        now = time.monotonic()
        names = {name for row in self._rows for name in row}
        row = {name: _mean([r[name] for r in self._rows if name in r]) for name in sorted(names)}
        row["images_per_second"] = len(self._rows) * clock.global_batch_size / (now - self._since)
        self._mailbox.put.remote({"images_seen": clock.images_seen, **row})
        self._since, self._rows = now, []


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _users_error(error: BaseException | None) -> RayographError | None:
    """The RayographError inside what Ray wrapped around it, if there is one."""
    seen: list[BaseException] = []
    queue = [error]
    while queue:
        current = queue.pop()
        if current is None or current in seen:
            continue
        if isinstance(current, RayographError):
            return current
        seen.append(current)
        queue += [current.__cause__, *getattr(current, "worker_failures", {}).values()]
        queue += [getattr(current, name, None) for name in ("cause", "_base_exc", "controller_failure")]
    return None
