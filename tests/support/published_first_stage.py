"""First stages in the layout of the published checkpoints, small and of random weights, with either regulariser
(Rombach et al. 2022, app. G). Nothing of them comes from the platform or from diffusers.
"""

from collections.abc import Sequence

import torch
from published_layout import attend, conv, norm
from torch import Tensor, nn
from torch.nn import functional as F


class StageBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels_in, 1e-6), conv(channels_in, channels_out)
        self.norm2, self.conv2 = norm(channels_out, 1e-6), conv(channels_out, channels_out)
        if channels_in != channels_out:
            self.nin_shortcut = conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class StageAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels, 1e-6)
        self.q, self.k, self.v, self.proj_out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        return x + self.proj_out(attend(q, k, v).transpose(1, 2).reshape(x.shape))


class Resampling(nn.Module):
    """Half the side, padded at the right and the bottom; or twice."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1)))


class Middle(nn.Module):
    def __init__(self, channels: int, attends: bool) -> None:
        super().__init__()
        self.block_1, self.block_2 = StageBlock(channels, channels), StageBlock(channels, channels)
        self.attn_1 = StageAttention(channels) if attends else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Half(nn.Module):
    """An encoder or a decoder: `down` from the finest level on, `up` with the finest level as number 0 too."""

    def __init__(
        self, widths: Sequence[int], blocks: int, z: int, colours: int, attn: Sequence[int], mid: bool, up: bool
    ):
        super().__init__()
        self.is_up, self.levels, order = up, len(widths), list(range(len(widths)))
        place = widths[-1] if up else widths[0]
        self.conv_in = conv(z if up else colours, place)
        made = {}
        for level in reversed(order) if up else order:
            part = nn.Module()
            part.block, part.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(blocks + up):
                part.block.append(StageBlock(place, widths[level]))
                place = widths[level]
                if level in attn:
                    part.attn.append(StageAttention(place))
            if level != (0 if up else len(widths) - 1):
                setattr(part, "upsample" if up else "downsample", Resampling(place, up))
            made[level] = part
        setattr(self, "up" if up else "down", nn.ModuleList(made[level] for level in order))
        self.mid = Middle(widths[-1], mid)
        self.norm_out, self.conv_out = norm(place, 1e-6), conv(place, colours if up else z)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        x = self.mid(x) if self.is_up else x
        for level in reversed(range(self.levels)) if self.is_up else range(self.levels):
            part = (self.up if self.is_up else self.down)[level]
            for number, block in enumerate(part.block):
                x = block(x)
                x = part.attn[number](x) if len(part.attn) else x
            sampling = getattr(part, "upsample" if self.is_up else "downsample", None)
            x = x if sampling is None else sampling(x)
        x = x if self.is_up else self.mid(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class FirstStage(nn.Module):
    """KL without `codes`, else VQ: `encode` gives moments, or what comes before the codebook."""

    def __init__(self, widths=(32, 64), blocks=1, z=3, colours=3, attn=(), mid=True, codes=None, embed=None) -> None:
        super().__init__()
        embed = embed or z
        self.encoder = Half(widths, blocks, z if codes else 2 * z, colours, attn, mid, up=False)
        self.decoder = Half(widths, blocks, z, colours, attn, mid, up=True)
        self.quant_conv = conv(z, embed, 1) if codes else conv(2 * z, 2 * embed, 1)
        self.post_quant_conv = conv(embed, z, 1)
        if codes:
            self.quantize = nn.Module()
            self.quantize.embedding = nn.Embedding(codes, embed)

    def encode(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images))

    def decode(self, z: Tensor) -> Tensor:
        if hasattr(self, "quantize"):
            codes = self.quantize.embedding.weight
            flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
            nearest = torch.cdist(flat, codes).argmin(dim=1)
            z = codes[nearest].view(z.shape[0], z.shape[2], z.shape[3], -1).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(z))
