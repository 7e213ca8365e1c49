"""The declaration of `filter_images`: which images of a data set stay."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from rayograph.config.declaration import NOT_IN_KEY, Declaration
from rayograph.config.stage_base import ArtifactRef, ArtifactType, StageBase


class Score(Declaration):
    """A number in a sample's JSON member, and the range in which the sample stays. One without that number goes."""

    field: str = Field(min_length=1)
    """Its name; of objects within objects dotted, as `scores.aesthetic`."""
    minimum: float | None = Field(None, ge=-1e12, le=1e12)
    maximum: float | None = Field(None, ge=-1e12, le=1e12)

    @model_validator(mode="after")
    def _bounds_something(self) -> "Score":
        if self.minimum is None and self.maximum is None:
            raise ValueError("minimum: expected this or maximum, got neither")
        return self


class FilterImages(StageBase):
    """Leaves out images by size, aspect, caption, class, key or score. Nothing is copied: shards stay where they are.

    All that is said must hold for an image to stay, in the training split and among those held out alike.
    """

    inputs: ClassVar[dict[str, ArtifactType]] = {"images": ArtifactType.IMAGES}
    output: ClassVar[ArtifactType] = ArtifactType.IMAGES
    implemented_by: ClassVar[str | type] = "rayograph.stages.filter_images:FilterImagesStage"

    kind: Literal["filter_images"] = "filter_images"
    images: ArtifactRef = "pack"
    minimum_size: PositiveInt | None = None
    """Pixels that the shorter side has at least."""
    maximum_size: PositiveInt | None = None
    """Pixels that the longer side has at most."""
    minimum_aspect: float | None = Field(None, ge=1e-6, le=1e6)
    """Width over height, at least: 1 leaves out upright images."""
    maximum_aspect: float | None = Field(None, ge=1e-6, le=1e6)
    """Width over height, at most."""
    minimum_caption_length: PositiveInt | None = None
    """Characters. An image without a caption has one of none."""
    maximum_caption_length: int | None = Field(None, ge=0)
    classes: tuple[int | str, ...] | None = Field(None, min_length=1)
    """By number, or by name: images of others go, and those without one."""
    classes_left_out: tuple[int | str, ...] = ()
    keys_left_out_uri: Annotated[str | None, NOT_IN_KEY] = None
    """A text file of sample keys, one a line. What it holds decides, wherever it lies."""
    score: Score | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "FilterImages":
        said = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if not said - {"kind", "images", "seed"}:
            raise ValueError("expected a reason to leave images out, as minimum_size, got none")
        for low, high in (("size", "size"), ("aspect", "aspect"), ("caption_length", "caption_length")):
            least, most = getattr(self, f"minimum_{low}"), getattr(self, f"maximum_{high}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"minimum_{low}: expected at most maximum_{high} {most}, got {least}")
        return self

    @property
    def looks_at_pixels(self) -> bool:
        """Whether an image's width and height decide."""
        sides = (self.minimum_size, self.maximum_size, self.minimum_aspect, self.maximum_aspect)
        return any(side is not None for side in sides)

    @property
    def members(self) -> set[str]:
        """What else of a sample decides, by extension."""
        captions = self.minimum_caption_length is not None or self.maximum_caption_length is not None
        wanted = {"txt": captions, "cls": self.classes is not None or bool(self.classes_left_out), "json": self.score}
        return {extension for extension, decides in wanted.items() if decides}
