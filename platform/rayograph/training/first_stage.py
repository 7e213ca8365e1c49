"""The first stage in a training of the second: it encodes what is learned, and learns nothing itself."""

import torch

from rayograph.config import TrainingScale
from rayograph.models.autoencoder import AutoencoderNetwork
from rayograph.training.workers import device


def frozen(first_stage: AutoencoderNetwork, scale: TrainingScale) -> AutoencoderNetwork:
    """Make it run as the profile wants: where, in which precision, compiled."""
    network = first_stage.eval().requires_grad_(False).to(device())
    if scale.precision == "bf16":  # in fp16 autoencoders overflow
        network.to(torch.bfloat16)
    if scale.compile:
        for module in network.separable_parts():
            module.compile()
    return network
