"""diffusers' networks behind our seams."""

from typing import Protocol, TypeVar, runtime_checkable

from diffusers import AsymmetricAutoencoderKL, AutoencoderDC, AutoencoderKL, ModelMixin, VQModel
from torch import nn

from rayograph.models.specs import AutoencoderSpec

N = TypeVar("N", AutoencoderKL, VQModel, AsymmetricAutoencoderKL, AutoencoderDC)


@runtime_checkable
class InDiffusersForm(Protocol):
    """A network that is written as diffusers writes it."""

    def diffusers_model(self) -> ModelMixin:
        """Return what `from_pretrained` will open."""
        ...


def adopt(module: nn.Module, network: nn.Module) -> None:
    """Make a network's parts those of `module`, under their own names.

    So weights are called in checkpoints what they are called in a diffusers folder, without a prefix between.
    """
    for name, part in network.named_children():
        module.add_module(name, part)


def with_statistics(network: N, spec: AutoencoderSpec) -> N:
    """Return an autoencoder with its latents' statistics, where there are any, in its configuration."""
    if spec.latents_mean is not None and spec.latents_std is not None:
        network.register_to_config(latents_mean=list(spec.latents_mean), latents_std=list(spec.latents_std))
    return network
