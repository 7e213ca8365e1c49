"""A denoiser in the layout of the published latent diffusion checkpoints, small and of random weights: whose names and
forward pass what is imported is held against. Nothing of it comes from the platform or from diffusers.

Rombach et al. 2022, app. E: with self-attention alone or transformers that attend to a context. First stages are in
published_first_stage.py.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32


def norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=eps)


def conv(channels_in: int, channels_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(…, l, d) queries over (…, m, d) keys and values."""
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v


def disturb(network: nn.Module, seed: int = 0, spread: float = 0.06) -> nn.Module:
    """Draw every weight anew, those too that begin at zero or one, so that no part can be missing unseen."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=rng) * spread
            weight.copy_(1.0 + noise if name.endswith("norm.weight") else noise + weight * 0.5)
    return network.eval()


class ResBlock(nn.Module):
    """`resample` is "up", "down" or None: of both branches, before their convolutions."""

    def __init__(self, channels: int, emb: int, out: int, scale_shift: bool, resample: str | None = None) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(norm(channels), nn.SiLU(), conv(channels, out))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * out if scale_shift else out))
        self.out_layers = nn.Sequential(norm(out), nn.SiLU(), nn.Dropout(0.0), conv(out, out))
        self.skip_connection = nn.Identity() if out == channels else conv(channels, out, 1)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        h = self.in_layers[:2](x)
        if self.resample == "up":
            h, x = F.interpolate(h, scale_factor=2.0), F.interpolate(x, scale_factor=2.0)
        elif self.resample == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = self.in_layers[2](h)
        told = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + told)
        return self.skip_connection(x) + h


class AttentionBlock(nn.Module):
    """Of each head queries, keys and values stand together in `qkv`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm(channels)
        self.qkv, self.proj_out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        batch, channels, *_ = x.shape
        flat = x.flatten(2)
        parts = self.qkv(self.norm(flat)).view(batch, self.heads, 3, channels // self.heads, -1)
        q, k, v = (part.transpose(-1, -2) for part in parts.unbind(2))
        h = attend(q, k, v).transpose(-1, -2).reshape(batch, channels, -1)
        return (flat + self.proj_out(h)).view(x.shape)


class CrossAttention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = nn.Linear(context, width, bias=False), nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1, self.attn2 = CrossAttention(width, width, heads), CrossAttention(width, context, heads)
        self.ff = nn.Module()
        self.ff.net = nn.Sequential(Gated(width), nn.Dropout(0.0), nn.Linear(4 * width, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff.net(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, channels: int, context: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = norm(channels, 1e-6)
        self.proj_in, self.proj_out = conv(channels, channels, 1), conv(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, context, heads) for _ in range(depth))

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class Sampling(nn.Module):
    """A convolution that halves, `op`, or one behind doubling, `conv`."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        if up:
            self.conv = conv(channels, channels)
        else:
            self.op = conv(channels, channels, stride=2)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0)) if hasattr(self, "conv") else self.op(x)


class First(nn.Conv2d):
    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        return super().forward(x)


class UNet(nn.Module):
    """`attn` are levels, 0 the finest; `heads` a number at every place, or `head_channels` the channels of each."""

    def __init__(
        self, channels=32, mult=(1, 2), blocks=1, attn=(1,), heads=None, head_channels=None, inputs=3, outputs=3,
        context=None, depth=1, scale_shift=False, resblock_updown=False,
    ) -> None:  # fmt: skip
        super().__init__()
        emb, self.channels = 4 * channels, channels

        def attention(width: int) -> nn.Module:
            number = heads or width // head_channels
            if context is None:
                return AttentionBlock(width, number)
            return SpatialTransformer(width, context, number, depth)

        def resample(width: int, way: str) -> nn.Module:
            if resblock_updown:
                return ResBlock(width, emb, width, scale_shift, way)
            return Sampling(width, up=way == "up")

        self.time_embed = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.input_blocks = nn.ModuleList([nn.ModuleList([First(inputs, channels, 3, padding=1)])])
        kept, width = [channels], channels
        for level, times in enumerate(mult):
            for _ in range(blocks):
                parts = [ResBlock(width, emb, times * channels, scale_shift)]
                width = times * channels
                parts += [attention(width)] if level in attn else []
                self.input_blocks.append(nn.ModuleList(parts))
                kept.append(width)
            if level < len(mult) - 1:
                self.input_blocks.append(nn.ModuleList([resample(width, "down")]))
                kept.append(width)
        self.middle_block = nn.ModuleList(
            [ResBlock(width, emb, width, scale_shift), attention(width), ResBlock(width, emb, width, scale_shift)]
        )
        self.output_blocks = nn.ModuleList()
        for level, times in reversed(list(enumerate(mult))):
            for number in range(blocks + 1):
                parts = [ResBlock(width + kept.pop(), emb, times * channels, scale_shift)]
                width = times * channels
                parts += [attention(width)] if level in attn else []
                parts += [resample(width, "up")] if level and number == blocks else []
                self.output_blocks.append(nn.ModuleList(parts))
        self.out = nn.Sequential(norm(width), nn.SiLU(), conv(width, outputs))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        half = self.channels // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half) / half)
        angles = timesteps[:, None].float() * rates
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        kept = []
        for block in self.input_blocks:
            for part in block:
                x = part(x, emb, context)
            kept.append(x)
        for part in self.middle_block:
            x = part(x, emb, context)
        for block in self.output_blocks:
            x = torch.cat([x, kept.pop()], dim=1)
            for part in block:
                x = part(x, emb, context)
        return self.out(x)
