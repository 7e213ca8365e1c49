"""What is known of an artifact before it is made: enough to refuse early what would not fit it."""

from dataclasses import dataclass, replace

from rayograph.runs.manifest import Manifest
from rayograph.sampling.requests.model_spec import ModelSpec


@dataclass(frozen=True)
class Foreseen:
    """None stands for what only the data, or the making, can tell."""

    image_size: int | None = None
    """Side of its images in pixels, or of those that its model was trained at."""
    decided_by: str = ""
    """What says so: a field, as `pack.image_size`, or an artifact."""
    sizes_vary: bool = False
    """Whether its images are known to have no size in common."""
    held_out: bool | None = None
    """Whether it has images that are kept to judge by."""
    class_names: tuple[str, ...] | None = None
    downsampling_factor: int | None = None
    latent_channels: int | None = None
    model: ModelSpec | None = None

    def settled(self, manifest: Manifest) -> "Foreseen":
        """The same, once committed: what the manifest's facts say stands."""
        facts = manifest.facts
        names = facts.get("class_names")
        return replace(
            self,
            image_size=facts.get("image_size", self.image_size),
            class_names=self.class_names if names is None else tuple(names),
            downsampling_factor=facts.get("downsampling_factor", self.downsampling_factor),
        )
