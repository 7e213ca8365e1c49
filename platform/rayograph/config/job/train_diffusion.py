"""The declaration of the stage `train_diffusion`: the second stage's training (Rombach et al. 2022, sec. 3.2)."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rayograph.config.job.conditioners import AnyConditioner, ClassLabel, ConditionerKind, Unconditional
from rayograph.config.job.denoisers import AnyDenoiser
from rayograph.config.job.schedules import DiffusionLoss, FlowSchedule, NoiseSchedule, Schedule
from rayograph.config.job.training import Training
from rayograph.config.job.views import View
from rayograph.config.stage_base import ArtifactRef, ArtifactType, Chart, Mixture


class TrainDiffusion(Training):
    """Trains the second stage on moments; on `images`, encoded as they are learned; or on `images` without an
    autoencoder, as they are: diffusion in pixel space (the paper's LDM-1).

    Commits EMA weights, scheduler and first stage as one folder.
    """

    inputs: ClassVar[dict[str, ArtifactType]] = {
        "images": ArtifactType.IMAGES,
        "moments": ArtifactType.LATENTS,
        "autoencoder": ArtifactType.AUTOENCODER,
        "init_from": ArtifactType.DIFFUSION_MODEL,
    }
    output: ClassVar[ArtifactType] = ArtifactType.DIFFUSION_MODEL
    implemented_by: ClassVar[str | type] = "rayograph.stages.train_diffusion:TrainDiffusionStage"
    charts: ClassVar[tuple[Chart, ...]] = (Chart("Denoising", {"loss": "mean squared error"}, logarithmic=True),)
    version: ClassVar[int] = 2  # the averages' warm-up

    kind: Literal["train_diffusion"] = "train_diffusion"
    images: Mixture | None = None
    """What is learned in the place of moments: through `autoencoder`, which encodes them as they are seen, or without
    one in pixel space, where latents are images in [-1, 1]."""
    view: View = View()
    """Which square of each of `images`, turned round how often; maps, masks and boxes go with it."""
    moments: Mixture | None = "encode"
    """Latents that were encoded before. Beside `images` and an autoencoder only their scale counts; with none there it
    is measured over the first 1,024 images, as the training sees them, before it starts."""
    autoencoder: ArtifactRef | None = "train_autoencoder"
    """The first stage; none beside `images` is pixel space."""
    network: AnyDenoiser
    conditioner: AnyConditioner | None = None
    """What the denoiser is told of a sample; None is the class, where `network.num_classes` says of how many."""
    noise_schedule: Schedule = NoiseSchedule()
    loss: DiffusionLoss = DiffusionLoss()
    condition_drop_probability: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _conditions_are_said_once(self) -> "TrainDiffusion":
        if self.conditioner is not None and self.network.num_classes:
            raise ValueError(
                f"conditioner: expected none beside network.num_classes, got {self.conditioner.kind!r} and "
                f"{self.network.num_classes!r}"
            )
        return self

    @property
    def conditioning(self) -> ConditionerKind:
        """What the denoiser is told of a sample, by whichever field says it."""
        if self.conditioner is not None:
            return self.conditioner
        classes = self.network.num_classes
        return ClassLabel(num_classes=classes) if classes else Unconditional()

    @model_validator(mode="before")
    @classmethod
    def _pixels_need_no_first_stage(cls, given: object) -> object:
        """With `images`, what is not said of the other two is none."""
        if isinstance(given, dict) and given.get("images") is not None:
            return {"moments": None, "autoencoder": None, **given}
        return given

    @model_validator(mode="after")
    def _one_space(self) -> "TrainDiffusion":
        if self.images is not None and self.autoencoder is None and self.moments is not None:
            raise ValueError(f"moments: expected none beside images without an autoencoder, got {self.moments!r}")
        for name in ("moments", "autoencoder"):
            if self.images is None and getattr(self, name) is None:
                raise ValueError(f"{name}: expected one, or images to learn in pixel space, got none")
        if self.images is None and self.view != View():
            raise ValueError("view: expected none without images: moments are as they were encoded")
        return self

    @model_validator(mode="after")
    def _images_are_there(self) -> "TrainDiffusion":
        if self.images is None and self.conditioning.needs_images:
            raise ValueError(f"images: expected what {self.conditioning.kind!r} looks at, got moments alone")
        return self

    @model_validator(mode="after")
    def _weights_suit_the_schedule(self) -> "TrainDiffusion":
        gamma, schedule = self.loss.min_snr_gamma, self.noise_schedule
        if gamma is None:
            return self
        if isinstance(schedule, FlowSchedule):
            raise ValueError(f"loss.min_snr_gamma: expected none with a FlowSchedule, got {gamma}")
        if schedule.zero_terminal_snr:
            raise ValueError(
                f"loss.min_snr_gamma: expected none with zero_terminal_snr, got {gamma}: the last timestep, where "
                "samples begin, would count nothing"
            )
        return self
