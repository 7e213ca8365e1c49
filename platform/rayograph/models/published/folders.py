"""From a published checkpoint to the folders that diffusers opens: vae, unet and scheduler.

Only then is it what every other folder is, and goes the same way on.
"""

import json
from pathlib import Path

from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from rayograph.errors import DataError
from rayograph.models.layout import AUTOENCODER, CONDITIONER, CONFIG, DENOISER, SCHEDULE
from rayograph.models.published.checkpoint_file import read_weights
from rayograph.models.published.first_stage import first_stage
from rayograph.models.published.latent_model import PublishedWeights, parted, schedule_of
from rayograph.models.published.settings import Settings, read_settings
from rayograph.models.published.unet import Denoiser, unet

_CLASSES = "embedding.weight"
"""What embeds classes has, and nothing else."""


def settings_of(configuration: Path | None, where: str) -> Settings:
    """Read the YAML beside a checkpoint; without one nothing is said."""
    return Settings() if configuration is None else read_settings(configuration.read_bytes(), where)


def write_first_stage(checkpoint: Path, configuration: Path | None, folder: Path, where: str) -> int:
    """Write the first stage below `folder`, of a latent model too; return how many weights of a denoiser are left out.

    Raises DataError naming weights that are missing or left over.
    """
    settings, parts = settings_of(configuration, where), parted(read_weights(checkpoint, where), where)
    size = settings.first_stage.resolution
    network = first_stage(parts.first_stage, where, size or 256)
    network.save_pretrained(folder / AUTOENCODER, safe_serialization=True)
    if size is None:  # which diffusers must have, and nobody said
        config = json.loads((folder / AUTOENCODER / CONFIG).read_bytes())
        del config["sample_size"]
        (folder / AUTOENCODER / CONFIG).write_text(json.dumps(config))
    return len(parts.denoiser)


def write_latent_model(checkpoint: Path, configuration: Path | None, folder: Path, where: str) -> dict[str, Tensor]:
    """Write first stage, denoiser, schedule and embedded classes below `folder`; return the weights of any other
    conditioner.

    Raises DataError naming weights that are missing or left over.
    """
    settings, parts = settings_of(configuration, where), parted(read_weights(checkpoint, where), where)
    said = settings.denoiser
    if said is None:
        raise DataError(
            f"{where}: expected the published configuration beside it, such as config.yaml: no weight tells the number "
            "of heads"
        )
    if not parts.denoiser:
        raise DataError(f"{where}: expected a latent model's weights, model.diffusion_model.…, found a first stage's")
    network = first_stage(parts.first_stage, where)
    factor = 2 ** (len(network.config.block_out_channels) - 1)
    network.register_to_config(sample_size=said.latent_size * factor, scaling_factor=_scale(parts, said.scale_factor))
    network.save_pretrained(folder / AUTOENCODER, safe_serialization=True)
    denoiser = unet(parts.denoiser, said.heads, said.latent_size, where)
    denoiser.save_pretrained(folder / DENOISER, safe_serialization=True)
    schedule_of(parts, said.schedule, where).save_pretrained(folder / SCHEDULE)
    return parts.conditioner if not _write_classes(parts.conditioner, denoiser, folder) else {}


def _write_classes(conditioner: dict[str, Tensor], denoiser: Denoiser, folder: Path) -> bool:
    """Write what classes are embedded by, if it is that; the last of them is the one for no class."""
    if set(conditioner) != {_CLASSES} or not isinstance(denoiser, UNet2DConditionModel):
        return False
    (folder / CONDITIONER).mkdir(parents=True)
    config = {"kind": "class_label", "num_classes": len(conditioner[_CLASSES]) - 1, "way": "cross_attention"}
    (folder / CONDITIONER / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file({_CLASSES: conditioner[_CLASSES].float().contiguous()}, folder / CONDITIONER / "model.safetensors")
    return True


def _scale(parts: PublishedWeights, said: float) -> float:
    return said if parts.scale_factor is None else parts.scale_factor
