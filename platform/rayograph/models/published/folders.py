"""From a published checkpoint to the folders that diffusers opens: vae, unet and scheduler.

Only then is it what every other folder is, and goes the same way on.
"""

import json
from pathlib import Path

from torch import Tensor

from rayograph.errors import DataError
from rayograph.models.layout import AUTOENCODER, CONFIG, DENOISER, SCHEDULE
from rayograph.models.published.checkpoint_file import read_weights
from rayograph.models.published.first_stage import first_stage
from rayograph.models.published.latent_model import PublishedWeights, parted, schedule_of
from rayograph.models.published.settings import Settings, read_settings
from rayograph.models.published.unet import unet


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
    """Write first stage, denoiser and schedule below `folder`; return the weights of what the model is conditioned by.

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
    return parts.conditioner


def _scale(parts: PublishedWeights, said: float) -> float:
    return said if parts.scale_factor is None else parts.scale_factor
