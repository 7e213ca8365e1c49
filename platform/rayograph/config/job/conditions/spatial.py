"""Declarations of conditions that stand beside the latents, place by place (Rombach et al. 2022, sec. 4.3 to 4.5)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from rayograph.config.job.conditioners import ConditionerKind

Null = Literal["zero", "learned"]
Member = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
"""What follows the first dot of a member's name: "map.png" of `0001.map.png`."""


class SemanticMap(ConditionerKind):
    """What is to stand where: a label a pixel, one channel a label, beside the latents.

    The paper's has 182 labels, is halved twice and projected to 3 channels.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.spatial.semantic_map:SemanticMapConditioner"
    kind: Literal["semantic_map"] = "semantic_map"
    num_labels: Annotated[int, Field(gt=0, le=65_536)]
    """Labels are numbers from 0 on, of a grey image or of one with a palette."""
    member: Member = "map.png"
    """Of a sample: the map beside its image, of the image's shape and of any size; it is cropped and turned with it."""
    void_label: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """A further number that stands for no label: no channel is set there."""
    halvings: Annotated[int, Field(ge=0, le=6)] = 0
    """The map is taken at 2 to this power times the latents' side, and halved so often, bilinearly."""
    channels: PositiveInt | None = None
    """Channels that the labels are projected to, by a learned 1×1 convolution without bias; None keeps one a label."""
    null: Null = "zero"
    """Channels of samples that no map is told of: zeros, or one learned value a channel."""


class LowResolution(ConditionerKind):
    """The image itself, made smaller: a model that draws what was lost (the paper's super-resolution).

    It stands beside the latents in pixels from -1 to 1, as it is where their grids agree.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.spatial.low_resolution:LowResolutionConditioner"
    kind: Literal["low_resolution"] = "low_resolution"
    factor: Annotated[int, Field(ge=2, le=64)] = 4
    """Pixels a side of the image that become one."""
    degradation: Literal["bicubic", "blind"] = "bicubic"
    """Made smaller and nothing else; or blurred before, with noise and JPEG's traces after, as strongly as drawn."""
    most_blur: float = Field(2.0, ge=0, le=16)
    """Of "blind": the widest blur, a Gaussian's deviation in pixels of the image."""
    most_noise: float = Field(0.08, ge=0, le=1)
    """Of "blind": the strongest noise, a Gaussian's deviation over the range of brightness."""
    lowest_jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 40
    """Of "blind": the worst JPEG, of every second sample; the others have none."""
    resize: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    """How it is brought to the latents' grid where that is another than its own."""
    null: Null = "zero"
    """Channels of samples that nothing is told of: zeros, which are grey, or one learned value a channel."""

    @property
    def needs_images(self) -> bool:
        return True


class MaskedImage(ConditionerKind):
    """The image with a hole: latents of what is left of it, and the hole, beside the latents (the paper's inpainting).

    The image is encoded by the model's own first stage, with grey in the hole.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.spatial.masked_image:MaskedImageConditioner"
    kind: Literal["masked_image"] = "masked_image"
    masks: Literal["boxes", "strokes", "mixed"] = "mixed"
    """Random holes of a training, drawn anew each time: boxes, strokes of a thick brush, or either."""
    member: Member | None = None
    """Of a sample: a mask of its own, in the place of random ones; what is not 0 is the hole."""
    composite: bool = True
    """Whether generated images have the given pixels outside of the hole; their records say so."""
    null: Null = "zero"
    """Channels of samples that nothing is told of: zeros, or one learned value a channel."""

    @property
    def needs_images(self) -> bool:
        return True
