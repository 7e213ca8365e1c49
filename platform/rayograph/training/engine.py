"""One network under DeepSpeed: the only place that knows it.

DeepSpeed is exact with two networks in one step only in one form, which the learners keep to: a module's forward does
the whole work and returns one scalar loss, one backward follows each forward, and another engine's network, where it is
needed, is called as a plain frozen module (`frozen`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rayograph.errors import CheckpointError
from rayograph.training.optimiser import STATE_KEYS, AdamWithEma

WEIGHT = "weight"

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class EngineSettings:
    """How one network is trained, whatever it is."""

    micro_batch_size: int
    accumulation: int
    zero_stage: int
    precision: str
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    gradient_clipping: float | None


def world() -> tuple[int, int]:
    """This worker's rank and the number of workers."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean of `value` over all workers, on every worker."""
    _, workers = world()
    if workers > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= workers
    return value


def device() -> torch.device:
    """Where this worker's network lives."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


class Engine(Generic[M]):
    """`module` under ZeRO: call it for a loss, then `minimise` that loss."""

    def __init__(self, module: M, settings: EngineSettings) -> None:
        import deepspeed

        _quieten()
        # Its own all-reduce in shared memory would be compiled on first use; gloo does the work here.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False)
        self.module = module
        self._trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        parameters = [parameter for _, parameter in self._trained]
        optimiser = AdamWithEma(
            parameters, lr=0.0, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
        )
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=module, model_parameters=parameters, optimizer=optimiser, config=_deepspeed_config(settings)
        )
        self._zero_stage = settings.zero_stage
        self._bf16 = settings.precision == "bf16"
        self._base: AdamWithEma = getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)
        self._prime()

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        """The module's loss for one micro-batch."""
        with self.precision():
            return self._engine(*args, **options)

    def precision(self) -> torch.autocast:
        """Where networks compute in bf16, if so set; weights, gradients and what is summed up stay in fp32."""
        return torch.autocast(device().type, torch.bfloat16, enabled=self._bf16)

    def minimise(self, loss: Tensor) -> None:
        """Backward; and an optimiser step once every accumulated micro-batch had its turn."""
        self._engine.backward(loss)
        self._engine.step()

    def schedule(self, learning_rate: float, ema_decay: float) -> None:
        """Sets both for the coming step."""
        for group in self._base.param_groups:
            group["lr"], group["ema_decay"] = learning_rate, ema_decay

    def gradient_norm(self) -> float:
        """Global norm of the last step's gradients, before clipping. Stage 0 knows it only if it clips: else NaN."""
        norm = self._engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    @contextmanager
    def frozen(self) -> Iterator[M]:
        """The plain module without gradients of its own, for use inside another engine's forward.

        Otherwise a ZeRO-2 engine would reduce gradients that are none of its step's.
        """
        for _, parameter in self._trained:
            parameter.requires_grad_(False)
        try:
            yield self.module
        finally:
            for _, parameter in self._trained:
                parameter.requires_grad_(True)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Every trained weight (fp32 master) and its optimiser state, whole, by name: "weight/…", "ema/…", ….

        All workers must walk it together. The names do not depend on workers or ZeRO stage.
        """
        for name, parameter in self._trained:
            for key in (WEIGHT, *STATE_KEYS):
                yield f"{key}/{name}", self._whole(parameter, key)

    def ema_weights(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name, on the CPU. All workers must ask together."""
        return {name: self._whole(parameter, "ema").cpu() for name, parameter in self._trained}

    @property
    def steps(self) -> int:
        """Optimiser steps taken: Adam's count, which a network that joins later starts later."""
        return int(next(iter(self._base.state.values()))["step"])

    def load_state(self, tensor: Callable[[str], Tensor], steps: int) -> None:
        """Takes weights and state by the names of `state`, and continues the count of steps from `steps`."""
        for name, parameter in self._trained:
            for key in (WEIGHT, *STATE_KEYS):
                value = tensor(f"{key}/{name}").to(parameter.device)
                expected = tuple(getattr(parameter, "ds_shape", parameter.shape))
                if tuple(value.shape) != expected:
                    raise CheckpointError(f"{key}/{name}: expected shape {expected}, got {tuple(value.shape)}")
                self._put(parameter, key, value)
        for state in self._base.state.values():
            state["step"] = torch.tensor(float(steps))

    @torch.no_grad()
    def _whole(self, parameter: Tensor, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if key == WEIGHT:
            value = safe_get_full_fp32_param(parameter)
        else:
            value = safe_get_full_optimizer_state(parameter, key)
        if value is None:  # not sharded
            value = parameter if key == WEIGHT else self._base.state[parameter][key]
        return value.detach().float().clone().contiguous()

    @torch.no_grad()
    def _put(self, parameter: Tensor, key: str, value: Tensor) -> None:
        from deepspeed.utils import (
            safe_set_full_fp32_param,
            safe_set_full_optimizer_state,
            safe_set_local_fp32_param,
            safe_set_local_optimizer_state,
        )

        if self._zero_stage == 3:  # its own whole-tensor setter fails where workers do not divide the size
            shard = _zero3_shard(parameter, value)
            if key == WEIGHT:
                safe_set_local_fp32_param(parameter, shard)
                parameter.ds_tensor.data.copy_(shard)  # type: ignore[attr-defined]
            else:
                safe_set_local_optimizer_state(parameter, shard, key)
        elif hasattr(parameter, "_hp_mapping"):
            if key == WEIGHT:
                safe_set_full_fp32_param(parameter, value)
                parameter.data.copy_(value)
            else:
                safe_set_full_optimizer_state(parameter, value, key)
        else:
            (parameter.data if key == WEIGHT else self._base.state[parameter][key]).copy_(value)

    def _prime(self) -> None:
        """Lets the optimiser's state exist before the first step, so that it can be loaded and saved at any time."""
        zero = self._engine.optimizer
        if self._zero_stage == 3:
            self._base.prime(zero.fp32_partitioned_groups_flat)
            return
        self._base.prime(tensor for group in self._base.param_groups for tensor in group["params"])
        if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
            zero._lazy_init_hp_params_optimizer_state()


def _zero3_shard(parameter: Tensor, value: Tensor) -> Tensor:
    rank, workers = world()
    length = parameter.ds_tensor.ds_numel  # type: ignore[attr-defined]
    padded = nn.functional.pad(value.flatten(), (0, length * workers - value.numel()))
    return padded.narrow(0, rank * length, length).clone()


def _deepspeed_config(settings: EngineSettings) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": settings.micro_batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_clipping": settings.gradient_clipping or 0.0,  # unsaid, it would clip at 1.0
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": settings.zero_stage, "stage3_param_persistence_threshold": 0},
        "steps_per_print": 2**62,
    }


def _quieten() -> None:
    import logging

    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
