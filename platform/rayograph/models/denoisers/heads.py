"""A number of heads that no argument of diffusers' UNet2DModel says: it knows channels a head alone, the same at every
level. In a model folder's configuration it stands as `num_attention_heads`, which diffusers passes over."""

from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention

HEADS = "num_attention_heads"


def set_heads(network: UNet2DModel, number: int) -> None:
    """Make every attention one of so many heads, and keep it in the configuration, to be saved with it."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.heads = number
            module.scale = (module.inner_dim // number) ** -0.5
    network.register_to_config(num_attention_heads=number)


def keep_heads(network: UNet2DModel) -> None:
    """Give a network that was opened the number that its configuration says, if it says one."""
    number = network.config.get(HEADS)
    if number is not None:
        set_heads(network, number)
