"""What a training costs, known before it starts: counted on tensors that have shapes and no memory.

Shapes: c image channels, s side of an image, z latent channels, y side of a latent grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from rayograph.config import TrainAutoencoder, TrainDiffusion
from rayograph.losses.diffusion import ForwardProcess
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.denoiser import build_denoiser
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.perceptual import build_perceptual
from rayograph.models.schedule import build_schedule, levels
from rayograph.training.autoencoder import DiscriminatorPass, GeneratorPass
from rayograph.training.diffusion import DenoisingPass
from rayograph.training.optimiser import STATE_KEYS

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Of one training. FLOPs are 2 a multiply-add, forward and backward, of convolutions and matrix products.

    `activation_bytes` is what one image leaves behind for the backward pass, in fp32.
    """

    parameters: dict[str, int]
    """Trained, by network."""
    frozen: int
    flops: int
    activation_bytes: int

    @property
    def checkpoint_bytes(self) -> int:
        """Weights and the optimiser's state, all fp32."""
        return FLOAT_BYTES * (1 + len(STATE_KEYS)) * sum(self.parameters.values())

    def memory_bytes(self, zero_stage: int, workers: int, micro_batch_size: int, precision: str) -> int:
        """What a worker holds in the middle of a step, without what allocators and libraries add.

        ZeRO divides by the workers: from 1 on the optimiser's state and masters, from 2 gradients too, at 3 all.
        """
        trained = FLOAT_BYTES * sum(self.parameters.values())
        divided = 1 / workers
        weights = trained * (divided if zero_stage == 3 else 1)
        masters = trained * divided if zero_stage else 0
        gradients = trained * (divided if zero_stage >= 2 else 1)
        states = trained * len(STATE_KEYS) * (divided if zero_stage else 1)
        activations = micro_batch_size * self.activation_bytes * (0.5 if precision == "bf16" else 1)
        return round(weights + masters + gradients + states + FLOAT_BYTES * self.frozen + activations)


def autoencoder_cost(recipe: TrainAutoencoder, image_size: int) -> Cost:
    """With the discriminator at work, and one adaptive weight a micro-batch."""
    channels = recipe.network.image_channels
    perceptual, _ = build_perceptual(recipe.perceptual, channels)
    perceptual = perceptual.to("meta")
    with torch.device("meta"):
        generator = GeneratorPass(build_autoencoder(recipe.network), recipe.loss)
        critic = DiscriminatorPass(PatchDiscriminator(recipe.discriminator, channels), recipe.loss.adversarial)
        images = torch.empty(1, channels, image_size, image_size)
        grid = image_size // recipe.network.downsampling_factor
        noise = torch.empty(1, recipe.network.latent_channels, grid, grid)
    critic.requires_grad_(False)
    flops, kept = _counted(
        lambda: generator(images, noise, perceptual, critic.discriminator, None), [generator, critic, perceptual]
    )
    critic.requires_grad_(True)
    more, _ = _counted(lambda: critic(images, images), [critic])
    sizes = {"autoencoder": _size(generator), "discriminator": _size(critic)}
    return Cost(sizes, _size(perceptual), flops + more, kept)


def diffusion_cost(recipe: TrainDiffusion, latent_channels: int, latent_size: int) -> Cost:
    """Of one image's latents."""
    signal, sigma, kind = levels(build_schedule(recipe.noise_schedule))
    process = ForwardProcess(signal.to("meta"), sigma.to("meta"), kind)
    with torch.device("meta"):
        denoising = DenoisingPass(build_denoiser(recipe.network, latent_channels, latent_size), process, recipe.loss)
        latents = torch.empty(1, latent_channels, latent_size, latent_size)
        numbers = torch.zeros(1, dtype=torch.int64)
    classes = numbers if recipe.network.num_classes else None
    flops, kept = _counted(lambda: denoising(latents, latents, numbers, classes), [denoising])
    return Cost({"denoiser": _size(denoising)}, 0, flops, kept)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _counted(loss: Callable[[], Tensor], modules: Sequence[nn.Module]) -> tuple[int, int]:
    """FLOPs of a forward and a backward pass, and bytes of what the first keeps for the second."""
    weights = {parameter.untyped_storage()._cdata for module in modules for parameter in module.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        loss().backward()
    return counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
