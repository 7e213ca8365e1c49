"""What a denoiser learns from: moments and the first stage that made them; or images, through a first stage or none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rayograph.conditioning.protocol import Conditioner
from rayograph.conditioning.settled import condition_facts, settled
from rayograph.config import Identity, TrainDiffusion
from rayograph.errors import ConfigError
from rayograph.ingest.decoders import Content, Images, Moments
from rayograph.models.autoencoder import AutoencoderNetwork, build_autoencoder
from rayograph.models.model_folder import first_stage_spec, load_autoencoder
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
    """Loads, or makes, what latents are decoded by, and images encoded."""
    measures: bool = False
    """Whether the normalisation is one of pixels still, and has to be measured."""


def learned_data(stage: StageContext, declared: TrainDiffusion) -> LearnedData:
    """Find out from the inputs' manifests. Raises ConfigError where they do not go together, or not with the job."""
    field = "moments" if declared.images is None else "images"
    studied = condition_facts(stage, declared, field)
    facts: list[Mapping[str, Any]] = [manifest.facts | studied for _, manifest, _ in stage.mixture(field)]
    declared, conditioner = settled(stage.name, declared, facts)
    if declared.images is None:
        channels, height, width = _common(stage, facts, "latent_shape")
        artifact, _ = stage.input("autoencoder")
        latents = LatentShape(channels, height, first_stage_spec(artifact).factor)
        content = Moments((2 * channels, height, width), conditioner, stage.seed, latents.factor)
        first_stage = partial(load_autoencoder, artifact)
        return LearnedData(declared, conditioner, field, content, latents, _known_scale(stage), first_stage)
    size = seen_size(declared.view, stage)
    if declared.autoencoder is not None:
        return _encoded(stage, declared, conditioner, size)
    identity = Identity()
    scale = LatentNormalisation.kept_in(build_autoencoder(identity))
    pixels = Images(size, declared.view, stage.seed, conditioner)
    latents = LatentShape(identity.latent_channels, size, identity.downsampling_factor)
    return LearnedData(declared, conditioner, field, pixels, latents, scale, partial(build_autoencoder, identity))


def _encoded(stage: StageContext, declared: TrainDiffusion, conditioner: Conditioner, size: int) -> LearnedData:
    """Of images that are encoded as they are learned; their latents' scale is the moments', where any are said."""
    artifact, _ = stage.input("autoencoder")
    spec = first_stage_spec(artifact)
    if size % spec.factor:
        raise ConfigError(f"{stage.name}.view.image_size: f = {spec.factor} needs a size divisible by it, got {size}")
    latents = LatentShape(spec.latent_channels, size // spec.factor, spec.factor)
    pixels = Images(size, declared.view, stage.seed, conditioner, spec.factor)
    measures = declared.moments is None
    nothing = LatentNormalisation((0.0,) * latents.channels, (1.0,) * latents.channels)
    scale = nothing if measures else _known_scale(stage)
    if len(scale.mean) != latents.channels:
        raise ConfigError(
            f"{stage.name}.moments: expected latents of {latents.channels} channels, as the autoencoder's, got "
            f"{len(scale.mean)}"
        )
    first_stage = partial(load_autoencoder, artifact)
    return LearnedData(declared, conditioner, "images", pixels, latents, scale, first_stage, measures)


def _known_scale(stage: StageContext) -> LatentNormalisation:
    """Of moments, as their manifests say it."""
    sets = [(manifest.facts, weight) for _, manifest, weight in stage.mixture("moments")]
    scales = [LatentNormalisation(tuple(facts["latent_mean"]), tuple(facts["latent_std"])) for facts, _ in sets]
    return LatentNormalisation.mixed(scales, [weight for _, weight in sets])


def _common(stage: StageContext, sets: list[Mapping[str, Any]], fact: str) -> tuple[int, int, int]:
    """What all mixed data sets say. Raises ConfigError where they differ."""
    said = [facts[fact] for facts in sets]
    if any(value != said[0] for value in said):
        raise ConfigError(f"{stage.name}.moments: expected data sets with one {fact}, got {said[0]} and others")
    channels, height, width = said[0]
    return channels, height, width
