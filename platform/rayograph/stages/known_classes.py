"""What only the data can tell of a training: how many classes it has."""

from collections.abc import Sequence

from rayograph.config import TrainDiffusion
from rayograph.errors import ConfigError


def with_known_classes(where: str, declared: TrainDiffusion, class_names: Sequence[str]) -> TrainDiffusion:
    """Return the declaration with "auto" replaced. Raises ConfigError where it says another number than the data."""
    found, said = len(class_names), declared.network.num_classes
    if said == "auto":
        network = declared.network.model_copy(update={"num_classes": found})
        return declared.model_copy(update={"network": network})
    if said not in (0, found):
        expected = f"{found}, the data's classes, or 0" if found else "0, as the data has no classes"
        raise ConfigError(f"{where}.network.num_classes: expected {expected}, got {said}")
    return declared
