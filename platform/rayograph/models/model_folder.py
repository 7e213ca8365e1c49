"""Model folders inside artifacts: weights as safetensors, never as pickles.

<part>/config.json         in diffusers' form, which `from_pretrained` opens; or {"declared": …, "spec": …}: the
                           declaration that the network is built of anew, and what it takes and gives
      model.safetensors    the weights of the latter, where there are any
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel, UNet2DModel
from safetensors.torch import load_file, save_file
from torch import nn

from rayograph.config.job.denoisers import DENOISERS
from rayograph.config.job.networks import AUTOENCODERS
from rayograph.config.kinds import Kinds, imported
from rayograph.errors import CheckpointError, MissingObjectError
from rayograph.models.adopted import InDiffusersForm
from rayograph.models.autoencoder import AutoencoderNetwork, build_autoencoder
from rayograph.models.denoiser import DenoiserNetwork, build_denoiser
from rayograph.models.denoisers.unet import UNetDenoiser
from rayograph.models.denoisers.unet_condition import ConditionUNet
from rayograph.models.layout import AUTOENCODER, CONFIG, DENOISER, SCHEDULE, SCHEDULER_CONFIG
from rayograph.models.schedule import TrainingSchedule
from rayograph.models.specs import SPEC, AutoencoderSpec, autoencoder_spec, denoiser_spec
from rayograph.runs.artifact import Artifact

__all__ = ["AUTOENCODER", "DENOISER", "SCHEDULE", "load_autoencoder", "load_denoiser", "load_schedule", "save_model"]

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)

_DECLARED, _WEIGHTS = "declared", "model.safetensors"
_CONFIGS = (CONFIG, SCHEDULER_CONFIG)
_SAFELY = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}

_AUTOENCODERS = {
    "AutoencoderKL": "rayograph.models.autoencoders.kl:KLAutoencoder",
    "VQModel": "rayograph.models.autoencoders.vq:VQAutoencoder",
    "AsymmetricAutoencoderKL": "rayograph.models.autoencoders.asymmetric_kl:AsymmetricKLAutoencoder",
    "AutoencoderDC": "rayograph.models.autoencoders.deep_compression:DeepCompressionAutoencoder",
}
"""What diffusers' autoencoders stand behind, by the class that a folder names."""


def save_model(artifact: Artifact, name: str, model: Any) -> None:
    """Write a network or a schedule below the artifact's folder `name`: the same bytes for the same model."""
    if isinstance(model, InDiffusersForm):
        model = model.diffusers_model()
    with tempfile.TemporaryDirectory(prefix="rayograph-") as folder:
        if hasattr(model, "save_pretrained"):
            options = {"safe_serialization": True} if hasattr(model, "parameters") else {}
            model.save_pretrained(folder, **options)
        else:
            _write_declared(Path(folder), model)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                data = file.read_bytes()
                if file.name in _CONFIGS:
                    data = _without_place(data)
                artifact.write(f"{name}/{file.relative_to(folder).as_posix()}", data)


def load_autoencoder(artifact: Artifact) -> AutoencoderNetwork:
    """Load the first stage of a committed artifact, ready for use."""

    def opened(folder: Path, config: dict[str, Any]) -> AutoencoderNetwork:
        if SPEC in config:
            network = build_autoencoder(_declared(config, AUTOENCODERS))
            network.spec = autoencoder_spec(config)
            return _with_weights(folder, network)
        behind = imported(_AUTOENCODERS[config["_class_name"]])
        found: AutoencoderNetwork = behind(behind.diffusers_class.from_pretrained(folder, **_SAFELY))
        return found

    return _opened(artifact, AUTOENCODER, "AutoencoderKL", opened).eval()


def first_stage_spec(artifact: Artifact) -> AutoencoderSpec:
    """Return what an artifact's first stage makes of images, without its weights. Raises CheckpointError for a folder
    that is not whole."""
    name = f"{AUTOENCODER}/{CONFIG}"
    try:
        return autoencoder_spec(json.loads(artifact.read(name)))
    except (MissingObjectError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{artifact.uri}/{name}: expected an autoencoder's configuration: {error}") from error


def load_denoiser(artifact: Artifact) -> DenoiserNetwork:
    """Load the denoiser, with its EMA weights, of a committed artifact."""

    def opened(folder: Path, config: dict[str, Any]) -> DenoiserNetwork:
        if SPEC in config:
            spec = denoiser_spec(config)
            declared = _declared(config, DENOISERS)
            return _with_weights(folder, build_denoiser(declared, spec.in_channels, spec.size, spec.accepts.ways))
        if config.get("_class_name") == UNet2DConditionModel.__name__:
            return ConditionUNet(UNet2DConditionModel.from_pretrained(folder, **_SAFELY))
        return UNetDenoiser(UNet2DModel.from_pretrained(folder, **_SAFELY))

    return _opened(artifact, DENOISER, "UNet2DModel", opened).eval()


def load_schedule(artifact: Artifact) -> TrainingSchedule:
    """Load the noise schedule of a committed artifact."""

    def opened(folder: Path, config: dict[str, Any]) -> TrainingSchedule:
        flow = config["_class_name"] == FlowMatchEulerDiscreteScheduler.__name__
        return (FlowMatchEulerDiscreteScheduler if flow else DDPMScheduler).from_pretrained(folder)

    return _opened(artifact, SCHEDULE, "DDPMScheduler", opened)


def _write_declared(folder: Path, network: Any) -> None:
    """Write a network that is built of its declaration."""
    config = {_DECLARED: network.declared.model_dump(mode="json"), SPEC: asdict(network.spec)}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if weights:
        save_file(weights, folder / _WEIGHTS)


def _with_weights(folder: Path, network: N) -> N:
    weights = load_file(folder / _WEIGHTS) if (folder / _WEIGHTS).exists() else {}
    network.load_state_dict(weights)
    return network


def _declared(config: dict[str, Any], kinds: Kinds) -> Any:
    """Return the declaration that a network was built of. Raises CheckpointError for a kind that is not known here."""
    said = config[_DECLARED]
    if said["kind"] not in kinds.names():
        raise CheckpointError(f"expected {kinds.seam} of kind {', '.join(kinds.names())}, got {said['kind']!r}")
    return kinds.declaration(said["kind"]).model_validate(said)


def _without_place(config: bytes) -> bytes:
    """Without the folder that a model was loaded from, which diffusers notes in it."""
    fields = json.loads(config)
    fields.pop("_name_or_path", None)
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def _opened(artifact: Artifact, name: str, expected: str, read: Callable[[Path, dict[str, Any]], T]) -> T:
    """What `read` makes of a copy of a committed folder and its configuration.

    Raises DataError naming a file that is not the committed one, CheckpointError for a folder that is not whole.
    """
    with tempfile.TemporaryDirectory(prefix="rayograph-") as place:
        folder = Path(place)
        names = artifact.copy(artifact.committed(), name, folder)
        if not names:
            raise CheckpointError(f"{artifact.uri}/{name}: expected a {expected} in diffusers' layout, found nothing")
        try:
            config = next(json.loads((folder / name).read_bytes()) for name in _CONFIGS if name in names)
            expected = config.get("_class_name", expected)
            return read(folder, config)
        except Exception as error:  # whatever a torn folder does to a library, the answer is one line
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{artifact.uri}/{name}: expected a whole {expected}: {reason}") from error
