"""A conditioner and its network together, and their folder: config.json says the kind, weights are safetensors."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Conditioner
from rayograph.config.job.conditioners import AnyConditioner, ClassLabel, ConditionerKind, Unconditional
from rayograph.config.kinds import implementation
from rayograph.errors import CheckpointError, MissingObjectError
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.layout import CONDITIONER, CONFIG, DENOISER
from rayograph.runs.artifact import Artifact

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrainedConditioner:
    """What a model folder holds beside its denoiser."""

    conditioner: Conditioner
    network: ConditionerNetwork

    def save_pretrained(self, folder: str) -> None:
        """Write declaration and weights, as `save_model` has every part of a model do."""
        config = self.conditioner.declared.model_dump(mode="json")
        if config["drop_probability"] is None:  # so that models of before it was said stay the same bytes
            del config["drop_probability"]
        (Path(folder) / CONFIG).write_text(json.dumps(config))
        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        if state:
            save_file(state, Path(folder) / WEIGHTS)
        self.network.save_parts(Path(folder))


def conditioner_of(declared: ConditionerKind, facts: Mapping[str, Any] | None) -> Conditioner:
    """What a declaration means for data of these facts; None where they are not known yet.

    Raises ConfigError where the declaration and the data do not go together.
    """
    made: Conditioner = implementation(declared)(declared, facts)
    return made


def conditioned(denoiser: DenoiserNetwork, conditioner: Conditioner) -> TrainedConditioner:
    """A conditioner's network for a denoiser; a class embedding that is within the denoiser moves over to it."""
    network = conditioner.network(denoiser.spec)
    within = denoiser.take_class_embedding()
    if within is not None:
        network.load_state_dict({f"embedding.{name}": value for name, value in within.items()})
    return TrainedConditioner(conditioner, network)


def declared_conditioner(artifact: Artifact) -> ConditionerKind:
    """Read, without its weights, what a model is conditioned by; of older models the U-Net's configuration says it.

    Raises CheckpointError for a folder that is not whole.
    """
    name = f"{CONDITIONER}/{CONFIG}"
    try:
        if not artifact.store.exists(artifact.key(name)):
            name = f"{DENOISER}/{CONFIG}"
            rows = json.loads(artifact.read(name)).get("num_class_embeds")
            return ClassLabel(num_classes=rows - 1) if rows else Unconditional()
        adapter = TypeAdapter[ConditionerKind](AnyConditioner)
        return adapter.validate_python(json.loads(artifact.read(name)))
    except (MissingObjectError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{artifact.uri}/{name}: expected a model's configuration: {reason}") from error


def load_conditioner(artifact: Artifact, denoiser: DenoiserNetwork) -> TrainedConditioner:
    """Load what a committed artifact's denoiser is conditioned by, ready for use.

    Models that were made before conditioners had a folder have their class embedding within the denoiser: it is taken
    out. Raises DataError for a file that is not the committed one, CheckpointError for a folder that is not whole.
    """
    manifest = artifact.committed()
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        names = artifact.copy(manifest, CONDITIONER, Path(folder))
        found = conditioned(denoiser, conditioner_of(declared_conditioner(artifact), manifest.facts))
        if names:
            try:
                found.network.load_state_dict(load_file(Path(folder) / WEIGHTS) if WEIGHTS in names else {})
            except (SafetensorError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise CheckpointError(f"{artifact.uri}/{CONDITIONER}: expected whole weights: {reason}") from error
            found.network.load_parts(Path(folder))
    found.network.eval()
    return found
