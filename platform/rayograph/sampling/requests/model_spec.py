"""What a trained model can be asked for: known from its configuration, without its weights. Quick to import."""

import json
from dataclasses import dataclass
from typing import Any

from rayograph.conditioning.protocol import Conditioner
from rayograph.errors import CheckpointError, MissingObjectError
from rayograph.models.specs import autoencoder_spec, denoiser_spec
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest


@dataclass(frozen=True)
class ModelSpec:
    """`side` is the size it was trained at, pixels; sides are multiples of `multiple`: f times the grid's halvings."""

    conditioner: Conditioner
    side: int
    multiple: int
    num_train_timesteps: int
    flow: bool = False
    """Whether its schedule is a flow's."""

    @staticmethod
    def of(model: Artifact, manifest: Manifest) -> "ModelSpec":
        """Of a committed model. Raises CheckpointError for a folder that is not whole."""
        from rayograph.conditioning.trained import conditioner_of, declared_conditioner  # not before: it brings torch

        unet, vae = _config(model, "unet/config.json"), _config(model, "vae/config.json")
        denoiser = denoiser_spec(unet)
        factor = autoencoder_spec(vae).factor
        schedule = _config(model, "scheduler/scheduler_config.json")
        return ModelSpec(
            conditioner=conditioner_of(declared_conditioner(model), manifest.facts),
            side=denoiser.size * factor,
            multiple=factor * denoiser.size_multiple,
            num_train_timesteps=schedule["num_train_timesteps"],
            flow="Flow" in schedule.get("_class_name", ""),
        )

    @property
    def is_conditional(self) -> bool:
        """Whether there is anything to be guided by."""
        return bool(self.conditioner.request_columns)


def _config(model: Artifact, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(model.read(f"model/{name}"))
    except (MissingObjectError, ValueError) as error:
        raise CheckpointError(f"{model.uri}/model/{name}: expected a model's configuration: {error}") from error
    return found
