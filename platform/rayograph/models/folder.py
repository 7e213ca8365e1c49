"""diffusers folders inside artifacts: weights as safetensors, never as pickles."""

import tempfile
from pathlib import Path
from typing import Any, TypeVar

from diffusers import AutoencoderKL, ConfigMixin, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel, VQModel

from rayograph.errors import CheckpointError
from rayograph.models.autoencoder import FirstStage
from rayograph.models.schedule import TrainingSchedule
from rayograph.runs.artifact import Artifact

M = TypeVar("M", bound=ConfigMixin)

AUTOENCODER, DENOISER, SCHEDULE = "model/vae", "model/unet", "model/scheduler"
"""diffusers' own names for the parts of a pipeline."""


def save_model(artifact: Artifact, name: str, model: Any) -> None:
    """Writes what `from_pretrained` opens below the artifact's folder `name`."""
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        options = {"safe_serialization": True} if hasattr(model, "parameters") else {}
        model.save_pretrained(folder, **options)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                artifact.write(f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def load_autoencoder(artifact: Artifact) -> FirstStage:
    """The first stage of a committed artifact, ready for use."""
    quantised = _is(artifact, f"{AUTOENCODER}/config.json", VQModel)
    return _load(artifact, AUTOENCODER, VQModel if quantised else AutoencoderKL).eval()


def load_denoiser(artifact: Artifact) -> UNet2DModel:
    """The denoiser, with its EMA weights, of a committed artifact."""
    return _load(artifact, DENOISER, UNet2DModel).eval()


def load_schedule(artifact: Artifact) -> TrainingSchedule:
    """The noise schedule of a committed artifact."""
    flow = FlowMatchEulerDiscreteScheduler
    return _load(
        artifact, SCHEDULE, flow if _is(artifact, f"{SCHEDULE}/scheduler_config.json", flow) else DDPMScheduler
    )


def _is(artifact: Artifact, config: str, kind: type[ConfigMixin]) -> bool:
    """Whether a configuration, if there is one, names this class."""
    return config in artifact.names(config) and f'"{kind.__name__}"'.encode() in artifact.read(config)


def _load(artifact: Artifact, name: str, kind: type[M]) -> M:
    names = artifact.names(f"{name}/")
    if not names:
        raise CheckpointError(f"{artifact.uri}/{name}: expected a {kind.__name__} in diffusers' layout, found nothing")
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        for file in names:
            target = Path(folder) / file.removeprefix(f"{name}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(artifact.read(file))
        options = {} if name == SCHEDULE else {"use_safetensors": True, "low_cpu_mem_usage": False}
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # whatever a torn folder does to diffusers, the answer is one line
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{artifact.uri}/{name}: expected a whole {kind.__name__}: {reason}") from error
