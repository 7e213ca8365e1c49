"""First stages by their published names (Rombach et al. 2022, app. G), as diffusers' AutoencoderKL or VQModel.

encoder.down.{level}.block.{n}, .attn.{n}, .downsample    level 0 is the finest
decoder.up.{level}.block.{n}, .attn.{n}, .upsample        here too: diffusers counts from the coarsest
{encoder,decoder}.mid.block_1, attn_1, block_2            attention by 1×1 convolutions: linear layers here
quant_conv, post_quant_conv, quantize.embedding           the last with a codebook alone
"""

import re
from typing import Any

from diffusers import AutoencoderKL, VQModel
from torch import Tensor

from rayograph.errors import DataError
from rayograph.models.published.accounting import Weights, filled, refuse_left_over

TRAINED_WITH = "loss."
"""Discriminator and perceptual network, which nobody encodes or decodes with."""
_BLOCK = re.compile(r"(encoder\.down|decoder\.up)\.(\d+)\.(block|attn)\.(\d+)\.(.+)")
_SAMPLING = re.compile(r"(encoder\.down|decoder\.up)\.(\d+)\.(down|up)sample\.(conv\..+)")
_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block|attn)_(\d+)\.(.+)")
_AS_IT_IS = re.compile(r"((encoder|decoder)\.conv_(in|out)|quant_conv|post_quant_conv|quantize\.embedding)\..+")
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def first_stage(weights: Weights, where: str, sample_size: int = 256) -> AutoencoderKL | VQModel:
    """Build diffusers' network of published weights; its scaling factor is 1.

    Raises DataError, naming them, for weights that are missing, left over, or of a topology that diffusers has not.
    """
    network: AutoencoderKL | VQModel
    config = first_stage_config(weights, where) | {"sample_size": sample_size}
    network = (VQModel if "num_vq_embeddings" in config else AutoencoderKL)(**config)
    return filled(network, first_stage_weights(weights, where), where)


def first_stage_config(weights: Weights, where: str) -> dict[str, Any]:
    """Return what the shapes say, as diffusers' arguments. Raises DataError where they say no first stage."""
    try:
        levels = _levels(weights)
        first = [weights[f"encoder.down.{level}.block.0.conv1.weight"] for level in range(levels)]
        blocks = len({name.split(".")[4] for name in weights if name.startswith("encoder.down.0.block.")})
        latents = weights["decoder.conv_in.weight"].shape[1]
        embedding = weights["post_quant_conv.weight"].shape[1]
        colours, shown = weights["encoder.conv_in.weight"].shape[1], weights["decoder.conv_out.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise DataError(f"{where}: expected a first stage's weights, found no {error.args[0]}") from error
    attends = [f"encoder.down.{level}.attn.0.q.weight" in weights for level in range(levels)]
    config: dict[str, Any] = {
        "in_channels": colours,
        "out_channels": shown,
        "block_out_channels": tuple(weight.shape[0] for weight in first),
        "layers_per_block": blocks,
        "down_block_types": tuple("AttnDownEncoderBlock2D" if each else "DownEncoderBlock2D" for each in attends),
        "up_block_types": tuple("AttnUpDecoderBlock2D" if each else "UpDecoderBlock2D" for each in reversed(attends)),
        "latent_channels": latents,
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in weights,
        "norm_num_groups": 32,
        "scaling_factor": 1.0,
    }
    if "quantize.embedding.weight" in weights:
        codes = weights["quantize.embedding.weight"].shape[0]
        return config | {"num_vq_embeddings": codes, "vq_embed_dim": embedding, "lookup_from_codebook": False}
    if embedding != latents:
        raise DataError(f"{where}: expected post_quant_conv of {latents} channels, as the decoder's, got {embedding}")
    return config


def first_stage_weights(weights: Weights, where: str) -> dict[str, Tensor]:
    """Return published weights by diffusers' names. Raises DataError naming those that nothing has a place for."""
    levels = _levels(weights)
    found: dict[str, Tensor] = {}
    over = []
    for name, value in weights.items():
        told = _told(name, levels)
        if told is not None:
            found[told] = value[:, :, 0, 0] if _is_linear(told) and value.ndim == 4 else value
        elif not name.startswith(TRAINED_WITH):
            over.append(name)
    refuse_left_over(over, where)
    return found


def _levels(weights: Weights) -> int:
    return 1 + max((int(found[2]) for found in map(_BLOCK.fullmatch, weights) if found), default=0)


def _told(name: str, levels: int) -> str | None:
    """One published name in diffusers' words; None for one that is none."""
    if match := _BLOCK.fullmatch(name):
        half, level, part, number, rest = match.groups()
        return _within(half, level, levels) + (
            f".resnets.{number}.{_of_block(rest)}" if part == "block" else f".attentions.{number}.{_of_attention(rest)}"
        )
    if match := _SAMPLING.fullmatch(name):
        half, level, way, rest = match.groups()
        return f"{_within(half, level, levels)}.{way}samplers.0.{rest}"
    if match := _MIDDLE.fullmatch(name):
        half, part, number, rest = match.groups()
        if part == "attn":
            return f"{half}.mid_block.attentions.0.{_of_attention(rest)}"
        return f"{half}.mid_block.resnets.{int(number) - 1}.{_of_block(rest)}"
    if _AS_IT_IS.fullmatch(name):
        return name
    half, _, rest = name.partition(".norm_out.")
    return f"{half}.conv_norm_out.{rest}" if half in ("encoder", "decoder") and rest else None


def _within(half: str, level: str, levels: int) -> str:
    if half == "encoder.down":
        return f"encoder.down_blocks.{level}"
    return f"decoder.up_blocks.{levels - 1 - int(level)}"  # of 3 levels, 0 is the last block, 2


def _of_block(rest: str) -> str:
    return rest.replace("nin_shortcut", "conv_shortcut")


def _of_attention(rest: str) -> str:
    part, _, kind = rest.partition(".")
    return f"{_ATTENTION.get(part, part)}.{kind}"


def _is_linear(name: str) -> bool:
    return ".attentions." in name
