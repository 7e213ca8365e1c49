"""Declarations: everything that a job file or a scale profile may say."""

from rayograph.config.job.conditioners import ClassLabel
from rayograph.config.job.conditions.embedding import ImageEmbedding
from rayograph.config.job.conditions.layout import Layout
from rayograph.config.job.conditions.several import Several
from rayograph.config.job.conditions.spatial import LowResolution, MaskedImage, SemanticMap
from rayograph.config.job.conditions.text import (
    BytePairTokenizer,
    CaptionSource,
    FrozenText,
    Text,
    TokenizerFile,
    WordTokenizer,
)
from rayograph.config.job.denoisers import ConditionDenoiser, Denoiser, DiT
from rayograph.config.job.evaluation import Evaluate
from rayograph.config.job.features import EfficientNetLite0, Features, NetworkFeatures, PooledPixels
from rayograph.config.job.filtering import FilterImages, Score
from rayograph.config.job.foreign import ImportModel
from rayograph.config.job.networks import Autoencoder, Discriminator, Identity, PerceptualNetwork
from rayograph.config.job.sampling import ImageFile, Marking, Request
from rayograph.config.job.schedules import DiffusionLoss, FlowSchedule, NoiseSchedule, Sampler
from rayograph.config.job.sources import (
    Columns,
    ImageFolder,
    OpenMoji,
    ParquetTable,
    Photographs,
    Scenes,
    SklearnDigits,
    Tiles,
    WebDatasetShards,
)
from rayograph.config.job.stages import (
    AutoencoderLoss,
    Encode,
    Job,
    Pack,
    Sample,
    TrainAutoencoder,
)
from rayograph.config.job.train_diffusion import TrainDiffusion
from rayograph.config.job.training import ExportModel
from rayograph.config.job.views import View
from rayograph.config.scale import ActorScale, IngestScale, RayCluster, SamplingScale, Scale, TrainingScale

__all__ = [
    "ActorScale",
    "Autoencoder",
    "AutoencoderLoss",
    "BytePairTokenizer",
    "CaptionSource",
    "ClassLabel",
    "Columns",
    "ConditionDenoiser",
    "Denoiser",
    "DiT",
    "DiffusionLoss",
    "Discriminator",
    "EfficientNetLite0",
    "Encode",
    "Evaluate",
    "ExportModel",
    "Features",
    "FilterImages",
    "FlowSchedule",
    "FrozenText",
    "Identity",
    "ImageEmbedding",
    "ImageFile",
    "ImageFolder",
    "ImportModel",
    "IngestScale",
    "Job",
    "Layout",
    "LowResolution",
    "Marking",
    "MaskedImage",
    "NetworkFeatures",
    "NoiseSchedule",
    "OpenMoji",
    "Pack",
    "ParquetTable",
    "PerceptualNetwork",
    "Photographs",
    "PooledPixels",
    "RayCluster",
    "Request",
    "Sample",
    "Sampler",
    "SamplingScale",
    "Scale",
    "Scenes",
    "Score",
    "SemanticMap",
    "Several",
    "SklearnDigits",
    "Text",
    "Tiles",
    "TokenizerFile",
    "TrainAutoencoder",
    "TrainDiffusion",
    "TrainingScale",
    "View",
    "WebDatasetShards",
    "WordTokenizer",
]
