"""AdamW that keeps the weights' moving averages among its own state, where ZeRO shards them for nothing.

DeepSpeed hands an optimiser the fp32 master weights of its own shard, so averages are taken over masters, and are as
large as the shard. No gathering, no second copy of the network.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's own tensors of a parameter's state."""


class AdamWithAverages(torch.optim.AdamW):
    """Decoupled weight decay (Loshchilov & Hutter 2019), then each average ← decay · average + (1 - decay) · weight.

    `decays`, one for each of `averages`, stands beside `lr` in each group; both may be set anew before any step.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        averages: Sequence[str],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        self.averages = tuple(averages)
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        for group in self.param_groups:
            group["decays"] = [0.0] * len(self.averages)

    @property
    def state_keys(self) -> tuple[str, ...]:
        """The tensors of a parameter's state that a checkpoint carries, besides the weight itself."""
        return (*MOMENTS, *self.averages)

    def prime(self, tensors: Iterable[Tensor]) -> None:
        """Creates the state of tensors that have none, as the first step would, without taking a step."""
        for tensor in tensors:
            state = self.state[tensor]
            if not state:
                state["step"] = torch.tensor(0.0, device=tensor.device)
                for key in MOMENTS:
                    state[key] = torch.zeros_like(tensor)
                for key in self.averages:
                    state[key] = tensor.detach().clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            self.prime(tensor for tensor in group["params"] if tensor.grad is not None)
        super().step(closure)
        for group in self.param_groups:
            moving = [tensor for tensor in group["params"] if tensor.grad is not None]
            for key, decay in zip(self.averages, group["decays"] if moving else (), strict=bool(moving)):
                torch._foreach_lerp_([self.state[tensor][key] for tensor in moving], moving, 1.0 - decay)
