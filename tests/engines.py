"""What tests of engines share: the smallest network, and everything that a learner holds."""

from typing import Any

from torch import Tensor, nn


class Line(nn.Module):
    """Its loss is the mean square of what it makes of (b, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(5, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.line(values).square().mean()


def named_state(learner: Any) -> dict[str, Tensor]:
    """Whole tensors, "engine/key/parameter". All workers must ask together."""
    return {f"{name}/{key}": tensor for name, engine in learner.engines().items() for key, tensor in engine.state()}
