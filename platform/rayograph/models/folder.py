"""diffusers folders inside artifacts: weights as safetensors, never as pickles."""

import json
import tempfile
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, ConfigMixin, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel, VQModel

from rayograph.errors import CheckpointError
from rayograph.models.autoencoder import FirstStage
from rayograph.models.schedule import TrainingSchedule
from rayograph.runs.artifact import Artifact

AUTOENCODER, DENOISER, SCHEDULE = "model/vae", "model/unet", "model/scheduler"
"""diffusers' own names for the parts of a pipeline."""

_CONFIGS = ("config.json", "scheduler_config.json")


def save_model(artifact: Artifact, name: str, model: Any) -> None:
    """Write what `from_pretrained` opens below the artifact's folder `name`: the same bytes for the same model."""
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        options = {"safe_serialization": True} if hasattr(model, "parameters") else {}
        model.save_pretrained(folder, **options)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                data = file.read_bytes()
                if file.name in _CONFIGS:
                    data = _without_place(data)
                artifact.write(f"{name}/{file.relative_to(folder).as_posix()}", data)


def load_autoencoder(artifact: Artifact) -> FirstStage:
    """Load the first stage of a committed artifact, ready for use."""
    return _load(artifact, AUTOENCODER, AutoencoderKL, VQModel).eval()


def load_denoiser(artifact: Artifact) -> UNet2DModel:
    """Load the denoiser, with its EMA weights, of a committed artifact."""
    return _load(artifact, DENOISER, UNet2DModel).eval()


def load_schedule(artifact: Artifact) -> TrainingSchedule:
    """Load the noise schedule of a committed artifact."""
    return _load(artifact, SCHEDULE, DDPMScheduler, FlowMatchEulerDiscreteScheduler)


def _without_place(config: bytes) -> bytes:
    """Without the folder that a model was loaded from, which diffusers notes in it."""
    fields = json.loads(config)
    fields.pop("_name_or_path", None)
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def _load(artifact: Artifact, name: str, *kinds: Any) -> Any:
    """The model whose class, one of `kinds`, the folder's configuration names.

    Raises DataError naming a file that is not the committed one, CheckpointError for a folder that diffusers refuses.
    """
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        names = artifact.copy(artifact.committed(), name, Path(folder))
        if not names:
            expected = kinds[0].__name__
            raise CheckpointError(f"{artifact.uri}/{name}: expected a {expected} in diffusers' layout, found nothing")
        kind = next((kind for kind in kinds if _names(folder, names, kind)), kinds[0])
        options = {} if name == SCHEDULE else {"use_safetensors": True, "low_cpu_mem_usage": False}
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # whatever a torn folder does to diffusers, the answer is one line
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{artifact.uri}/{name}: expected a whole {kind.__name__}: {reason}") from error


def _names(folder: str, names: list[str], kind: type[ConfigMixin]) -> bool:
    """Whether a configuration in the folder names this class."""
    configs = [Path(folder) / name for name in names if name in _CONFIGS]
    return any(f'"{kind.__name__}"'.encode() in config.read_bytes() for config in configs)
