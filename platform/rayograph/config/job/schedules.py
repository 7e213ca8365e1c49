"""Declarations of diffusion: how noise comes, what is learned of it and how it goes, in diffusers' own words."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from rayograph.config.declaration import Declaration

Timesteps = Annotated[int, Field(gt=0, le=1_000_000)]
"""A hundred times the field's thousand."""

HIGHEST_GUIDANCE = 1000.0
"""A hundred times what anybody draws with; a request's rows know it too."""

LEAST_SIGNAL = 1e-30
"""Of the latents' variance at the last timestep: float32, in which samplers run, holds not much less."""


def betas(schedule: str, start: float, end: float, count: int) -> list[float]:
    """Compute a schedule's variances in double precision, as diffusers spaces them (Nichol & Dhariwal 2021, eq. 17)."""
    if schedule == "squaredcos_cap_v2":
        left = [math.cos((step / count + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(count + 1)]
        return [min(1 - left[step + 1] / left[step], 0.999) for step in range(count)]
    power = 2 if schedule == "scaled_linear" else 1
    first, last = start ** (1 / power), end ** (1 / power)
    return [(first + (last - first) * step / max(1, count - 1)) ** power for step in range(count)]


class NoiseSchedule(Declaration):
    """How noise is added in training (Ho et al. 2020, sec. 2), the same for every sampler afterwards.

    `prediction_type` is what the denoiser gives: the noise, the latents or the velocity.
    """

    kind: Literal["diffusion"] = "diffusion"
    num_train_timesteps: Timesteps = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: float = Field(0.0015, ge=1e-7, lt=1)
    """From what float32 can take from 1: below, the first timestep has no noise at all."""
    beta_end: float = Field(0.0195, ge=1e-7, lt=1)
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    zero_terminal_snr: bool = False
    """Whether the last timestep is noise alone, so that brightness can be learned too (Lin et al. 2024, alg. 1)."""

    @model_validator(mode="after")
    def _noise_grows_and_leaves_something(self) -> "NoiseSchedule":
        if self.beta_schedule == "squaredcos_cap_v2":  # which knows neither start nor end
            return self
        if self.beta_start > self.beta_end:
            raise ValueError(f"beta_start: expected at most beta_end {self.beta_end:g}, got {self.beta_start:g}")
        given = betas(self.beta_schedule, self.beta_start, self.beta_end, self.num_train_timesteps)
        left = sum(math.log1p(-beta) for beta in given)
        if left < math.log(LEAST_SIGNAL):
            raise ValueError(
                f"beta_end: expected betas that leave {LEAST_SIGNAL:g} of the latents' variance at the last of "
                f"{self.num_train_timesteps} timesteps, got 1e{left / math.log(10):.0f}"
            )
        return self

    @model_validator(mode="after")
    def _pure_noise_tells_no_noise(self) -> "NoiseSchedule":
        if self.zero_terminal_snr and self.num_train_timesteps == 1:
            raise ValueError("zero_terminal_snr: expected more than 1 num_train_timesteps beside it, got 1")
        if self.zero_terminal_snr and self.prediction_type == "epsilon":
            raise ValueError(
                "zero_terminal_snr: expected prediction_type 'v_prediction' or 'sample' beside it, got 'epsilon': "
                "where all is noise, its prediction says nothing of the latents"
            )
        return self


class FlowSchedule(Declaration):
    """Straight lines from latents to noise (Lipman et al. 2023; Liu et al. 2023): the denoiser gives their direction.

    `shift` above 1 moves all timesteps, in training and in sampling, towards noise: for larger latents (Esser et al.
    2024, eq. 23).
    """

    kind: Literal["flow"] = "flow"
    num_train_timesteps: Timesteps = 1000
    shift: float = Field(1.0, ge=0.01, le=100.0)
    """Published ones go from 1 to 16; a hundred leaves one step in ten for all but noise."""


def _kind_of(given: object) -> str:
    """Diffusion, unless it says otherwise."""
    kind = given.get("kind", "diffusion") if isinstance(given, dict) else getattr(given, "kind", type(given).__name__)
    return str(kind)


Schedule = Annotated[
    Annotated[NoiseSchedule, Tag("diffusion")] | Annotated[FlowSchedule, Tag("flow")], Discriminator(_kind_of)
]


class DiffusionLoss(Declaration):
    """What an error at a timestep counts: how often it is drawn, and with which weight.

    `timesteps` "logit_normal" draws the middle more often (Esser et al. 2024, eq. 19). `min_snr_gamma` (5 is usual)
    caps the weight of the nearly clean ones (Hang et al. 2023).
    """

    norm: Literal["l2", "l1"] = "l2"
    timesteps: Literal["uniform", "logit_normal"] = "uniform"
    logit_mean: float = Field(0.0, ge=-10.0, le=10.0)
    """Beyond, all timesteps drawn are the first or the last."""
    logit_std: float = Field(1.0, ge=0.01, le=10.0)
    min_snr_gamma: float | None = Field(None, ge=0.01, le=10_000.0)


Spacing = Literal["log_snr", "karras", "trailing"]


PER_ROW, PER_SAMPLE = "per row", "per sample"
"""Mark, as `Annotated[int, PER_ROW]`, what a request's rows may say of a sampler, in columns of these names. Samples
that say otherwise of what is per row are drawn in batches of their own; what is per sample differs within a batch.
"""


class Sampler(Declaration):
    """How the sample loop goes from noise to latents, in `num_inference_steps` calls of it.

    DDIM (Song et al. 2021) is Euler's method in the noise level, along a flow too; "euler_ancestral" is what it becomes
    with all the noise that it may add, η = 1 (Karras et al. 2022, app. C.5). DPM-Solver++(2M) (Lu et al. 2022) is of
    second order.
    """

    version: ClassVar[int] = 2  # spacing

    scheduler: Annotated[Literal["ddim", "dpmsolver++", "euler_ancestral"], PER_ROW] = "dpmsolver++"
    num_inference_steps: Annotated[PositiveInt, PER_ROW] = 20
    """At most the model's `num_train_timesteps`."""
    guidance_scale: Annotated[float, PER_SAMPLE] = Field(1.5, ge=0, le=HIGHEST_GUIDANCE)
    """1 is no guidance (Ho & Salimans 2022)."""
    guidance_rescale: Annotated[float, PER_SAMPLE] = Field(0.0, ge=0, le=1)
    """How far the guided prediction is brought back to the conditional one's standard deviation, against the glare of
    strong guidance (Lin et al. 2024, sec. 3.4; 0.7 is usual there).
    """
    spacing: Spacing | None = None
    """Where the steps lie: evenly in log-SNR, by Karras et al. (2022, eq. 5, ρ = 7), or evenly in timesteps down from
    the last ("trailing", Lin et al. 2024, table 2). None is "log_snr" for DPM-Solver++ on a `NoiseSchedule`, which with
    few steps leaves fine detail as wide as it is, and "trailing" for all else.
    """
    eta: float = Field(0.0, ge=0, le=1)
    """Of DDIM: the share of noise that each step adds anew (Song et al. 2021, eq. 16). It belongs to the sample and the
    step, whatever the batch.
    """

    @model_validator(mode="after")
    def _eta_is_of_ddim(self) -> "Sampler":
        if self.eta and self.scheduler != "ddim":
            raise ValueError(f"eta: expected 0 with {self.scheduler!r}, as only 'ddim' takes it, got {self.eta}")
        return self

    def spacing_on(self, flow: bool) -> Spacing:
        """What counts on a flow, or on a diffusion."""
        if self.spacing is not None:
            return self.spacing
        return "log_snr" if self.scheduler == "dpmsolver++" and not flow else "trailing"

    def replaced(self, said: Mapping[str, object]) -> "Sampler":
        """The same but for what is said; spacing and eta are of this one's scheduler alone."""
        kept = self.model_dump()
        if said.get("scheduler", self.scheduler) != self.scheduler:
            del kept["spacing"], kept["eta"]
        return Sampler.model_validate(kept | dict(said))
