"""Declarations: everything that a job file or a scale profile may say."""

from rayograph.config.denoisers import Denoiser, DiT
from rayograph.config.diffusion import DiffusionLoss, FlowSchedule, NoiseSchedule, Sampler
from rayograph.config.evaluation import Evaluate
from rayograph.config.features import EfficientNetLite0, Features, NetworkFeatures, PooledPixels
from rayograph.config.filtering import FilterImages, Score
from rayograph.config.foreign import ImportModel
from rayograph.config.networks import Autoencoder, Discriminator, Identity, PerceptualNetwork
from rayograph.config.sampling import ImageFile, Marking, Request
from rayograph.config.scale import ActorScale, IngestScale, RayCluster, SamplingScale, Scale, TrainingScale
from rayograph.config.sources import Columns, ImageFolder, ParquetTable, SklearnDigits, WebDatasetShards
from rayograph.config.stages import (
    AutoencoderLoss,
    Encode,
    Job,
    Pack,
    Sample,
    TrainAutoencoder,
)
from rayograph.config.train_diffusion import TrainDiffusion
from rayograph.config.views import View

__all__ = [
    "ActorScale",
    "Autoencoder",
    "AutoencoderLoss",
    "Columns",
    "Denoiser",
    "DiT",
    "DiffusionLoss",
    "Discriminator",
    "EfficientNetLite0",
    "Encode",
    "Evaluate",
    "Features",
    "FilterImages",
    "FlowSchedule",
    "Identity",
    "ImageFile",
    "ImageFolder",
    "ImportModel",
    "IngestScale",
    "Job",
    "Marking",
    "NetworkFeatures",
    "NoiseSchedule",
    "Pack",
    "ParquetTable",
    "PerceptualNetwork",
    "PooledPixels",
    "RayCluster",
    "Request",
    "Sample",
    "Sampler",
    "SamplingScale",
    "Scale",
    "Score",
    "SklearnDigits",
    "TrainAutoencoder",
    "TrainDiffusion",
    "TrainingScale",
    "View",
    "WebDatasetShards",
]
