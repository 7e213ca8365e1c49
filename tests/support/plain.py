"""Plain PyTorch to compare with: AdamW, and moving averages written out."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rayograph.training.checkpoints.averages import Average


class PlainTraining:
    """Of named parameters; `state` is what an engine should hold."""

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], averages: Sequence[Average] = (), **options: object
    ) -> None:
        self._named = list(named)
        self._optimiser = torch.optim.AdamW([p for _, p in self._named], foreach=False, fused=False, **options)  # type: ignore[arg-type]
        self._averages = {average: [p.detach().clone() for _, p in self._named] for average in averages}

    def step(self, loss: Tensor, number: int, clip: float | None = None) -> None:
        """Backward and everything after it; `number` is the step's, from 0."""
        self._optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_([p for _, p in self._named], clip)
        self._optimiser.step()
        for average, kept in self._averages.items():
            decay = average.decay_at(number)
            for value, (_, parameter) in zip(kept, self._named, strict=True):
                value.mul_(decay).add_(parameter.detach(), alpha=1 - decay)

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        found = {}
        for place, (name, parameter) in enumerate(self._named):
            found[f"weight/{prefix}{name}"] = parameter.detach()
            for key in ("exp_avg", "exp_avg_sq"):
                if parameter in self._optimiser.state:
                    found[f"{key}/{prefix}{name}"] = self._optimiser.state[parameter][key]
            for average, kept in self._averages.items():
                found[f"{average.key}/{prefix}{name}"] = kept[place]
        return found
