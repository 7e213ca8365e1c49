"""At which size a training will see its images: said by its view, or by what they are packed at."""

from rayograph.config import View
from rayograph.errors import ConfigError
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
