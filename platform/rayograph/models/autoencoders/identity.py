"""No first stage: latents are images, for diffusion in pixel space."""

from rayograph.config.job.networks import Identity
from rayograph.models.autoencoder import AutoencoderNetwork, without_variance
from rayograph.models.specs import AutoencoderSpec
from rayograph.shapes import Images, Latents, Moments


class IdentityAutoencoder(AutoencoderNetwork):
    """Has no weights, and as statistics those of the interval that images are in: they are left as they are."""

    def __init__(self, declared: Identity) -> None:
        super().__init__()
        self.declared = declared
        channels = declared.image_channels
        self.spec = AutoencoderSpec(1, channels, channels, (0.0,) * channels, (1.0,) * channels)

    def encode(self, images: Images) -> Moments:
        return without_variance(images)

    def decode(self, raw_latents: Latents) -> Images:
        return raw_latents
