"""A sampler replica: holds one model, draws one unit at a time, and commits it itself."""

import asyncio
from typing import Any

import torch
from ray import serve

from rayograph.config import Sample
from rayograph.runs.artifact import Artifact
from rayograph.sampling.denoising import DiffusionModel
from rayograph.sampling.units import Unit, draw_unit

MAX_ONGOING = 2
"""One unit drawing, the next one waiting at the door: replicas never idle between two."""


class SamplerReplica:
    """Loads the model when made, so that a ready replica is a warm one."""

    def __init__(
        self, request: Sample, seed: int, model: Artifact, digest: str, target: Artifact, device: str, threads: int
    ):
        torch.set_num_threads(threads)
        self._request, self._seed, self._digest, self._target = request, seed, digest, target
        self._model = DiffusionModel.load(model, device)
        self._lock = asyncio.Lock()

    async def __call__(self, unit: Unit) -> bytes:
        """The unit's index, once its shard is committed."""
        async with self._lock:
            index = await asyncio.to_thread(
                draw_unit, self._target, unit, self._request, self._seed, self._model, self._digest
            )
        return index.to_bytes()


def deploy(name: str, replicas: int, cpus: float, gpus: float, **arguments: Any) -> Any:
    """Starts replicas under an application of their own, without a route; the handle to call them by."""
    serve.start(proxy_location="Disabled")
    resources = {"num_cpus": cpus, "num_gpus": gpus}
    deployment = serve.deployment(
        SamplerReplica,
        num_replicas=replicas,
        ray_actor_options=resources,
        max_ongoing_requests=MAX_ONGOING,
        graceful_shutdown_timeout_s=600,  # longer than any unit: none is cut off when the application goes
        health_check_period_s=5,
    )
    return serve.run(deployment.bind(**arguments), name=name, route_prefix=None)


def remove(name: str) -> None:
    """Takes the application down; Serve would outlive the job that started it."""
    serve.delete(name)
