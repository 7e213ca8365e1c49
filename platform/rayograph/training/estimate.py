"""What a training costs, known before it starts: counted on tensors that have shapes and no memory.

Shapes: c image channels, s side of an image, z latent channels, y side of a latent grid.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from rayograph.conditioning.seen import Canvas
from rayograph.config import TrainAutoencoder, TrainDiffusion
from rayograph.config.job.training import Training
from rayograph.losses.diffusion_loss import ForwardProcess
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.perceptual import build_perceptual
from rayograph.models.schedule import build_schedule, levels
from rayograph.models.specs import LatentShape
from rayograph.training.autoencoder_learner import DiscriminatorPass, GeneratorPass
from rayograph.training.cost import Cost
from rayograph.training.diffusion_learner import DenoisingPass, build_networks
from rayograph.training.engine.optimiser import MOMENTS
from rayograph.training.setup import averages_of


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
        lambda: generator(images, noise, perceptual, critic.discriminator, None)[0], [generator, critic, perceptual]
    )
    critic.requires_grad_(True)
    more, _ = _counted(lambda: critic(images, images)[0], [critic])
    sizes = {"autoencoder": _size(generator), "discriminator": _size(critic)}
    states = _states(recipe) * sizes["autoencoder"] + len(MOMENTS) * sizes["discriminator"]
    return Cost(sizes, _size(perceptual), states, flops + more, kept)


def diffusion_cost(recipe: TrainDiffusion, shape: LatentShape) -> Cost:
    """Of one image's latents."""
    signal, sigma, kind = levels(build_schedule(recipe.noise_schedule))
    process = ForwardProcess(signal.to("meta"), sigma.to("meta"), kind)
    with torch.device("meta"):
        denoiser, trained = build_networks(recipe, shape)
        denoising = DenoisingPass(denoiser, trained.network, process, recipe.loss)
        latents = torch.empty(1, shape.channels, shape.side, shape.side)
        numbers = torch.zeros(1, dtype=torch.int64)
    pixels = shape.side * shape.factor
    canvas = Canvas(pixels, pixels, shape.factor)
    examples = trained.conditioner.arrays_on(trained.conditioner.examples(np.zeros(1, np.int64)), canvas)
    trained.network.use_first_stage(lambda images: latents)
    columns = {name: torch.from_numpy(values).to("meta") for name, values in examples.items()}
    keep = torch.ones(1, len(recipe.conditioning.drop_probabilities(0.0)), dtype=torch.bool, device="meta")
    flops, kept = _counted(lambda: denoising(latents, latents, numbers, columns, keep)[0], [denoising])
    size = _size(denoising)
    return Cost({"denoiser": size}, 0, _states(recipe) * size, flops, kept)


def _states(recipe: Training) -> int:
    """Tensors of the optimiser's state beside a weight."""
    return len(MOMENTS) + len(averages_of(recipe))


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
