"""Declaration of the stage that compares images."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.declaration import NOT_IN_KEY
from rayograph.config.job.features import AnyFeatures, Features, PooledPixels
from rayograph.config.stage_base import ArtifactRef, ArtifactType, StageBase


class Evaluate(StageBase):
    """Compares samples and reconstructions with held-out images; commits report.json and report.html.

    Any two artifacts of images will do, packed or generated: with `autoencoder` and `model` None, what these two are
    needed for is left out. Without held-out images, samples are compared with all of the others.
    """

    inputs: ClassVar[dict[str, ArtifactType]] = {
        "images": ArtifactType.IMAGES,
        "autoencoder": ArtifactType.AUTOENCODER,
        "model": ArtifactType.DIFFUSION_MODEL,
        "samples": ArtifactType.IMAGES,
    }
    output: ClassVar[ArtifactType] = ArtifactType.REPORT
    implemented_by: ClassVar[str | type] = "rayograph.stages.evaluate:EvaluateStage"

    kind: Literal["evaluate"] = "evaluate"
    images: ArtifactRef = "pack"
    autoencoder: ArtifactRef | None = "train_autoencoder"
    """What reconstructs held-out images; None leaves reconstructions out."""
    model: ArtifactRef | None = "train_diffusion"
    """What drew the samples, to draw some again step by step; None leaves that out."""
    samples: ArtifactRef = "sample"
    features: AnyFeatures | None = None
    """Where distances are taken. None is grey pixels averaged down to `feature_size` × `feature_size`."""
    feature_size: PositiveInt = 8
    image_size: PositiveInt | None = None
    """Side of the middle square that is looked at; None is the autoencoder's, else the images', else the first
    sample's."""
    neighbours: PositiveInt = 3
    compared_images: PositiveInt = 10_000
    """Of each set so many, drawn by the seed, are compared one by one: for precision and recall, nearest images and the
    classifier. Means, covariances and reconstructions are of all."""
    asked_key: str | None = Field(None, min_length=1)
    """Field of a sample's json that names the real image asked for by its key, as `Request.keep` carries it along: how
    often is that one the nearest to the sample among all real images, how often within the nearest five? They are found
    among those compared."""
    bad_sample_limit: Annotated[int, NOT_IN_KEY] = Field(0, ge=0)
    """Images that cannot be decoded are left out and named in the manifest; one more than this fails the stage."""

    @model_validator(mode="after")
    def _one_feature_space(self) -> "Evaluate":
        if self.features is not None and self.feature_size != type(self).model_fields["feature_size"].default:
            raise ValueError(f"feature_size: expected none beside features, got {self.feature_size}")
        return self

    @property
    def extractor(self) -> Features:
        """The features that are meant."""
        return PooledPixels(size=self.feature_size) if self.features is None else self.features
