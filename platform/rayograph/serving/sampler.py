"""A sampler replica: holds one model, draws one unit at a time, and commits it itself while it draws the next."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from ray import serve

from rayograph import __version__
from rayograph.config import ImageFile, Marking, SamplingScale
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.batch_size import agreed_batch_size
from rayograph.sampling.credentials import Signer
from rayograph.sampling.denoising import DiffusionModel
from rayograph.sampling.draws import Draws
from rayograph.sampling.plan import Unit, open_plan
from rayograph.sampling.units import Files, Landed, Origin, draw, keep
from rayograph.sampling.watermark import Watermark

MAX_ONGOING = 2
"""One unit drawing while the one before is encoded and uploaded: replicas never idle between two."""


@dataclass(frozen=True)
class Assignment:
    """All that a replica needs to know, the same for every one of a job; what is large, it reads from the store."""

    target: Artifact
    model: Artifact
    origin: Origin
    image: ImageFile
    marking: Marking
    scale: SamplingScale
    device: str


class SamplerReplica:
    """Loads the model, agrees on a batch size and draws once when made: a ready replica is a warm one."""

    def __init__(self, assignment: Assignment) -> None:
        scale = assignment.scale
        torch.set_num_threads(scale.threads_per_replica)
        plan = open_plan(assignment.target)
        if plan is None or plan.digest != assignment.origin.request:
            raise DataError(f"{assignment.target.uri}: expected the plan {assignment.origin.request}")
        self._assignment, self._plan = assignment, plan
        self._files = files_of(assignment)
        self._model = DiffusionModel.load(assignment.model, assignment.device, scale.precision, scale.compile)
        self._encoders = ThreadPoolExecutor(scale.threads_per_replica, thread_name_prefix="encode")
        self._drawing = asyncio.Lock()
        self._sizes: dict[tuple[int, int], int] = {}
        first = plan.draws(plan.unit(0))
        self._draw(first[: self._batch_size(first)])

    async def __call__(self, unit: Unit) -> Landed:
        """The unit's place in the manifest, once its shard is committed."""
        target = self._assignment.target
        found = await asyncio.to_thread(Landed.found, target, unit)
        if found is not None:
            return found
        draws = await asyncio.to_thread(self._plan.draws, unit)
        async with self._drawing:
            started = time.perf_counter()
            pixels = await asyncio.to_thread(self._draw, draws)
            seconds = time.perf_counter() - started
        work = partial(keep, target, unit, draws, pixels, self._assignment.origin, self._files)
        index = await asyncio.to_thread(work, self._encoders)
        return Landed.of(target, unit, index, seconds)

    def _draw(self, draws: Draws) -> np.ndarray:
        """Compiled networks want batches of one size: a last short one is filled up with its last sample."""
        size = self._batch_size(draws)
        whole = draws.padded(-len(draws) % size) if self._assignment.scale.compile else draws
        return draw(self._model, whole, size)[: len(draws)]

    def _batch_size(self, draws: Draws) -> int:
        """For pixels of this size; measured the first time."""
        key = (draws.group.width, draws.group.height)
        if key not in self._sizes:
            scale = self._assignment.scale
            self._sizes[key] = agreed_batch_size(self._assignment.target, self._model, draws, scale.batch_size)
        return self._sizes[key]


def files_of(assignment: Assignment) -> Files:
    """How this job's images are written and marked. Raises ConfigError for credentials that cannot sign."""
    marking, scale = assignment.marking, assignment.scale
    sign = watermark = None
    if marking.credentials:
        sign = Signer(str(scale.certificate_file), str(scale.private_key_file)).sign
    if marking.watermark is not None:
        watermark = Watermark(marking.watermark).hide
    return Files(assignment.image, sign, watermark)


@dataclass
class Application:
    """The replicas of one job, as its driver sees them. Two drivers of one job at one scale share it.

    A driver that comes after one that was killed finds replicas at work, and leaves them there.
    """

    job: str
    assignment: Assignment
    gpus: float

    def __post_init__(self) -> None:
        self._handle: Any = None
        self.name = f"{self.job}-{sha256(f'{__version__} {self.assignment} {self.gpus}'.encode())[:8]}"

    def start(self) -> None:
        """Deploys it, or finds it there. Raises DataError where its replicas cannot start."""
        serve.start(proxy_location="Disabled")
        found = serve.status().applications
        if self.name in found and found[self.name].status in ("RUNNING", "DEPLOYING", "UNHEALTHY"):
            self._handle = serve.get_app_handle(self.name)
            return
        scale = self.assignment.scale
        fewest, most = scale.replicas
        number: dict[str, Any] = {"num_replicas": most}
        if fewest < most:
            number = {
                "autoscaling_config": {
                    "min_replicas": fewest,
                    "max_replicas": most,
                    "target_ongoing_requests": MAX_ONGOING,
                    "upscale_delay_s": 1.0,
                    "downscale_delay_s": scale.idle_seconds,
                    "metrics_interval_s": 1.0,
                    "look_back_period_s": 2.0,
                }
            }
        deployment = serve.deployment(
            SamplerReplica,
            ray_actor_options={"num_cpus": scale.cpus_per_replica, "num_gpus": self.gpus},
            max_ongoing_requests=MAX_ONGOING,
            graceful_shutdown_timeout_s=scale.drain_seconds,
            health_check_period_s=5,
            **number,
        )
        try:
            self._handle = serve.run(deployment.bind(self.assignment), name=self.name, route_prefix=None)
        except RuntimeError as error:
            raise DataError(f"replicas cannot start: {self.failure() or error}") from error

    def call(self, unit: Unit) -> Any:
        """Sends it to a replica; await what comes."""
        return self._handle.remote(unit)

    def failure(self) -> str | None:
        """Why no replica will ever start; None where they do or may. One that another driver took down comes back."""
        found = serve.status().applications.get(self.name)
        if found is None or found.status == "DELETING":
            self.start()
            return None
        if found.status != "DEPLOY_FAILED":
            return None
        said = [deployment.message for deployment in found.deployments.values()] or [found.message]
        return " ".join(" ".join(said).split())[-400:]

    def running(self) -> int:
        """Replicas that draw now."""
        found = serve.status().applications.get(self.name)
        if found is None:
            return 0
        return sum(int(deployment.replica_states.get("RUNNING", 0)) for deployment in found.deployments.values())


@contextmanager
def application(job: str, assignment: Assignment, gpus: float) -> Iterator[Application]:
    """Up for as long as the context; Serve would outlive the job that started it.

    What a killed driver of this job left at another scale goes first.
    """
    serving = Application(job, assignment, gpus)
    serving.start()
    for name in serve.status().applications:
        if name.startswith(f"{job}-") and name != serving.name:
            serve.delete(name)
    try:
        yield serving
    finally:
        serve.delete(serving.name)
