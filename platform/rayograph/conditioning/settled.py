"""What only the data can tell of a training: what its denoiser is conditioned on, and whether that is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.trained import conditioner_of
from rayograph.config import TrainDiffusion
from rayograph.config.job.conditioners import ClassLabel
from rayograph.errors import ConfigError


def settled(
    where: str, declared: TrainDiffusion, facts: Sequence[Mapping[str, Any]]
) -> tuple[TrainDiffusion, Conditioner]:
    """Return a training with its conditions filled in by the facts of its data sets, and its conditioner.

    Raises ConfigError where the declaration does not fit the data, or data sets that are mixed do not fit each other.
    """
    field = "network" if declared.conditioner is None else "conditioner"
    try:
        found, *others = [conditioner_of(declared.conditioning, data) for data in facts]
    except ConfigError as error:
        raise ConfigError(f"{where}.{field}.{error}") from error
    for other in others:
        for name, value in found.facts.items():
            if other.facts.get(name) != value:
                raise ConfigError(f"{where}.moments: expected data sets with one {name}, got {value} and others")
    if declared.conditioner is not None:
        said = {"drop_probability": declared.conditioner.drop_probability}
        return declared.model_copy(update={"conditioner": found.declared.model_copy(update=said)}), found
    if declared.conditioning == found.declared or not isinstance(declared.conditioning, ClassLabel):
        return declared, found
    network = declared.network.model_copy(update={"num_classes": getattr(found.declared, "num_classes", 0)})
    return declared.model_copy(update={"network": network}), found
