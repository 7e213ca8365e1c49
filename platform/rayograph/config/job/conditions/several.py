"""The declaration of several conditions at once."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rayograph.config.job.conditioners import AnyConditioner, ConditionerKind


class Several(ConditionerKind):
    """Conditions side by side: vectors add up, tokens to attend to and channels beside the latents follow one another.

    Each has a null of its own and is dropped by draws of its own.
    """

    implemented_by: ClassVar[str | type] = "rayograph.conditioning.several:several_conditioner"
    kind: Literal["several"] = "several"
    conditions: Annotated[tuple[AnyConditioner, ...], Field(min_length=1)]
    """In this order; what they read of a request must have names that differ."""

    @model_validator(mode="after")
    def _is_flat(self) -> "Several":
        for number, part in enumerate(self.conditions):
            if isinstance(part, Several):
                raise ValueError(f"conditions.{number}: expected one condition, got several again")
        if self.drop_probability is not None:
            raise ValueError("drop_probability: expected it of each of `conditions`, got one for all")
        return self

    @property
    def needs_data(self) -> bool:
        return any(part.needs_data for part in self.conditions)

    @property
    def needs_images(self) -> bool:
        return any(part.needs_images for part in self.conditions)

    @property
    def studied(self) -> tuple[ConditionerKind, ...]:
        return tuple(one for part in self.conditions for one in part.studied)

    def drop_probabilities(self, default: float) -> tuple[float, ...]:
        return tuple(share for part in self.conditions for share in part.drop_probabilities(default))
