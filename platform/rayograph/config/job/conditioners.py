"""Declarations of conditioners: what a denoiser is told of a sample."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from rayograph.config.kinds import Kind, Kinds


def _as_classes(given: object) -> object:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and given >= 0):
        return given
    raise ValueError(f"expected a number from 0 on, or 'auto', got {given!r}")


Classes = Annotated[int | Literal["auto"], BeforeValidator(_as_classes)]


@dataclass(frozen=True)
class Ways:
    """The ways in by which a conditioner tells a denoiser of a sample (Rombach et al. 2022, sec. 3.3)."""

    vector: bool = False
    """Whether one is added to the time embedding."""
    cross_attention: bool = False
    """Whether there are tokens to attend to."""
    concat: int = 0
    """Channels beside the noisy latents'."""


class ConditionerKind(Kind):
    """What the conditioners' declarations have in common."""

    studied_by: ClassVar[str] = ""
    """The "module:name" of what reads a training's samples before it starts, and returns facts that the condition is
    settled by: `(declared, shards of each data set, access)`. Empty where manifests say enough."""

    digested_by: ClassVar[str] = ""
    """The "module:name" of what digests files that it names outside the job, `(declared, access)`, for keys."""

    drop_probability: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How often a training says nothing instead; None takes its `condition_drop_probability`."""

    @property
    def needs_data(self) -> bool:
        """Whether only the data can tell what is meant."""
        return False

    @property
    def needs_images(self) -> bool:
        """Whether it looks at the image itself, which latents do not have."""
        return False

    @property
    def studied(self) -> tuple["ConditionerKind", ...]:
        """Those of its conditions that have to be settled by the samples themselves."""
        return (self,) if self.studied_by else ()

    def drop_probabilities(self, default: float) -> tuple[float, ...]:
        """Return one for each condition; `default` is the training's."""
        return (default if self.drop_probability is None else self.drop_probability,)


class Unconditional(ConditionerKind):
    """The denoiser is told nothing."""

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.unconditional:UnconditionalConditioner"
    kind: Literal["unconditional"] = "unconditional"


class ClassLabel(ConditionerKind):
    """One learned vector a class, and one more for none."""

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.class_label:class_label_conditioner"
    kind: Literal["class_label"] = "class_label"
    num_classes: Classes = "auto"
    """Of the data; "auto" is as many as it has, known once it is packed."""
    way: Literal["vector", "cross_attention"] = "vector"
    """Whether the vector is added to the time embedding (Dhariwal & Nichol 2021, sec. 3), or is the one token that the
    denoiser attends to (Rombach et al. 2022, app. E.1)."""

    @property
    def needs_data(self) -> bool:
        return self.num_classes == "auto"


CONDITIONERS = Kinds(
    "conditioners",
    {
        "unconditional": "rayograph.config.job.conditioners:Unconditional",
        "class_label": "rayograph.config.job.conditioners:ClassLabel",
        "several": "rayograph.config.job.conditions.several:Several",
        "semantic_map": "rayograph.config.job.conditions.spatial:SemanticMap",
        "low_resolution": "rayograph.config.job.conditions.spatial:LowResolution",
        "masked_image": "rayograph.config.job.conditions.spatial:MaskedImage",
        "image_embedding": "rayograph.config.job.conditions.embedding:ImageEmbedding",
        "layout": "rayograph.config.job.conditions.layout:Layout",
        "text": "rayograph.config.job.conditions.text:Text",
        "frozen_text": "rayograph.config.job.conditions.text:FrozenText",
    },
)

if TYPE_CHECKING:
    AnyConditioner = ConditionerKind
else:
    AnyConditioner = CONDITIONERS.annotation(ConditionerKind)
