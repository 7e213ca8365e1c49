"""AdamW that keeps the weights' moving average among its own state, where ZeRO shards it for nothing.

DeepSpeed hands an optimiser the fp32 master weights of its own shard, so the average is taken over masters, and is as
large as the shard. No gathering, no second copy of the network.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

STATE_KEYS = ("exp_avg", "exp_avg_sq", "ema")
"""The tensors of a parameter's state that a checkpoint carries, besides the weight itself."""


class AdamWithEma(torch.optim.AdamW):
    """Decoupled weight decay (Loshchilov & Hutter 2019), then ema ← decay · ema + (1 - decay) · weight.

    Each group has its own `ema_decay` beside `lr`; both may be set anew before any step.
    """

    def __init__(self, params: Iterable[Tensor], **options: Any) -> None:
        super().__init__(params, foreach=True, **options)
        for group in self.param_groups:
            group["ema_decay"] = 0.0

    def prime(self, tensors: Iterable[Tensor]) -> None:
        """Creates the state of tensors that have none, as the first step would, without taking a step."""
        for tensor in tensors:
            state = self.state[tensor]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(tensor)
                state["exp_avg_sq"] = torch.zeros_like(tensor)
                state["ema"] = tensor.detach().clone()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            self.prime(tensor for tensor in group["params"] if tensor.grad is not None)
        super().step(closure)
        for group in self.param_groups:
            moving = [tensor for tensor in group["params"] if tensor.grad is not None]
            if moving:
                averages = [self.state[tensor]["ema"] for tensor in moving]
                torch._foreach_lerp_(averages, moving, 1.0 - group["ema_decay"])


def ema_decay_at(step: int, decay: float) -> float:
    """The decay at optimiser step `step`, counted from 0: min(decay, (1 + n) / (10 + n))."""
    return min(decay, (1 + step) / (10 + step))
