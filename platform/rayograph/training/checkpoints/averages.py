"""Moving averages of the weights, kept while training goes on, and others solved for afterwards.

An average is known by its key, among the optimiser's state and in checkpoints. Steps are counted from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

LENGTH = "length"
"""What the keys of averages by a power function begin with: others can be solved from them."""


@runtime_checkable
class Average(Protocol):
    """average ← decay · average + (1 - decay) · weight after each step."""

    @property
    def key(self) -> str: ...

    def decay_at(self, step: int) -> float: ...


@dataclass(frozen=True)
class ConstantDecay:
    """One decay all along, but for the first steps: min(decay, (1 + n) / (10 + n)), n counted from 1.

    As the released code of Rombach et al. 2022 has it (ldm/modules/ema.py): 2 / 11 at the first step.
    """

    decay: float

    @property
    def key(self) -> str:
        return f"ema-{self.decay}"

    def decay_at(self, step: int) -> float:
        return min(self.decay, (2 + step) / (11 + step))


@dataclass(frozen=True)
class PowerFunction:
    """Each step n weighs in as (n + 1)^γ, so an average has the same shape however long the training was.

    `length` is its standard deviation as a share of the training, 0.05 short, 0.25 long (Karras et al. 2024, sec. 3).
    """

    length: float

    @property
    def key(self) -> str:
        return f"{LENGTH}-{self.length}"

    @property
    def gamma(self) -> float:
        return gamma_of(self.length)

    def decay_at(self, step: int) -> float:
        """(1 - 1/t)^(γ + 1) with t steps taken (eq. 3)."""
        return float((1.0 - 1.0 / (step + 1)) ** (self.gamma + 1.0))


def gamma_of(length: float) -> float:
    """The exponent of the power function with this relative standard deviation: σ² = (γ+1) / ((γ+2)² (γ+3)) (eq. 4)."""
    ratio = length**-2
    return float(np.roots([1.0, 7.0, 16.0 - ratio, 12.0 - ratio]).real.max())


def mixture(snapshots: Sequence[tuple[float, int]], length: float, steps: int) -> tuple[list[float], float]:
    """How much of each snapshot (length, steps taken) makes the average of `length` at `steps` (alg. 3), together 1.

    The least squares of its profile over time; and how far, as a share of its norm, the mixture's profile is from it.
    Snapshots later than `steps` must not be among them.
    """
    lengths, times = (np.array(column, dtype=np.float64) for column in zip(*snapshots, strict=True))
    gammas = np.array([gamma_of(value) for value in lengths])
    kept = _overlap(times[:, None], gammas[:, None], times[None, :], gammas[None, :])
    wanted = _overlap(times, gammas, np.array(float(steps)), np.array(gamma_of(length)))
    # Snapshots that are nearly each other's multiples leave the system nearly singular.
    shares, *_ = np.linalg.lstsq(kept, wanted, rcond=1e-12)
    shares /= shares.sum()
    itself = float(_overlap(*(np.array(value) for value in (float(steps), gamma_of(length)) * 2)))
    missed = max(0.0, float(shares @ kept @ shares - 2 * shares @ wanted) + itself)
    return [float(share) for share in shares], float(np.sqrt(missed / itself))


def _overlap(time_a: np.ndarray, gamma_a: np.ndarray, time_b: np.ndarray, gamma_b: np.ndarray) -> np.ndarray:
    """∫ p_a p_b over time of profiles p(t) = (γ+1) t^γ / T^(γ+1) on [0, T] (app. C)."""
    earlier, later = np.minimum(time_a, time_b), np.maximum(time_a, time_b)
    gamma_later = np.where(time_a < time_b, gamma_b, gamma_a)
    power = np.where(time_a == time_b, 0.0, gamma_later)
    found = (gamma_a + 1) * (gamma_b + 1) / ((gamma_a + gamma_b + 1) * later) * (earlier / later) ** power
    return np.asarray(found)
