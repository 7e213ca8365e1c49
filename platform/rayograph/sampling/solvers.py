"""Solvers: how noisy latents go from one noise level to the next.

At a level latents are x = α z + σ ε, and the denoiser's prediction says what z would be, D. Every solver here is a
table of weights in float64, a row a step: x' = a x + b D + c D₋ + n ε', where D₋ is the D of the step before. What they
solve is dx/ds = (x - D) / s of x / α in s = σ / α (Karras et al. 2022, eq. 4), alike for diffusions and flows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from rayograph.config import Sampler
from rayograph.errors import ConfigError
from rayograph.models.schedule import TrainingSchedule, is_flow, prediction_type
from rayograph.models.spacing import Levels, sampling_levels
from rayograph.shapes import Latents, Noise


class Weights(NamedTuple):
    """Of one step. `clean` makes D of (latents, prediction)."""

    clean: tuple[float, float]
    latents: float
    denoised: float
    earlier: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Solver:
    """`timesteps` (s,) on the model's device, int64 or float32, and the weights of each step."""

    timesteps: torch.Tensor
    weights: tuple[Weights, ...]

    def denoised(self, step: int, latents: Latents, prediction: Latents) -> Latents:
        """D: the clean latents that the prediction of this step points to."""
        of_latents, of_prediction = self.weights[step].clean
        if of_latents == 0.0:  # beyond finite numbers it would not vanish
            return of_prediction * prediction
        return of_latents * latents + of_prediction * prediction

    def adds_noise(self, step: int) -> bool:
        return self.weights[step].noise > 0.0

    def advance(
        self, step: int, latents: Latents, denoised: Latents, earlier: Latents | None, noise: Noise | None
    ) -> Latents:
        """Latents at the next level, after the last step clean. `earlier` is the step before's D, `noise` fresh."""
        weights = self.weights[step]
        found = weights.denoised * denoised
        for weight, part in ((weights.latents, latents), (weights.earlier, earlier), (weights.noise, noise)):
            if weight != 0.0:
                if part is None:
                    raise ValueError(f"step {step}: expected what it has a weight for, got None")
                found.add_(part, alpha=weight)
        return found


def build_solver(schedule: TrainingSchedule, declared: Sampler, device: torch.device | str = "cpu") -> Solver:
    """For a model trained with `schedule`. Raises ConfigError for more steps than it has timesteps."""
    spacing = declared.spacing_on(is_flow(schedule))
    levels = sampling_levels(schedule, spacing, declared.num_inference_steps)
    kind = prediction_type(schedule)
    match declared.scheduler:
        case "ddim":
            rows = _euler(levels, kind, declared.eta)
        case "euler_ancestral":
            rows = _euler(levels, kind, 1.0)
        case "dpmsolver++":
            rows = _second_order(levels, kind, extrapolate=spacing != "trailing")
    dtype = torch.float32 if is_flow(schedule) else torch.int64
    return Solver(torch.from_numpy(levels.timesteps).to(device, dtype), tuple(rows))


def _euler(levels: Levels, kind: str, eta: float) -> Iterator[Weights]:
    """Song et al. 2021, eq. 12 and 16: of the noise that a step leaves, the part η √(1 - (s' / s)²) is fresh.

    With η = 1 that is k-diffusion's ancestral step, σ_up and σ_down.
    """
    for signal, noise, next_signal, next_noise in _pairs(levels):
        fresh = eta * next_noise * math.sqrt(1.0 - (signal * next_noise / (next_signal * noise)) ** 2)
        kept = math.sqrt(next_noise**2 - fresh**2) / noise
        yield Weights(_clean(kind, signal, noise), kept, next_signal - signal * kept, noise=fresh)


def _second_order(levels: Levels, kind: str, extrapolate: bool) -> Iterator[Weights]:
    """DPM-Solver++(2M) (Lu et al. 2022b, alg. 2): from one level to the next, D goes on as it went.

    To the clean image it would have to go on for ever in log-SNR. But D is a smooth function of s² (Tweedie's formula:
    it is x + s² ∇ log p), so to `extrapolate` it goes on to s² = 0, by at most the last step's change; a single step
    goes to D itself, which leaves what is as fine as the last level's noise too narrow.
    """
    before = math.nan  # log-SNR
    earlier_ratio = math.inf  # s
    for step, (signal, noise, next_signal, next_noise) in enumerate(_pairs(levels)):
        kept = next_noise / noise
        weight = next_signal - signal * kept
        here, ratio = (math.log(signal / noise), noise / signal) if signal else (-math.inf, math.inf)
        more = 0.0
        if step and next_noise and here - before != math.inf:
            more = (math.log(next_signal / next_noise) - here) / (here - before) / 2.0
        elif step and not next_noise and extrapolate:
            more = min(1.0, 1.0 / ((earlier_ratio / ratio) ** 2 - 1.0))
        yield Weights(_clean(kind, signal, noise), kept, weight * (1.0 + more), -weight * more)
        before, earlier_ratio = here, ratio


def _pairs(levels: Levels) -> Iterator[tuple[float, float, float, float]]:
    """α and σ of a level and of the next one: the clean image's after the last."""
    signal, noise = [*levels.signal.tolist(), 1.0], [*levels.noise.tolist(), 0.0]
    for step in range(len(levels.signal)):
        yield signal[step], noise[step], signal[step + 1], noise[step + 1]


def _clean(kind: str, signal: float, noise: float) -> tuple[float, float]:
    """D = first · latents + second · prediction (Ho et al. 2020, eq. 15; Salimans & Ho 2022, app. D)."""
    match kind:
        case "epsilon":
            if not signal:
                raise ConfigError("prediction_type: expected no 'epsilon' where all is noise, which says nothing")
            return 1.0 / signal, -noise / signal
        case "sample":
            return 0.0, 1.0
        case "v_prediction":
            return signal, -noise
        case "flow_prediction":
            return 1.0, -noise
        case other:
            raise ConfigError(
                f"prediction_type: expected epsilon, sample, v_prediction or flow_prediction, got {other!r}"
            )
