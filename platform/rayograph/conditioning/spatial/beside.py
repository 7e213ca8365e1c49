"""What networks of conditions beside the latents have in common: a null that is the same everywhere.

Shapes: k channels, b batch, y x latent grid.
"""

import torch
from torch import Tensor, nn


class NullChannels(nn.Module):
    """Zeros, or one learned value a channel."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.values = nn.Embedding(1, channels) if learned else None
        self.register_buffer("zeros", torch.zeros(1, channels), persistent=False)

    def forward(self, count: int) -> Tensor:
        """(count, k, 1, 1), which spreads over any grid."""
        zeros: Tensor = self.get_buffer("zeros")
        row = zeros if self.values is None else self.values(torch.zeros(1, dtype=torch.int64, device=zeros.device))
        return row[:, :, None, None].expand(count, -1, 1, 1)

    @property
    def dtype(self) -> torch.dtype:
        """What channels are given in."""
        return self.get_buffer("zeros").dtype
