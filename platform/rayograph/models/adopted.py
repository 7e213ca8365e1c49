"""diffusers' networks behind our seams."""

from typing import Protocol, runtime_checkable

from diffusers import ModelMixin
from torch import nn


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
