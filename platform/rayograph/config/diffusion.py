"""Declarations of diffusion: how noise comes, what is learned of it and how it goes, in diffusers' own words."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from rayograph.config.base import Declaration


class NoiseSchedule(Declaration):
    """How noise is added in training (Ho et al. 2020, sec. 2), the same for every sampler afterwards.

    `prediction_type` is what the denoiser gives: the noise, the latents or the velocity.
    """

    kind: Literal["diffusion"] = "diffusion"
    num_train_timesteps: PositiveInt = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: float = Field(0.0015, gt=0, lt=1)
    beta_end: float = Field(0.0195, gt=0, lt=1)
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    zero_terminal_snr: bool = False
    """Whether the last timestep is noise alone, so that brightness can be learned too (Lin et al. 2024, alg. 1)."""

    @model_validator(mode="after")
    def _pure_noise_tells_no_noise(self) -> "NoiseSchedule":
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
    num_train_timesteps: PositiveInt = 1000
    shift: float = Field(1.0, gt=0)


def _kind_of(given: Any) -> str:
    """Diffusion, unless it says otherwise."""
    kind = given.get("kind", "diffusion") if isinstance(given, dict) else given.kind
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
    logit_mean: float = 0.0
    logit_std: float = Field(1.0, gt=0)
    min_snr_gamma: float | None = Field(None, gt=0)


Spacing = Literal["log_snr", "karras", "trailing"]


class Sampler(Declaration):
    """How the denoiser is walked from noise to latents, in `num_inference_steps` calls of it.

    DDIM (Song et al. 2021) is Euler's method in the noise level, along a flow too; "euler_ancestral" is what it becomes
    with all the noise that it may add, η = 1 (Karras et al. 2022, app. C.5). DPM-Solver++(2M) (Lu et al. 2022) is of
    second order.
    """

    version: ClassVar[int] = 2  # spacing

    scheduler: Literal["ddim", "dpmsolver++", "euler_ancestral"] = "dpmsolver++"
    num_inference_steps: PositiveInt = 20
    """At most the model's `num_train_timesteps`."""
    guidance_scale: float = Field(1.5, ge=0)
    """1 is no guidance (Ho & Salimans 2022)."""
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

    def of(self, scheduler: str) -> "Sampler":
        """The same with another scheduler; spacing and eta are the first one's alone."""
        if scheduler == self.scheduler:
            return self
        steps, guidance = self.num_inference_steps, self.guidance_scale
        return Sampler.model_validate(
            {"scheduler": scheduler, "num_inference_steps": steps, "guidance_scale": guidance}
        )
