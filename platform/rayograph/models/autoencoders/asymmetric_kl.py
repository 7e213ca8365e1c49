"""diffusers' AsymmetricAutoencoderKL: KL's posterior, and a decoder larger than the encoder (Zhu et al. 2023)."""

from diffusers import AsymmetricAutoencoderKL

from rayograph.models.autoencoders.of_diffusers import DiffusersAutoencoder
from rayograph.shapes import Images, Moments


class AsymmetricKLAutoencoder(DiffusersAutoencoder[AsymmetricAutoencoderKL]):
    """Decodes whole images; what its decoder can do with a mask beside is for inpainting."""

    diffusers_class = AsymmetricAutoencoderKL

    def encode(self, images: Images) -> Moments:
        moments: Moments = self._network[0].encode(images).latent_dist.parameters
        return moments
