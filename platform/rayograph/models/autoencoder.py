"""The first stage: images to moments and raw latents to images (Rombach et al. 2022, sec. 3.1).

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from rayograph.config.job.networks import AutoencoderKind
from rayograph.config.kinds import implementation
from rayograph.errors import ConfigError
from rayograph.models.finite import require_finite
from rayograph.models.specs import AutoencoderSpec
from rayograph.shapes import Images, Latents, Moments, Noise, Pixels, PixelTensor

LOGVAR_RANGE = (-30.0, 20.0)
"""Outside it exp(logvar) leaves float32; the same bounds as diffusers' posterior."""


class AutoencoderNetwork(nn.Module, ABC):
    """The seam: what every first stage can do. One that is built of a declaration keeps it as `declared`."""

    spec: AutoencoderSpec
    declared: AutoencoderKind | None = None

    @abstractmethod
    def encode(self, images: Images) -> Moments:
        """Return the posterior's mean and log-variance, unscaled: (b, 2z, y, x)."""

    @abstractmethod
    def decode(self, raw_latents: Latents) -> Images:
        """Return images in about [-1, 1]; the network may overshoot a little."""

    def last_decoder_layer(self) -> nn.Parameter:
        """Return the weight at which losses' gradients are compared for the adaptive weight.

        Raises ConfigError for a first stage that has none, and so cannot be trained.
        """
        raise ConfigError(f"network: expected an autoencoder that can be trained, got a {type(self).__name__}")

    def separable_parts(self) -> Sequence[nn.Module]:
        """Return the modules that may be compiled, each by itself; the last layer, whose gradients are taken alone, is
        in none of them."""
        return ()

    def compile_decoder(self) -> None:
        """Compile what sampling calls, for inputs of one shape."""

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where there is no such way."""
        raise ConfigError(f"training.activation_checkpointing: expected false, as {type(self).__name__} has none")


@runtime_checkable
class Quantised(Protocol):
    """A first stage with a codebook, the decoder's first layer: raw latents are what comes before it."""

    def nearest_codes(self, raw_latents: Latents) -> Latents:
        """Return the code that each place is decoded from; gradients go to the codebook."""
        ...


def build_autoencoder(declared: AutoencoderKind) -> AutoencoderNetwork:
    """Build a network with fresh weights."""
    network: AutoencoderNetwork = implementation(declared)(declared)
    return network


def posterior_sample(moments: Moments, noise: Noise) -> Latents:
    """Return raw latents: mean + std × noise."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(0.5 * logvar.clamp(*LOGVAR_RANGE)) * noise


@torch.no_grad()
def moments_of(autoencoder: AutoencoderNetwork, images: Images) -> Moments:
    """Return moments in fp32 of images that are only encoded, whatever the network computes in."""
    weight = next(autoencoder.parameters(), None)
    with torch.autocast(images.device.type, enabled=False):
        return autoencoder.encode(images if weight is None else images.to(weight.dtype)).float()


def without_variance(mean: Latents) -> Moments:
    """Return moments of a posterior that is as good as its mean."""
    return torch.cat([mean, torch.full_like(mean, LOGVAR_RANGE[0])], dim=1)


@torch.inference_mode()
def reconstruct(
    autoencoder: AutoencoderNetwork, pixels: Pixels, batch_size: int = 64, names: Sequence[str] | None = None
) -> Pixels:
    """Return pixels through the bottleneck and back, by the posterior's mean.

    Raises NonFiniteError by name, of `names`, for what comes back as no picture.
    """
    names = [f"image {row}" for row in range(len(pixels))] if names is None else names
    where = next((weight.device for weight in autoencoder.parameters()), torch.device("cpu"))
    made = []
    for start in range(0, len(pixels), batch_size):
        shown = to_images(torch.from_numpy(pixels[start : start + batch_size]).to(where))
        mean, _ = autoencoder.encode(shown).chunk(2, 1)
        images = autoencoder.decode(mean)
        require_finite("reconstructions", names[start : start + batch_size], images)
        made.append(to_pixels(images).numpy())
    return np.concatenate(made)


def to_images(pixels: PixelTensor) -> Images:
    """Return uint8 pixels, channels last, as images in [-1, 1], channels first."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_pixels(images: Images) -> PixelTensor:
    """Return images as uint8 pixels on the CPU, channels last, rounded; overshoot is cut off."""
    return ((images.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
