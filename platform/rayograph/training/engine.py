"""One network under DeepSpeed: the only place that knows it.

DeepSpeed is exact with two networks in one step only in one form, which the learners keep to: a module's forward does
the whole work and returns one scalar loss, one backward follows each forward, and another engine's network, where it is
needed, is called as a plain frozen module (`frozen`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Piece:
    """A run of consecutive values (n,) float32 of a flattened tensor of `Engine.state`, the first at `start`."""

    name: str
    start: int
    values: Tensor


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


def least_over_workers(value: int) -> int:
    """The smallest `value` of all workers, on every worker."""
    if world()[1] == 1:
        return value
    least = torch.tensor(value, dtype=torch.int64, device=device())
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least)


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
        self._by_name = dict(self._trained)
        parameters = [parameter for _, parameter in self._trained]
        optimiser = AdamWithEma(
            parameters, lr=0.0, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
        )
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=module, model_parameters=parameters, optimizer=optimiser, config=_deepspeed_config(settings)
        )
        self._zero_stage = settings.zero_stage
        self._norm = 0.0
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
        if self._zero_stage == 0 and self._engine.is_gradient_accumulation_boundary():
            gradients = [parameter.grad for _, parameter in self._trained if parameter.grad is not None]
            self._norm = float(nn.utils.get_total_norm(gradients))
        self._engine.step()

    def schedule(self, learning_rate: float, ema_decay: float) -> None:
        """Sets both for the coming step."""
        for group in self._base.param_groups:
            group["lr"], group["ema_decay"] = learning_rate, ema_decay

    def gradient_norm(self) -> float:
        """Global norm of the last step's gradients, before clipping."""
        return self._norm if self._zero_stage == 0 else float(self._engine.get_global_grad_norm())

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor of `state`, by name."""
        return {
            f"{key}/{name}": tuple(getattr(parameter, "ds_shape", parameter.shape))
            for name, parameter in self._trained
            for key in (WEIGHT, *STATE_KEYS)
        }

    def pieces(self) -> Iterator[Piece]:
        """What this worker keeps of `state`, without copying it; all workers' pieces together are all of it, once."""
        for number, (name, parameter) in enumerate(self._trained):
            for key in (WEIGHT, *STATE_KEYS):
                start, values = self._kept(number, parameter, key)
                if values.numel():
                    yield Piece(f"{key}/{name}", start, values)

    def put(self, piece: Piece) -> None:
        """Takes over as much of a piece of `state` as this worker keeps, whoever wrote it."""
        key, _, name = piece.name.partition("/")
        parameter = self._by_name[name]
        if self._zero_stage == 3:
            self._put_in_shard(parameter, key, piece)
            return
        if key == WEIGHT:  # each worker computes with all of them
            parameter.data.view(-1)[piece.start : piece.start + len(piece.values)] = piece.values.to(parameter.device)
        if not hasattr(parameter, "_hp_mapping"):
            if key != WEIGHT:
                _overlay(self._base.state[parameter][key].view(-1), 0, piece)
        elif parameter._hp_mapping is not None:
            mapping = parameter._hp_mapping
            fragment = mapping.get_hp_fragment(None if key == WEIGHT else key)
            _overlay(fragment, mapping.lp_fragment_address.start, piece)

    def ema_weights(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name, on the CPU. All workers must ask together."""
        return {name: self._whole(parameter, "ema").cpu() for name, parameter in self._trained}

    @property
    def steps(self) -> int:
        """Optimiser steps taken: Adam's count, which a network that joins later starts later."""
        return int(next(iter(self._base.state.values()))["step"])

    @steps.setter
    def steps(self, steps: int) -> None:
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
    def _kept(self, number: int, parameter: Tensor, key: str) -> tuple[int, Tensor]:
        """Where this worker's values of a tensor begin, and the values, flat; none where others keep it."""
        rank, workers = world()
        if self._zero_stage == 3:
            start = rank * parameter.ds_tensor.ds_numel  # type: ignore[attr-defined]
            return start, _zero3_shard(parameter, key)[: max(0, parameter.ds_numel - start)]  # type: ignore[attr-defined]
        if not hasattr(parameter, "_hp_mapping"):  # all keep all: they take turns
            whole = parameter if key == WEIGHT else self._base.state[parameter][key]
            return 0, whole.detach().view(-1)[: whole.numel() if number % workers == rank else 0]
        mapping = parameter._hp_mapping
        if mapping is None:
            return 0, parameter.detach().new_empty(0)
        return mapping.lp_fragment_address.start, mapping.get_hp_fragment(None if key == WEIGHT else key).detach()

    @torch.no_grad()
    def _put_in_shard(self, parameter: Tensor, key: str, piece: Piece) -> None:
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        shard = _zero3_shard(parameter, key).clone()
        _overlay(shard, world()[0] * len(shard), piece)
        if key == WEIGHT:
            safe_set_local_fp32_param(parameter, shard)
            parameter.ds_tensor.data.copy_(shard)  # type: ignore[attr-defined]
        else:
            safe_set_local_optimizer_state(parameter, shard, key)

    def _prime(self) -> None:
        """Lets the optimiser's state exist before the first step, so that it can be loaded and saved at any time."""
        zero = self._engine.optimizer
        if self._zero_stage == 3:
            self._base.prime(zero.fp32_partitioned_groups_flat)
            return
        self._base.prime(tensor for group in self._base.param_groups for tensor in group["params"])
        if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
            zero._lazy_init_hp_params_optimizer_state()


def _zero3_shard(parameter: Tensor, key: str) -> Tensor:
    """This worker's part of a tensor, flat, padded where workers do not divide its size."""
    from deepspeed.utils import safe_get_local_fp32_param, safe_get_local_optimizer_state

    found = safe_get_local_fp32_param(parameter) if key == WEIGHT else safe_get_local_optimizer_state(parameter, key)
    return found.detach()


def _overlay(kept: Tensor, start: int, piece: Piece) -> None:
    """Puts into `kept`, which begins at `start` of its tensor, what the piece has of it."""
    first, last = max(start, piece.start), min(start + len(kept), piece.start + len(piece.values))
    if first < last:
        kept.detach()[first - start : last - start] = piece.values[first - piece.start : last - piece.start].to(
            kept.device
        )


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
