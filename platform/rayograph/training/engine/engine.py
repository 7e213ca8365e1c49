"""One network under DeepSpeed.

DeepSpeed is exact with two networks in one step only in one form, which is the only one that an engine offers: a
module's forward does the whole work and returns one scalar loss, one backward follows each forward, and another
engine's network, where it is needed, is called as a plain frozen module (`frozen`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rayograph.errors import ConfigError
from rayograph.json_types import Json
from rayograph.training.checkpoints.averages import Average
from rayograph.training.engine.flat import FlatWeights, Loss, Segment
from rayograph.training.engine.loss_scale import LossScale
from rayograph.training.engine.optimiser import AdamWithAverages
from rayograph.training.engine.state import EngineState
from rayograph.training.stopwatch import Stopwatch
from rayograph.training.workers import device, world

COMPUTED, EXCHANGED, UPDATED = "computing", "exchanging", "updating"
"""Parts of a step: forward and backward; the gradients' mean; the optimiser, and what ZeRO sends around after it."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

M = TypeVar("M", bound=nn.Module, covariant=True)


@dataclass(frozen=True)
class EngineSettings:
    """How one network is trained, whatever it is."""

    micro_batch_size: int
    accumulation: int
    zero_stage: int
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    gradient_clipping: float | None
    averages: tuple[Average, ...] = ()
    precision: str = "fp32"
    offload_optimizer: bool = False
    flat_parameters: int = 500_000_000
    """Trained weights up to which ZeRO 2 and 3 handle a network as one long tensor."""


class Engine(Generic[M]):
    """`module` under ZeRO. Its forward returns a micro-batch's loss, and whatever else there is to show of it."""

    def __init__(self, module: M, settings: EngineSettings) -> None:
        import deepspeed

        _quieten()
        # Its own all-reduce in shared memory would be compiled on first use; gloo does the work here.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False)
        self.module, self.averages, self.stopwatch = module, settings.averages, Stopwatch()
        self._settings = settings
        self._trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._flat = self._flattened()
        self._scale = LossScale() if settings.precision == "fp16" else None
        stored = (
            [(self._flat.weights, self._flat.segments)]
            if self._flat
            else [(p, [Segment(name, 0, tuple(p.shape))]) for name, p in self._trained]
        )
        optimiser = AdamWithAverages(
            [parameter for parameter, _ in stored],
            [average.key for average in settings.averages],
            lr=0.0,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )
        self._engine: DeepSpeedEngine
        self._engine, *_ = deepspeed.initialize(
            model=self._flat or _Whole(module, self._forward),
            model_parameters=[parameter for parameter, _ in stored],
            optimizer=optimiser,
            config=_deepspeed_config(settings, self._flat is not None, sum(p.numel() for p, _ in stored)),
        )
        self._norm, self._left_out = 0.0, False
        self._base: AdamWithAverages = getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)
        self._prime()
        if self._flat and settings.zero_stage < 3:
            self._flat.point()
        self.state = EngineState(settings.zero_stage, self._base, stored)

    def minimise(self, micro_batches: Sequence[tuple[object, ...]]) -> list[Loss]:
        """One optimiser step on the mean loss of the micro-batches, each a tuple of the module's arguments.

        Gives each one's loss, detached, and what else the module returned. Under fp16 the step is left out where the
        gradients of any worker overflow.
        """
        if self._flat is None:
            return [self._one_by_one(micro_batch) for micro_batch in micro_batches]
        with self.stopwatch.of(COMPUTED):
            self._flat.loss_scale = self._scale.value if self._scale else 1.0
            handover, results = self._engine(micro_batches)
        self._left_out = self._scale is not None and not self._scale.unscale(self._flat.gradients)
        if self._left_out:
            if self._settings.zero_stage == 3:  # it waits for a backward that does not come
                self._engine.empty_partition_cache()
            return list(results)
        with self.stopwatch.of(EXCHANGED):
            self._engine.backward(handover)
        with self.stopwatch.of(UPDATED):
            if self._settings.zero_stage == 0:
                self._norm = float(torch.linalg.vector_norm(self._flat.gradients))
            self._engine.step()
        return list(results)

    def precision(self) -> torch.autocast:
        """Where networks compute in 16 bits, if so set; weights, gradients and what is summed up stay in fp32."""
        found = AUTOCAST.get(self._settings.precision)
        return torch.autocast(device().type, found or torch.bfloat16, enabled=found is not None)

    def schedule(self, learning_rate: float, step: int) -> None:
        """Sets the rate, and the averages' decays, for the coming step, counted from 0."""
        for group in self._base.param_groups:
            group["lr"], group["decays"] = learning_rate, [average.decay_at(step) for average in self.averages]

    def figures(self, prefix: str = "") -> dict[str, float]:
        """The global norm of the last step's gradients, before clipping; under fp16, whether the step was left out."""
        found = {f"{prefix}step_left_out": float(self._left_out)} if self._scale else {}
        if not self._left_out:
            norm = self._norm if self._settings.zero_stage == 0 else float(self._engine.get_global_grad_norm())
            found[f"{prefix}gradient_norm"] = norm
        return found

    @contextmanager
    def frozen(self) -> Iterator[M]:
        """The plain module without gradients of its own, for use inside another engine's forward.

        Otherwise gradients that are none of its step's would come to it, and ZeRO-2 would reduce them.
        """
        for _, parameter in self._trained:
            parameter.requires_grad_(False)
        try:
            yield self.module
        finally:
            for _, parameter in self._trained:
                parameter.requires_grad_(True)

    @contextmanager
    def gathered(self) -> Iterator[M]:
        """The plain module, ready to be called, though ZeRO-3 keeps its weights apart. All workers together."""
        if self._flat is None or self._settings.zero_stage < 3:
            yield self.module
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters([self._flat.weights]), self._flat.pointed():
            yield self.module

    def averaged(self) -> dict[str, Tensor]:
        """The first average's weights by parameter name, on the first worker's CPU. All workers must ask together."""
        first = world()[0] == 0
        return {name: value.cpu() for name, value in self.state.whole(self.averages[0].key) if first}

    @property
    def counters(self) -> dict[str, float]:
        """What a checkpoint keeps besides tensors."""
        return {"steps": self.state.steps} | ({"loss_scale": self._scale.value} if self._scale else {})

    @counters.setter
    def counters(self, counters: dict[str, float]) -> None:
        self.state.steps = int(counters["steps"])
        if self._scale and "loss_scale" in counters:
            self._scale.value = counters["loss_scale"]

    def _flattened(self) -> FlatWeights | None:
        """Where gradients (ZeRO below 2), or all (below 3), are whole on every worker anyway, it costs no memory."""
        settings = self._settings
        count = sum(parameter.numel() for _, parameter in self._trained)
        if settings.zero_stage >= 2 and count > settings.flat_parameters:
            if settings.precision == "fp16":
                raise ConfigError(
                    f"training.precision: expected bf16 or fp32 for {count:,} weights under ZeRO {settings.zero_stage} "
                    f"with flat_parameters {settings.flat_parameters:,}, got fp16"
                )
            return None
        return FlatWeights(self._trained, self._forward, release=settings.zero_stage == 3)

    def _forward(self, *micro_batch: object) -> Loss:
        with self.precision():
            loss, shown = self.module(*micro_batch)
        return loss, shown

    def _one_by_one(self, micro_batch: tuple[object, ...]) -> Loss:
        """DeepSpeed's own way: every weight has its hooks, and accumulation is its."""
        with self.stopwatch.of(COMPUTED):
            loss, shown = self._engine(*micro_batch)
            self._engine.backward(loss)
        with self.stopwatch.of(UPDATED):
            self._engine.step()
        return loss.detach(), shown

    def _prime(self) -> None:
        """Lets the optimiser's state exist before the first step, so that it can be loaded and saved at any time."""
        zero = self._engine.optimizer
        if self._settings.zero_stage == 3:
            self._base.prime(zero.fp32_partitioned_groups_flat)
            return
        self._base.prime(tensor for group in self._base.param_groups for tensor in group["params"])
        if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
            zero._lazy_init_hp_params_optimizer_state()


class _Whole(nn.Module):
    """A module whose forward is `run`: DeepSpeed turns autocast off around what it is given, never inside."""

    def __init__(self, module: nn.Module, run: Callable[..., Loss]) -> None:
        super().__init__()
        self.module, self._run = module, run

    def forward(self, *micro_batch: object) -> Loss:
        return self._run(*micro_batch)


def _deepspeed_config(settings: EngineSettings, flat: bool, size: int) -> dict[str, Json]:
    zero: dict[str, Json] = {
        "stage": settings.zero_stage,
        "stage3_param_persistence_threshold": 0,
        "reduce_bucket_size": max(1, min(500_000_000, size)),  # it is set aside, whatever the network's size
    }
    if settings.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    accumulation = 1 if flat else settings.accumulation
    return {
        "train_micro_batch_size_per_gpu": settings.micro_batch_size * settings.accumulation // accumulation,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.gradient_clipping or 0.0,  # unsaid, it would clip at 1.0
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # it keeps no averages
        "zero_optimization": zero,
        "steps_per_print": 2**62,
    }


def _quieten() -> None:
    import logging

    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
