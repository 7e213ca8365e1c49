"""A published checkpoint as a whole: which of its weights are the first stage's, the denoiser's, the conditioner's.

first_stage_model.*            as in a first stage's own checkpoint, where they stand without a prefix
model.diffusion_model.*        the denoiser
model_ema.*                    its average, which is drawn with: the same names without their dots
cond_stage_model.*             what it is conditioned by; the first stage once more where it encodes its conditions
betas, alphas_cumprod, …       the schedule; scale_factor where it was measured
"""

from dataclasses import dataclass, field

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from rayograph.config import NoiseSchedule
from rayograph.errors import DataError
from rayograph.models.published.accounting import Weights, below, refuse_left_over, some
from rayograph.models.published.first_stage import TRAINED_WITH
from rayograph.models.schedule import build_schedule

FIRST_STAGE, DENOISER, CONDITIONER = "first_stage_model.", "model.diffusion_model.", "cond_stage_model."
_AVERAGE, _AVERAGED = "model_ema.", "model."
_OF_AVERAGING = {"decay", "num_updates"}
_OF_THE_SCHEDULE = {
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "lvlb_weights", "logvar",
}  # fmt: skip
"""All of which follows from the first, but for `logvar`: zeros in every published model."""
_SCALE = "scale_factor"


@dataclass(frozen=True)
class PublishedWeights:
    """The parts of a checkpoint, each by the names within it. A first stage's own has the first alone."""

    first_stage: dict[str, Tensor]
    denoiser: dict[str, Tensor] = field(default_factory=dict)
    conditioner: dict[str, Tensor] = field(default_factory=dict)
    betas: Tensor | None = None
    scale_factor: float | None = None


def parted(weights: Weights, where: str) -> PublishedWeights:
    """Say which weights are whose. Raises DataError naming those that are nobody's."""
    if not any(name.startswith((FIRST_STAGE, DENOISER)) for name in weights):
        return PublishedWeights(_averaged(weights, "", {}, where))
    first_stage, conditioner = below(weights, FIRST_STAGE), below(weights, CONDITIONER)
    if conditioner.keys() == first_stage.keys() and _same(conditioner, first_stage):
        conditioner = {}  # it encodes its conditions too
    parts = (FIRST_STAGE, DENOISER, CONDITIONER, _AVERAGE)
    beside = {name for name in weights if not name.startswith(parts)} - _OF_THE_SCHEDULE - {_SCALE}
    refuse_left_over(beside, where)
    scale = weights.get(_SCALE)
    return PublishedWeights(
        first_stage,
        _averaged(weights, _AVERAGED, below(weights, DENOISER), where),
        conditioner,
        weights.get("betas"),
        None if scale is None else float(f"{float(scale):.8g}"),
    )


def schedule_of(parts: PublishedWeights, declared: NoiseSchedule, where: str) -> DDPMScheduler:
    """Return the schedule that was trained with: as declared, or of betas of their own where the weights differ."""
    made = build_schedule(declared)
    if parts.betas is None or not isinstance(made, DDPMScheduler):
        return made
    betas = parts.betas.double()
    if betas.shape == made.betas.shape and torch.allclose(betas, made.betas.double(), rtol=1e-4, atol=1e-8):
        return made
    if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
        got = f"{betas.min():g} to {betas.max():g}"
        raise DataError(f"{where}: expected betas between 0 and 1, one a timestep, got {got}")
    return DDPMScheduler.from_config(made.config, num_train_timesteps=len(betas), trained_betas=betas.tolist())


def _averaged(weights: Weights, averaged: str, plain: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The averages of `plain`, whose names began with more: of model.diffusion_model.out.2.bias, averaged is what
    follows "model.", and the average's name diffusion_modelout2bias."""
    prefix = DENOISER.removeprefix(averaged) if averaged else ""
    if not averaged:
        plain = {name: value for name, value in weights.items() if not name.startswith(_AVERAGE)}
    averages = {name: value for name, value in below(weights, _AVERAGE).items() if name not in _OF_AVERAGING}
    if not averages:
        return plain
    short = {(prefix + name).replace(".", ""): name for name in plain}
    refuse_left_over({_AVERAGE + name for name in averages.keys() - short.keys()}, where)
    missing = [name for key, name in short.items() if key not in averages and not name.startswith(TRAINED_WITH)]
    if missing:
        raise DataError(f"{where}: expected averages of all weights, or of none: missing {some(missing)}")
    return plain | {short[name]: value for name, value in averages.items()}


def _same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())
