"""At which size a training sees its images: said by its view, or by what they were packed at."""

from rayograph.config import View
from rayograph.errors import ConfigError
from rayograph.runs.stage_context import StageContext
from rayograph.stages.stage import CheckContext, Foreseen


def foreseen_size(view: View, context: CheckContext) -> Foreseen:
    """Return what is known of the size before work starts, and the field that decides it.

    Raises ConfigError where images are known to have no size in common, and the view says none.
    """
    if view.image_size is not None:
        return Foreseen(image_size=view.image_size, decided_by=f"{context.name}.view.image_size")
    sets = context.mixture("images")
    unsized = next((known for known in sets if known.sizes_vary), None)
    if unsized is not None:
        raise ConfigError(
            f"{context.name}.view.image_size: expected a size, as {unsized.decided_by.removesuffix('.image_size')} "
            "leaves images at their own"
        )
    return Foreseen() if len({known.image_size for known in sets}) > 1 else sets[0]


def seen_size(view: View, stage: StageContext) -> int:
    """Return the size, once the images are there. Raises ConfigError where they have none in common."""
    if view.image_size is not None:
        return view.image_size
    packed: set[int | None] = {manifest.facts.get("image_size") for _, manifest, _ in stage.mixture("images")}
    size = packed.pop()
    if packed or size is None:
        raise ConfigError(f"{stage.name}.view.image_size: expected a size, as the images were not packed at one")
    return size
