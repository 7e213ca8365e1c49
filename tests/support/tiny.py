"""A whole model small enough for a unit test, with weights that nobody trained."""

import torch

from rayograph.conditioning.trained import TrainedConditioner, conditioned, conditioner_of
from rayograph.config import Autoencoder, Denoiser, NoiseSchedule
from rayograph.config.job.conditioners import ClassLabel, Unconditional
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.denoiser import build_denoiser
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.schedule import build_schedule
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.sampling.pipeline import DiffusionModel

AUTOENCODER = Autoencoder(
    latent_channels=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, mid_block_add_attention=False
)
LATENT_SIZE = 4
SCALE = LatentNormalisation((0.3, -1.0), (0.5, 2.0))


def autoencoder(seed=0):
    torch.manual_seed(seed)
    return build_autoencoder(AUTOENCODER).eval()


def declared(num_classes=0):
    return Denoiser(
        num_classes=num_classes,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_levels=(1,),
        attention_head_dim=8,
    )


def denoiser(num_classes=3, seed=0):
    """With its embedding of classes within, as models once were."""
    torch.manual_seed(seed)
    return build_denoiser(declared(num_classes), AUTOENCODER.latent_channels, LATENT_SIZE).eval()


def conditioner(denoiser, num_classes=3, facts=None) -> TrainedConditioner:
    """Of a denoiser of as many classes, whose embedding it takes over."""
    declared = ClassLabel(num_classes=num_classes) if num_classes else Unconditional()
    return conditioned(denoiser, conditioner_of(declared, facts))


def model(num_classes=3, prediction="v_prediction"):
    """Draws 8×8 images. Its autoencoder keeps the scale of its latents."""
    first_stage, network = autoencoder(), denoiser(num_classes)
    SCALE.keep_in(first_stage)
    schedule = build_schedule(NoiseSchedule(prediction_type=prediction))
    told = conditioner(network, num_classes)
    return DiffusionModel(network, told, first_stage, schedule, SCALE, torch.device("cpu"))


def commit(artifact: Artifact) -> Manifest:
    """Make an artifact of all that its folder holds."""
    return artifact.commit(
        Manifest(
            job="tiny", stage="train", kind="train_diffusion", key="0" * 16, seed=0, config={}, scale={}, parents=[],
            files=artifact.records(""), shards=[], facts={}, created="2026-01-01T00:00:00+00:00", seconds=0.0,
            machine={}, versions={},
        )
    )  # fmt: skip
