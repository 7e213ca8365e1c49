"""Denoisers by their published names (Rombach et al. 2022, app. E), as diffusers' UNet2DModel or UNet2DConditionModel.

Of self-attention, one 1×1 convolution holds queries, keys and values of each head together: three linear layers here.
"""

import re
from typing import Any, TypeAlias

from diffusers import UNet2DConditionModel, UNet2DModel
from torch import Tensor

from rayograph.models.denoisers.heads import set_heads
from rayograph.models.published.accounting import Weights, filled, refuse_left_over
from rayograph.models.published.unet_layout import Heads, UNetLayout, unet_config

_AROUND = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_PLACE = re.compile(r"(input_blocks|output_blocks)\.(\d+)\.(\d)\.(.+)|(middle_block)\.(\d)\.(.+)")
_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
_QKV = ("to_q", "to_k", "to_v")

Denoiser: TypeAlias = UNet2DModel | UNet2DConditionModel


def unet(weights: Weights, heads: Heads, sample_size: int, where: str) -> Denoiser:
    """Build diffusers' network of published weights.

    Raises DataError, naming them, for weights that are missing, left over, or of a topology that diffusers has not.
    """
    layout = UNetLayout.of(weights, where)
    config = unet_config(layout, heads, sample_size, where)
    network = _built(config)
    return filled(network, unet_weights(weights, layout, heads, where), where)


def unet_weights(weights: Weights, layout: UNetLayout, heads: Heads, where: str) -> dict[str, Tensor]:
    """Return published weights by diffusers' names. Raises DataError naming those that nothing has a place for."""
    found: dict[str, Tensor] = {}
    over = []
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        told = f"{_AROUND[stem]}.{kind}" if stem in _AROUND else _told(name, layout)
        if told is None:
            over.append(name)
        elif ".qkv." in told:
            parts = _by_head(value, heads.of(value.shape[0] // 3, where))
            found |= {told.replace("qkv", part): each for part, each in zip(_QKV, parts, strict=True)}
        else:
            found[told] = value[..., 0] if value.ndim == 3 else value
    refuse_left_over(over, where)
    return found


def _built(config: dict[str, Any]) -> Denoiser:
    if "cross_attention_dim" in config:
        return UNet2DConditionModel(**config)
    number = config.pop("num_attention_heads", None)
    network = UNet2DModel(**config)
    if number is not None:
        set_heads(network, number)
    return network


def _by_head(value: Tensor, heads: int) -> list[Tensor]:
    """Queries, keys and values of all heads, of rows by head: of 2 heads of 1 channel, q0 k0 v0 q1 k1 v1."""
    flat = value[..., 0] if value.ndim == 3 else value
    parts = flat.unflatten(0, (heads, 3, -1)).unbind(1)
    return [part.flatten(0, 1).contiguous() for part in parts]


def _told(name: str, layout: UNetLayout) -> str | None:
    """One published name in diffusers' words; None for one that is none."""
    match = _PLACE.fullmatch(name)
    if match is None:
        return None
    way, number, place, rest, middle, mid_place, mid_rest = match.groups()
    if middle:
        part = "attentions.0" if mid_place == "1" else f"resnets.{int(mid_place) // 2}"
        return _joined(f"mid_block.{part}", mid_rest, layout)
    if way == "input_blocks":
        level, block = layout.block_of(int(number))
        within, sampler, samples = f"down_blocks.{level}", "downsamplers.0", block == layout.layers
    else:
        level, block = divmod(int(number), layout.layers + 1)
        attends = layout.attends[::-1][level]
        within, sampler, samples = f"up_blocks.{level}", "upsamplers.0", place == ("2" if attends else "1")
    if samples:
        return _joined(f"{within}.{sampler}", rest, layout)
    return _joined(f"{within}.{'resnets' if place == '0' else 'attentions'}.{block}", rest, layout)


def _joined(where: str, rest: str, layout: UNetLayout) -> str | None:
    """What stands within a residual block, an attention, a transformer or a convolution that changes the grid."""
    stem, _, kind = rest.rpartition(".")
    if stem in _RESIDUAL:
        return f"{where}.{_RESIDUAL[stem]}.{kind}"
    if "samplers" in where:
        return f"{where}.conv.{kind}" if stem in ("op", "conv") else None
    if ".attentions." not in where:
        return None
    return f"{where}.{rest if layout.context is not None else f'{_ATTENTION.get(stem, stem)}.{kind}'}"
