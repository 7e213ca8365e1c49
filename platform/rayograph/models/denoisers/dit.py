"""A diffusion transformer: tokens of latent patches, steered by adaptive layer norms (Peebles & Xie 2023, adaLN-zero).

Shapes: b batch, z latent channels, y x latent grid, l tokens, p patch size, e channels of a token.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rayograph.config.job.denoisers import DiT
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import DenoiserNetwork
from rayograph.models.specs import Accepts, DenoiserSpec, Ways
from rayograph.shapes import Latents, Timesteps

FREQUENCIES = 256
"""Sines and cosines that a timestep becomes."""
MAX_PERIOD = 10_000.0


class DiTDenoiser(DenoiserNetwork):
    """The conditioning's vector is added to the timestep's embedding, its channels become part of the patches."""

    def __init__(self, declared: DiT, latent_channels: int, latent_size: int, gives: Ways) -> None:
        super().__init__()
        self.declared = declared
        width, patch = declared.hidden_size, declared.patch_size
        self.spec = DenoiserSpec(latent_channels, latent_size, patch, Accepts(vector=width, concat=gives.concat))
        self._patch, self._trained_side, self._recomputes = patch, latent_size // patch, False
        self.embed_patches = nn.Linear((latent_channels + gives.concat) * patch**2, width)
        self.embed_time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            Block(width, declared.num_attention_heads, declared.mlp_ratio) for _ in range(declared.num_layers)
        )
        self.modulate_last = nn.Linear(width, 2 * width)
        self.predict_patches = nn.Linear(width, latent_channels * patch**2)
        self._initialise()

    def forward(self, noisy_latents: Latents, timesteps: Timesteps, conditioning: Conditioning) -> Latents:
        *_, height, width = (side // self._patch for side in noisy_latents.shape)
        where = positions(height, width, self._trained_side, self.spec.accepts.vector or 0).to(noisy_latents)
        tokens = self.embed_patches(to_patches(conditioning.behind(noisy_latents), self._patch)) + where
        embedding = self.embed_time(sinusoids(timesteps.float(), FREQUENCIES).to(noisy_latents.dtype))
        if conditioning.vector is not None:
            embedding = embedding + conditioning.vector
        embedding = F.silu(embedding)
        for block in self.blocks:
            if self._recomputes and torch.is_grad_enabled():
                tokens = cast(Tensor, checkpoint(block, tokens, embedding, use_reentrant=False))
            else:
                tokens = block(tokens, embedding)
        shift, scale = self.modulate_last(embedding).chunk(2, dim=1)
        patches = self.predict_patches(modulated(tokens, shift, scale))
        return from_patches(patches, height, width, self._patch)

    def enable_gradient_checkpointing(self) -> None:
        self._recomputes = True

    def _initialise(self) -> None:
        """Every block begins as the identity, and the prediction as zero: what is steered begins at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.embed_time[0], self.embed_time[2]):
            nn.init.normal_(cast(Tensor, layer.weight), std=0.02)
        for zero in (*(block.modulate for block in self.blocks), self.modulate_last, self.predict_patches):
            nn.init.zeros_(cast(nn.Linear, zero).weight)


class Block(nn.Module):
    """Attention, then a perceptron, each between a shift and scale before it and a gate behind it."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self._heads = heads
        self.modulate = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(approximate="tanh"), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Return (b, l, e) tokens, of `embedding` (b, e)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulate(embedding).chunk(6, dim=1)
        tokens = tokens + gate[:, None] * self._attend(modulated(tokens, shift, scale))
        return tokens + mlp_gate[:, None] * cast(Tensor, self.mlp(modulated(tokens, mlp_shift, mlp_scale)))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        parts = self.qkv(tokens).view(batch, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts)
        return cast(Tensor, self.project(mixed.transpose(1, 2).reshape(batch, length, width)))


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return (b, l, e) tokens, each normalised, then scaled and shifted by their sample's own (b, e)."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


def sinusoids(values: Tensor, width: int) -> Tensor:
    """Return cosines and sines (…, width) of values (…): half of each, of periods from 2π to 2π × MAX_PERIOD."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device) / half
    angles = values[..., None] * torch.exp(-math.log(MAX_PERIOD) * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def positions(height: int, width: int, trained_side: int, channels: int) -> Tensor:
    """Return (height × width, channels): half the channels of a token's row, half of its column.

    On a grid of another side than the trained one, places lie closer, or farther apart, over the same range: of 2
    trained, 4 lie at 0, ½, 1, 1½.
    """
    rows, columns = (torch.arange(side) * (trained_side / side) for side in (height, width))
    of_rows, of_columns = (sinusoids(places, channels // 2) for places in (rows, columns))
    grid = [of_rows[:, None].expand(-1, width, -1), of_columns[None].expand(height, -1, -1)]
    return torch.cat(grid, dim=-1).flatten(0, 1)


def to_patches(latents: Latents, patch: int) -> Tensor:
    """Return (b, l, z p p), row by row of patches: of a 4×4 grid by p = 2, token 1 holds rows 0 and 1, columns 2, 3."""
    return F.unfold(latents, patch, stride=patch).transpose(1, 2)


def from_patches(patches: Tensor, height: int, width: int, patch: int) -> Latents:
    """Undo `to_patches`, of height × width patches."""
    return F.fold(patches.transpose(1, 2), (height * patch, width * patch), patch, stride=patch)
