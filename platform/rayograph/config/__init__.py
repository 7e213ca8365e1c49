"""Declarations: everything that a job file or a scale profile may say."""

from rayograph.config.networks import (
    Autoencoder,
    Denoiser,
    Discriminator,
    NoiseSchedule,
    PerceptualNetwork,
    Sampler,
)
from rayograph.config.scale import ActorScale, IngestScale, RayCluster, SamplingScale, Scale, TrainingScale
from rayograph.config.stages import (
    AutoencoderLoss,
    Encode,
    Evaluate,
    ImageFolder,
    Job,
    Pack,
    Sample,
    SklearnDigits,
    Stage,
    TrainAutoencoder,
    TrainDiffusion,
)

__all__ = [
    "ActorScale",
    "Autoencoder",
    "AutoencoderLoss",
    "Denoiser",
    "Discriminator",
    "Encode",
    "Evaluate",
    "ImageFolder",
    "IngestScale",
    "Job",
    "NoiseSchedule",
    "Pack",
    "PerceptualNetwork",
    "RayCluster",
    "Sample",
    "Sampler",
    "SamplingScale",
    "Scale",
    "SklearnDigits",
    "Stage",
    "TrainAutoencoder",
    "TrainDiffusion",
    "TrainingScale",
]
