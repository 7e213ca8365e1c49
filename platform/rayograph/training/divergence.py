"""Divergence: told from a step's figures, undone by the last checkpoint.

The rule: weights, optimiser and averages go back to the newest checkpoint, the data goes on behind the batch that broke
them. What was seen in between counts as seen. The figures are means over all workers, so all decide alike.
"""

import math
from dataclasses import dataclass
from typing import TypedDict

from rayograph.training.learner import Metrics

GRADIENT_NORM = "gradient_norm"
MEMORY = 100
"""Steps over which the usual gradient norm is known; before as many have passed, none is called too large."""


class DivergenceState(TypedDict, total=False):
    """What a detector knows, as checkpoints keep it."""

    steps: int
    log_norm: float


@dataclass
class DivergenceDetector:
    """Knows what gradient norm is usual: its running geometric mean. `state` goes into checkpoints."""

    limit: float
    """Times the usual norm that a step may have."""
    steps: int = 0
    log_norm: float = 0.0

    def fault(self, metrics: Metrics) -> str | None:
        """What is wrong with a step; None if nothing is, and its norm then counts as usual."""
        for name, value in sorted(metrics.items()):
            if not math.isfinite(value):
                return f"{name} is {value}"
        norm = metrics.get(GRADIENT_NORM)
        if norm is None:  # fp16 left the step out
            return None
        usual = math.exp(self.log_norm)
        if self.steps >= MEMORY and norm > self.limit * usual:
            return f"{GRADIENT_NORM} is {norm:.4g}, more than {self.limit:g} times the usual {usual:.4g}"
        self.steps += 1
        self.log_norm += (math.log(max(norm, 1e-30)) - self.log_norm) / min(self.steps, MEMORY)
        return None

    def state(self) -> DivergenceState:
        return {"steps": self.steps, "log_norm": self.log_norm}

    def load(self, state: DivergenceState) -> None:
        self.steps, self.log_norm = int(state.get("steps", 0)), float(state.get("log_norm", 0.0))
