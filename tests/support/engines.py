"""What tests of engines share: the smallest network, and everything that a learner holds."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from rayograph.training.checkpoints.averages import ConstantDecay
from rayograph.training.engine.engine import EngineSettings


class Line(nn.Module):
    """Its loss is the mean square of what it makes of (b, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(5, 3)

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        return self.line(values).square().mean(), None


def settings(micro_batch_size: int, zero_stage: int, **others: Any) -> EngineSettings:
    """Of a training with one average, unless others are given."""
    usual = {"accumulation": 1, "gradient_clipping": None, "averages": (ConstantDecay(0.5),)}
    optimiser = {"betas": (0.9, 0.99), "eps": 1e-3, "weight_decay": 0.0}
    return EngineSettings(micro_batch_size, zero_stage=zero_stage, **(usual | optimiser | others))  # type: ignore[arg-type]


def named_state(learner: Any) -> dict[str, Tensor]:
    """Whole tensors, "engine/key/parameter". All workers must ask together."""
    return {f"{name}/{key}": tensor for name, engine in learner.engines().items() for key, tensor in state(engine)}


def state(engine: Any) -> Iterator[tuple[str, Tensor]]:
    """Whole tensors, "key/parameter". All workers must ask together."""
    for key in engine.state.keys:
        for name, tensor in engine.state.whole(key):
            yield f"{key}/{name}", tensor.clone()
