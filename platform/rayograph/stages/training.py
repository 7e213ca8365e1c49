"""What both trainings share: workers under Ray Train, each with its own stream, and the driver that listens to them."""

import shutil
import tempfile
import threading
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rayograph.config.training import Training
from rayograph.errors import RayographError
from rayograph.stages.assignment import Assignment
from rayograph.stages.cluster import require
from rayograph.stages.mailbox import Mailbox
from rayograph.stages.outcome import Outcome
from rayograph.stages.recorder import Recorder
from rayograph.stages.resolve import ResolvedStage

POLL_SECONDS = 0.25
WAITING = {"share_waiting_for_data": "waiting"}
"""On every training's progress line: 0 where data never held it up."""
BAD_SAMPLES = "bad_samples.txt"
"""Names and reasons of samples that others stood in for."""


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
    bad_samples = _known_bad_samples(stage)
    mailbox = ray.remote(num_cpus=0)(Mailbox).remote(bad_samples)
    with Recorder(stage, "images", recipe.total_steps * recipe.global_batch_size, shown | WAITING) as recorder:
        for failures in range(scale.max_failures + 1):
            error = _fit_once(stage, assignment, mailbox, recorder, bad_samples)
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
    files = stage.artifact.records("model/") + stage.artifact.records(BAD_SAMPLES)
    return Outcome(files=files, facts={"bad_samples": len(bad_samples)})


def _known_bad_samples(stage: ResolvedStage) -> list[str]:
    """What an interrupted attempt found unreadable: it counts on."""
    return stage.artifact.read(BAD_SAMPLES).decode().splitlines() if stage.artifact.names(BAD_SAMPLES) else []


def _fit_once(
    stage: ResolvedStage, assignment: Assignment, mailbox: Any, recorder: Recorder, bad_samples: list[str]
) -> BaseException | None:
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
            elif "bad_sample" in message:
                bad_samples.append(message["bad_sample"])
                stage.artifact.write(BAD_SAMPLES, "".join(f"{line}\n" for line in bad_samples).encode())
                recorder.progress.say(f"another sample stands in for an unreadable one: {message['bad_sample']}")
            else:
                recorder.row(message)
    shutil.rmtree(scratch, ignore_errors=True)
    return errors[0] if errors else None


def _train_on_worker(config: dict[str, Any]) -> None:
    """What every worker runs. Imported there: Ray Train's controller, which passes this on, has no use for networks."""
    from rayograph.stages.worker import train

    train(config["assignment"], config["mailbox"])


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
