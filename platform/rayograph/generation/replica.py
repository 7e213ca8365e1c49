"""A sampler replica: holds one model, draws one unit at a time, and commits it itself while it draws the next."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from rayograph.config import ImageFile, Marking, SamplingScale
from rayograph.errors import DataError
from rayograph.models.finite import NonFiniteError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.batch_size import agreed_batch_size
from rayograph.sampling.marking.c2pa import Signer
from rayograph.sampling.marking.watermark import Watermark
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.plan import Unit, open_plan
from rayograph.sampling.requests.sample_batch import SampleBatch
from rayograph.sampling.work_unit import CompletedUnit, Files, Origin, draw, keep

MAX_ONGOING = 2
"""One unit drawing while the one before is encoded and uploaded: replicas never idle between two."""


@dataclass(frozen=True)
class ReplicaConfig:
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

    def __init__(self, assignment: ReplicaConfig) -> None:
        scale = assignment.scale
        torch.set_num_threads(scale.threads_per_replica)
        self._model = DiffusionModel.load(assignment.model, assignment.device, scale.precision, scale.compile)
        plan = open_plan(assignment.target, self._model.conditioner.conditioner)
        if plan is None or plan.digest != assignment.origin.request:
            raise DataError(f"{assignment.target.uri}: expected the plan {assignment.origin.request}")
        self._assignment, self._plan = assignment, plan
        self._files = files_of(assignment)
        self._encoders = ThreadPoolExecutor(scale.threads_per_replica, thread_name_prefix="encode")
        self._drawing = asyncio.Lock()
        self._sizes: dict[tuple[int, int], int] = {}
        first = plan.draws(plan.unit(0))
        with suppress(NonFiniteError):  # told of the unit, once somebody asks for it
            self._draw(first[: self._batch_size(first)])

    async def __call__(self, unit: Unit) -> CompletedUnit:
        """The unit's place in the manifest, once its shard is committed."""
        target = self._assignment.target
        found = await asyncio.to_thread(CompletedUnit.found, target, unit)
        if found is not None:
            return found
        draws = await asyncio.to_thread(self._plan.draws, unit)
        async with self._drawing:
            started = time.perf_counter()
            pixels = await asyncio.to_thread(self._draw, draws)
            seconds = time.perf_counter() - started
        conditioner = self._model.conditioner.conditioner
        work = partial(keep, target, unit, draws, pixels, self._assignment.origin, self._files, conditioner)
        index = await asyncio.to_thread(work, self._encoders)
        return CompletedUnit.of(target, unit, index, seconds)

    def _draw(self, draws: SampleBatch) -> np.ndarray:
        """Compiled networks want batches of one size: a last short one is filled up with its last sample."""
        size = self._batch_size(draws)
        whole = draws.padded(-len(draws) % size) if self._assignment.scale.compile else draws
        return draw(self._model, whole, size)[: len(draws)]

    def _batch_size(self, draws: SampleBatch) -> int:
        """For pixels of this size; measured the first time."""
        key = (draws.group.width, draws.group.height)
        if key not in self._sizes:
            scale = self._assignment.scale
            self._sizes[key] = agreed_batch_size(self._assignment.target, self._model, draws, scale.batch_size)
        return self._sizes[key]


def files_of(assignment: ReplicaConfig) -> Files:
    """How this job's images are written and marked. Raises ConfigError for credentials that cannot sign."""
    marking, scale = assignment.marking, assignment.scale
    sign = watermark = None
    if marking.credentials:
        sign = Signer(str(scale.certificate_file), str(scale.private_key_file)).sign
    if marking.watermark is not None:
        watermark = Watermark(marking.watermark).hide
    return Files(assignment.image, sign, watermark)
