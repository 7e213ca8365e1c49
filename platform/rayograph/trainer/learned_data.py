"""What a denoiser learns from: moments and the first stage that made them; or images, in pixel space."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.settled import settled
from rayograph.config import Identity, TrainDiffusion
from rayograph.errors import ConfigError
from rayograph.ingest.decoders import Content, Images, Moments
from rayograph.models.autoencoder import AutoencoderNetwork, build_autoencoder
from rayograph.models.model_folder import downsampling_factor, load_autoencoder
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.specs import LatentShape
from rayograph.runs.stage_context import StageContext
from rayograph.trainer.dataset import seen_size


@dataclass(frozen=True)
class LearnedData:
    """`declared` has all filled in that only the data can tell; `latents` are one sample's."""

    declared: TrainDiffusion
    conditioner: Conditioner
    field: str
    """The input that is read."""
    content: Content
    latents: LatentShape
    normalisation: LatentNormalisation
    first_stage: Callable[[], AutoencoderNetwork]
    """Loads, or makes, what latents are decoded by."""


def learned_data(stage: StageContext, declared: TrainDiffusion) -> LearnedData:
    """Find out from the inputs' manifests. Raises ConfigError where they do not go together, or not with the job."""
    field = "moments" if declared.images is None else "images"
    sets = [(manifest.facts, weight) for _, manifest, weight in stage.mixture(field)]
    declared, conditioner = settled(stage.name, declared, [facts for facts, _ in sets])
    if declared.images is None:
        channels, height, width = _common(stage, [facts for facts, _ in sets], "latent_shape")
        scales = [LatentNormalisation(tuple(facts["latent_mean"]), tuple(facts["latent_std"])) for facts, _ in sets]
        scale = LatentNormalisation.mixed(scales, [weight for _, weight in sets])
        content = Moments((2 * channels, height, width), conditioner)
        artifact, _ = stage.input("autoencoder")
        latents = LatentShape(channels, height, downsampling_factor(artifact))
        return LearnedData(declared, conditioner, field, content, latents, scale, partial(load_autoencoder, artifact))
    size, identity = seen_size(declared.view, stage), Identity()
    scale = LatentNormalisation.kept_in(build_autoencoder(identity))
    pixels = Images(size, declared.view, stage.seed, conditioner)
    latents = LatentShape(identity.latent_channels, size, identity.downsampling_factor)
    return LearnedData(declared, conditioner, field, pixels, latents, scale, partial(build_autoencoder, identity))


def _common(stage: StageContext, sets: list[Mapping[str, Any]], fact: str) -> tuple[int, int, int]:
    """What all mixed data sets say. Raises ConfigError where they differ."""
    said = [facts[fact] for facts in sets]
    if any(value != said[0] for value in said):
        raise ConfigError(f"{stage.name}.moments: expected data sets with one {fact}, got {said[0]} and others")
    channels, height, width = said[0]
    return channels, height, width
