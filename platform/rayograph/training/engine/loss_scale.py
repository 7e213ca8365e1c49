"""Loss scaling for fp16: gradients too small for it are made larger on their way (Micikevicius et al. 2018)."""

from torch import Tensor

from rayograph.errors import DivergenceError
from rayograph.training.workers import least_over_workers

FIRST, LEAST, PATIENCE = 2.0**15, 2.0**-24, 2000
"""The scale to begin with, the smallest there is, and the steps without overflow after which it doubles."""


class LossScale:
    """Halves where a step overflows, doubles where none did for long."""

    def __init__(self) -> None:
        self.value = FIRST
        self._quiet = 0

    def unscale(self, gradients: Tensor) -> bool:
        """Takes the scale out of the gradients; False, and a smaller scale, where any worker's are not finite.

        Raises DivergenceError once there is no smaller scale.
        """
        finite = least_over_workers(int(gradients.isfinite().all()))
        if not finite and self.value == LEAST:
            raise DivergenceError("gradients overflow fp16 at every loss scale: precision bf16 or fp32 may hold them")
        if not finite:
            self.value, self._quiet = max(LEAST, self.value / 2), 0
            return False
        gradients /= self.value
        self._quiet += 1
        if self._quiet == PATIENCE:
            self.value, self._quiet = 2 * self.value, 0
        return True
