"""What both trainings share: workers under Ray Train, each with its own stream, and the driver that listens to them."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict, assert_never

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rayograph.config.batches import worker_counts
from rayograph.config.job.training import Training
from rayograph.errors import RayographError
from rayograph.json_types import Json
from rayograph.ray_compat import workers_never_started, wrapped_errors
from rayograph.runs.reporter import Reporter
from rayograph.runs.stage_context import StageContext
from rayograph.runs.stage_result import StageResult
from rayograph.trainer.control_actor import Control
from rayograph.trainer.elastic import Room
from rayograph.trainer.events import (
    Advanced,
    BadSample,
    Busy,
    MetricsRow,
    ModelMeasured,
    Note,
    PreviewDrawn,
    Resumed,
    StoppedForResize,
    WorkerEvent,
    WorkerPlaced,
)
from rayograph.trainer.previews import PREVIEWS
from rayograph.trainer.worker_config import WorkerConfig

POLL_SECONDS = 0.25
ONE_LIFE = {"max_failures": 0, "controller_failure_limit": 0, "max_preemption_failures": 0}
"""A group that ends is ours to follow up: Ray Train would start it again at the same size, for ever."""

FRACTIONS = {"data_wait_fraction": "data", "communication_fraction": "network", "compute_fraction": "arithmetic"}
"""Of the time since the last row, on every training's progress line: which of them holds it up."""
BAD_SAMPLES = "bad_samples.txt"
"""Names and reasons of samples that others stood in for."""


def run_training(stage: StageContext, recipe: Training, assignment: WorkerConfig, shown: dict[str, str]) -> StageResult:
    """Trains to the end, from the newest checkpoint if there is one, one group of workers after the other.

    Raises the worker's own RayographError at once, and anything else after `max_failures` groups in a row of which
    none got beyond the checkpoint that it began at.
    """
    scale = stage.scale.training
    room = Room(stage.scale, worker_counts(recipe, scale))
    room.require(stage.name)
    bad_samples = _known_bad_samples(stage)
    control = Control.start(bad_samples)
    total = recipe.total_steps * recipe.global_batch_size
    with Reporter(stage, "images", total, shown | FRACTIONS) as recorder, _wanting(room):
        failures, began_at = 0, -1
        while True:
            group = _Group(stage, assignment, control, recorder, bad_samples, room)
            workers = room.wait(recorder.progress.say)
            recorder.progress.doing("workers", f"{workers} starting")
            error = group.run(workers)
            if error is None and not group.stopped:
                break
            if error is None:
                continue
            for cause in wrapped_errors(error):
                if isinstance(cause, RayographError):
                    raise cause
            if workers_never_started(error):
                recorder.progress.say("found no room for its workers after all; looking again")
                continue
            failures = failures + 1 if group.began_at <= began_at else 1
            began_at = max(began_at, group.began_at)
            if failures > scale.max_failures:
                raise error
            first_line = str(error).strip().splitlines()[-1][:200]
            recorder.progress.say(f"workers lost ({first_line}); starting again, {failures} of {scale.max_failures}")
    files = [record for prefix in ("model/", PREVIEWS, BAD_SAMPLES) for record in stage.artifact.records(prefix)]
    return StageResult(files=files, facts={"bad_samples": len(bad_samples)} | group.facts)


@contextmanager
def _wanting(room: Room) -> Iterator[None]:
    room.ask_for_more()
    try:
        yield
    finally:
        room.ask_for_nothing()


def _known_bad_samples(stage: StageContext) -> list[str]:
    """What an interrupted attempt found unreadable: it counts on."""
    return stage.artifact.read(BAD_SAMPLES).decode().splitlines() if stage.artifact.names(BAD_SAMPLES) else []


@dataclass
class _Group:
    """One group of workers, from its start to its end. It runs in a thread, so that Ctrl-C is answered here at once."""

    stage: StageContext
    assignment: WorkerConfig
    control: Control
    recorder: Reporter
    bad_samples: list[str]
    room: Room
    began_at: int = -1
    """Images seen at the checkpoint that it went on from; -1 until it said so."""
    nodes: set[str] = field(default_factory=set)
    """Where its workers are."""
    stopped: bool = False
    """Whether it ended by making room, with a checkpoint."""
    facts: dict[str, Json] = field(default_factory=dict)
    """What the first worker found out about the finished models."""

    def run(self, workers: int) -> BaseException | None:
        """To its end, or until there is room for another number of workers. What went wrong, if anything did."""
        self.control.request_stop(False)
        scratch = tempfile.mkdtemp(prefix="rayograph-train-")  # Ray Train's own record; our checkpoints are elsewhere
        trainer = _trainer(self.stage, self.assignment, self.control, workers, scratch)
        errors: list[BaseException] = []

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:  # noqa: BLE001 - carried over to the main thread, which decides
                errors.append(error)

        thread = threading.Thread(target=fit, name="rayograph-fit", daemon=True)
        thread.start()
        asked = False
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            self._listen()
            if not asked and self.began_at >= 0 and self.room.another(workers, self.nodes):
                asked = True
                self.control.request_stop(True)
                self.recorder.progress.say(f"makes room: {workers} workers stop at a checkpoint")
        self._listen()
        shutil.rmtree(scratch, ignore_errors=True)
        return errors[0] if errors else None

    def _listen(self) -> None:
        """Take in what the workers said."""
        for event in self.control.take():
            self._handle(event)

    def _handle(self, event: WorkerEvent) -> None:
        progress = self.recorder.progress
        match event:
            case WorkerPlaced(node_id):
                self.nodes.add(node_id)
            case Resumed(images_seen):
                self.began_at = images_seen
                self.recorder.resumed(images_seen)
                progress.doing("workers", None)
            case StoppedForResize():
                self.stopped = True
            case Advanced(images_seen):
                progress.advance_to(images_seen)
                progress.doing("first worker", None)
            case MetricsRow(row):
                self.recorder.row(row)
                progress.doing("first worker", None)
            case Busy(doing):
                progress.doing("first worker", doing)
            case PreviewDrawn(path, images_seen):
                self.recorder.wandb.log_image("preview", self.stage.artifact.read(path), images_seen)
            case ModelMeasured(facts):
                self.facts |= facts
                figures = {name: value for name, value in facts.items() if isinstance(value, int | float)}
                self.recorder.wandb.summarise(figures)
            case Note(text):
                progress.say(text)
            case BadSample(reason):
                self.bad_samples.append(reason)
                self.stage.artifact.write(BAD_SAMPLES, "".join(f"{line}\n" for line in self.bad_samples).encode())
                progress.say(f"another sample stands in for an unreadable one: {reason}")
            case _:
                assert_never(event)


class _Config(TypedDict):
    """What Ray Train passes on to every worker."""

    assignment: WorkerConfig
    control: Control


def _trainer(
    stage: StageContext, assignment: WorkerConfig, control: Control, workers: int, scratch: str
) -> TorchTrainer:
    scale = stage.scale.training
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={"assignment": assignment, "control": control},
        torch_config=TorchConfig(backend="nccl" if stage.scale.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=bool(stage.scale.gpus),
            resources_per_worker={"CPU": scale.cpus_per_worker} | ({"GPU": 1} if stage.scale.gpus else {}),
        ),
        run_config=RunConfig(name=stage.key, storage_path=scratch, failure_config=FailureConfig(**ONE_LIFE)),
    )


def _train_on_worker(config: _Config) -> None:
    """What every worker runs. Imported there: Ray Train's controller, which passes this on, has no use for networks."""
    from rayograph.trainer.worker import train

    train(config["assignment"], config["control"])
