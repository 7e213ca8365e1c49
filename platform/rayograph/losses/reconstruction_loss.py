"""First-stage losses (Rombach et al. 2022, app. G; Esser et al. 2021).

Shapes: b batch, c image channels, h w pixels, z latent channels, y x latent grid.
"""

from torch import Tensor

from rayograph.shapes import Images, Latents, Moments, Scalar


def reconstruction_loss(
    reconstructions: Images, images: Images, perceptual: Tensor, perceptual_weight: float
) -> Scalar:
    """L1 plus the weighted perceptual distance (b,) at every value, summed over an image, averaged over the batch."""
    values = images[0].numel()
    per_image = (reconstructions - images).abs().sum(dim=(1, 2, 3)) + perceptual_weight * values * perceptual
    return per_image.mean()


def codebook_loss(raw_latents: Latents, codes: Latents, commitment: float = 0.25) -> Scalar:
    """‖sg z - e‖² + β ‖z - sg e‖², a mean over all values (van den Oord et al. 2017, eq. 3)."""
    to_latents = (raw_latents.detach() - codes).square().mean()
    to_codes = (raw_latents - codes.detach()).square().mean()
    return to_latents + commitment * to_codes


def kl_loss(moments: Moments) -> Scalar:
    """KL divergence of the posterior from a standard normal (Kingma & Welling 2014, app. B), summed over an image."""
    mean, logvar = moments.chunk(2, dim=1)
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(dim=(1, 2, 3)).mean()
