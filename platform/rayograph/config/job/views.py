"""How a stream shows a packed image: which square of it, and at what size."""

from typing import Literal

from pydantic import Field, PositiveInt

from rayograph.config.declaration import Declaration


class View(Declaration):
    """A square of every image. What is random in it comes from (seed, position): it is the same on any cluster."""

    image_size: PositiveInt | None = None
    """Its side in pixels; None is the size that the images were packed at."""
    crop: Literal["center", "random"] = "center"
    smallest_crop: float = Field(1.0, ge=0.01, le=1)
    """Random squares are this much of the shorter side at least, and all of it at most."""
    flip_probability: float = Field(0.0, ge=0, le=1)

    @property
    def is_random(self) -> bool:
        """Whether it differs from one time to the next."""
        return self.crop == "random" or self.flip_probability > 0
