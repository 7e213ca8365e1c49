"""The stages that come with the package. A stage names its inputs: others of the job, or artifacts' URIs."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, field_validator, model_validator

from rayograph.config.declaration import NOT_IN_KEY, Declaration, LearningRate, Seed, Weight
from rayograph.config.job.networks import (
    AnyAutoencoder,
    AutoencoderKind,
    Discriminator,
    Identity,
    PerceptualNetwork,
)
from rayograph.config.job.sampling import ImageFile, Marking, Request
from rayograph.config.job.schedules import Sampler
from rayograph.config.job.sources import Source
from rayograph.config.job.training import Training
from rayograph.config.job.views import View
from rayograph.config.kinds import Kinds
from rayograph.config.stage_base import ArtifactRef, ArtifactType, Chart, Mixture, StageBase


def background_colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name or #rrggbb. Raises ValueError for anything else."""
    from PIL import ImageColor

    known = name.lower()
    if known in ImageColor.colormap or re.fullmatch("#[0-9a-f]{6}", known):
        red, green, blue = ImageColor.getrgb(known)[:3]
        return red, green, blue
    raise ValueError(f"expected a colour's name or #rrggbb, got {name!r}")


class Pack(StageBase):
    """Checks and decodes a source once, and writes it as WebDataset shards, with captions, classes, boxes and masks."""

    output: ClassVar[ArtifactType] = ArtifactType.IMAGES
    implemented_by: ClassVar[str | type] = "rayograph.stages.pack:PackStage"
    version: ClassVar[int] = 2  # colours, transparency, 16 bits, damage

    kind: Literal["pack"] = "pack"
    source: Source
    image_size: PositiveInt | None = None
    """Side of the square, or the shorter side, in pixels; only `resize="none"` goes without."""
    resize: Literal["square", "shorter_side", "none"] = "square"
    """The middle square; everything; or everything at its own size, and then a plain JPEG, PNG or WebP as it is."""
    format: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = Field(95, ge=1, le=100)
    minimum_size: PositiveInt = 1
    """Images whose shorter side has fewer pixels are rejected."""
    background: str = "white"
    """What lies below transparent images: a colour's name, or #rrggbb."""
    keep_alpha: bool = False
    """Whether a sample also holds how opaque its image was, as the grey image alpha.png."""
    tolerate_damage: bool = False
    """Take JPEGs that their decoder calls corrupt as far as they go, and count them, instead of rejecting them."""
    held_out_fraction: float = Field(0.1, ge=0, lt=1)
    samples_per_shard: PositiveInt = 1024
    bad_sample_limit: Annotated[int, NOT_IN_KEY] = Field(0, ge=0)
    """Rejected images are left out and named in the manifest; one more than this fails the stage."""

    @field_validator("background")
    @classmethod
    def _background_is_a_colour(cls, value: str) -> str:
        background_colour(value)
        return value

    @model_validator(mode="after")
    def _size_fits_resize(self) -> "Pack":
        if (self.image_size is None) != (self.resize == "none"):
            wanted = "no image_size" if self.resize == "none" else "an image_size"
            raise ValueError(f"expected {wanted} with resize={self.resize!r}, got {self.image_size}")
        return self


class AutoencoderLoss(Declaration):
    """Weights of the first stage's losses (Rombach et al. 2022, app. G; Esser et al. 2021, eq. 6-7)."""

    perceptual_weight: Weight = 1.0
    kl_weight: Weight = 1e-6
    """Of a network without a codebook."""
    codebook_weight: Weight = 1.0
    """Of a network with one."""
    adversarial: Literal["hinge", "non_saturating"] = "hinge"
    discriminator_weight: Weight = 0.5
    discriminator_start_images: int = Field(0, ge=0)


class TrainAutoencoder(Training):
    """Trains the first stage; commits it as a diffusers folder."""

    inputs: ClassVar[dict[str, ArtifactType]] = {"images": ArtifactType.IMAGES, "init_from": ArtifactType.AUTOENCODER}
    output: ClassVar[ArtifactType] = ArtifactType.AUTOENCODER
    implemented_by: ClassVar[str | type] = "rayograph.stages.train_autoencoder:TrainAutoencoderStage"
    charts: ClassVar[tuple[Chart, ...]] = (
        Chart("Reconstruction", {"reconstruction": "L1 + perceptual", "perceptual": "perceptual"}, logarithmic=True),
        Chart("Adversary", {"generator": "generator", "discriminator": "discriminator"}),
    )
    version: ClassVar[int] = 2  # the averages' warm-up; colours and transparency of shards that others made

    kind: Literal["train_autoencoder"] = "train_autoencoder"
    images: Mixture = "pack"
    view: View = View()
    network: AnyAutoencoder
    discriminator: Discriminator = Discriminator()
    perceptual: PerceptualNetwork = PerceptualNetwork()
    loss: AutoencoderLoss = AutoencoderLoss()
    discriminator_learning_rate: LearningRate | None = None
    """None is the autoencoder's own."""

    @field_validator("network")
    @classmethod
    def _network_has_weights(cls, value: AutoencoderKind) -> AutoencoderKind:
        if isinstance(value, Identity):
            raise ValueError("expected an autoencoder with weights, got identity: pixels need no first stage")
        return value

    @model_validator(mode="after")
    def _perceptual_network_sees_the_images(self) -> "TrainAutoencoder":
        channels = self.network.image_channels
        if self.perceptual.pretrained is not None and channels != 3:
            raise ValueError(f"perceptual.pretrained: expected images of 3 channels beside it, got {channels}")
        return self

    @model_validator(mode="after")
    def _discriminator_rate_falls_too(self) -> "TrainAutoencoder":
        rate, lowest = self.discriminator_learning_rate, self.learning_rate_minimum
        if rate is not None and rate < lowest:
            raise ValueError(
                f"discriminator_learning_rate: expected at least learning_rate_minimum {lowest:g}, got {rate:g}"
            )
        return self


class Encode(StageBase):
    """Encodes packed images: one shard in, one shard of moments out, under the same keys."""

    inputs: ClassVar[dict[str, ArtifactType]] = {"images": ArtifactType.IMAGES, "autoencoder": ArtifactType.AUTOENCODER}
    output: ClassVar[ArtifactType] = ArtifactType.LATENTS
    implemented_by: ClassVar[str | type] = "rayograph.stages.encode:EncodeStage"
    version: ClassVar[int] = 2  # as of TrainAutoencoder

    kind: Literal["encode"] = "encode"
    images: ArtifactRef = "pack"
    autoencoder: ArtifactRef = "train_autoencoder"
    image_size: PositiveInt | None = None
    """Side of the middle square that is encoded; None is the size that the autoencoder was trained at."""
    batch_size: PositiveInt = 128
    bad_sample_limit: Annotated[int, NOT_IN_KEY] = Field(0, ge=0)
    """Images that cannot be decoded are left out and named in the manifest; one more than this fails the stage."""


class Sample(StageBase):
    """Draws images: as many as `num_samples` says, or what the rows of `request` ask for.

    Sample i depends on (seed, i) alone, or on its row's own seed and its number within the row: neither on batches nor
    on replicas nor on what was drawn before. Without rows its class is i mod `num_classes`.
    """

    inputs: ClassVar[dict[str, ArtifactType]] = {"model": ArtifactType.DIFFUSION_MODEL}
    output: ClassVar[ArtifactType] = ArtifactType.IMAGES
    implemented_by: ClassVar[str | type] = "rayograph.stages.sample:SampleStage"

    kind: Literal["sample"] = "sample"
    model: ArtifactRef = "train_diffusion"
    num_samples: Annotated[int, Field(gt=0, le=10**10)] | None = None
    request: Request | None = None
    sampler: Sampler = Sampler()
    """Of rows that do not say otherwise."""
    unit_size: PositiveInt = 128
    """Samples in one unit of work, which is one output shard."""
    image: ImageFile = ImageFile()
    marking: Marking = Marking()
    priority: Annotated[int, NOT_IN_KEY] = Field(1, ge=1, le=100)
    """Among jobs that draw on one cluster at the same time: one of priority 3 gets three times the replicas."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Sample":
        if (self.num_samples is None) == (self.request is None):
            got = "neither" if self.request is None else "both"
            raise ValueError(f"num_samples: expected either this or request, got {got}")
        return self


STAGES = Kinds(
    "stages",
    {
        "pack": "rayograph.config.job.stages:Pack",
        "train_autoencoder": "rayograph.config.job.stages:TrainAutoencoder",
        "import_model": "rayograph.config.job.foreign:ImportModel",
        "export_model": "rayograph.config.job.training:ExportModel",
        "encode": "rayograph.config.job.stages:Encode",
        "train_diffusion": "rayograph.config.job.train_diffusion:TrainDiffusion",
        "sample": "rayograph.config.job.stages:Sample",
        "evaluate": "rayograph.config.job.evaluation:Evaluate",
        "filter_images": "rayograph.config.job.filtering:FilterImages",
    },
)


class Job(Declaration):
    """Stages by name, each after the ones it reads from. What, never where: that is the scale profile's."""

    name: str
    seed: Seed = 0
    stages: dict[str, Annotated[SerializeAsAny[StageBase], STAGES]]

    @model_validator(mode="after")
    def _names_and_inputs_hold(self) -> "Job":
        earlier: dict[str, StageBase] = {}
        for label in (self.name, *self.stages):
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", label):
                raise ValueError(f"name {label!r}: expected lower-case letters, digits, '-' and '_'")
        for name, stage in self.stages.items():
            for field, wanted, ref in stage.references():
                if "/" in ref:
                    continue
                if ref not in earlier:
                    known = ", ".join(earlier) or "none"
                    raise ValueError(
                        f"{name}.{field}: expected an earlier stage ({known}) or an artifact's URI, got {ref!r}"
                    )
                if earlier[ref].output != wanted:
                    raise ValueError(
                        f"{name}.{field}: expected a stage that makes {wanted}, got {ref!r}, which makes "
                        f"{earlier[ref].output}"
                    )
            earlier[name] = stage
        return self

    def seed_of(self, name: str) -> int:
        """Return the seed that a stage draws from: its own, or the job's."""
        own = self.stages[name].seed
        return self.seed if own is None else own
