"""The paper's transformer over tokens, whose last states a denoiser attends to (Rombach et al. 2022, tab. 17).

Blocks of self-attention and a perceptron, each after a layer norm; positions are learned.

Shapes: b batch, l tokens, d channels of a token.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TransformerSize:
    """Of a transformer over `length` tokens of a vocabulary."""

    vocabulary: int
    length: int
    num_layers: int
    width: int
    num_attention_heads: int
    attention_head_dim: int
    feed_forward: int


class TokenTransformer(nn.Module):
    """Tokens to states, with every token looking at every other."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.length, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.num_layers))
        self.norm = nn.LayerNorm(size.width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(b, l) to (b, l, d); `mask` (b, l) is true where there is a token to look at."""
        hidden = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            hidden = block(hidden, mask)
        states: Tensor = self.norm(hidden)
        return states


class Block(nn.Module):
    """Attention, then a perceptron, each added to what came in."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        inner = size.num_attention_heads * size.attention_head_dim
        self._heads = size.num_attention_heads
        self.attention_norm = nn.LayerNorm(size.width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(size.width, inner, bias=False) for _ in range(3))
        self.to_out = nn.Linear(inner, size.width)
        self.perceptron_norm = nn.LayerNorm(size.width)
        self.perceptron = nn.Sequential(
            nn.Linear(size.width, size.feed_forward), nn.GELU(), nn.Linear(size.feed_forward, size.width)
        )

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """(b, l, d)."""
        inputs = self.attention_norm(hidden)
        queries, keys, values = (
            part(inputs).unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (self.to_q, self.to_k, self.to_v)
        )
        allowed = None if mask is None else mask[:, None, None, :]
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
        hidden = hidden + self.to_out(found.transpose(1, 2).flatten(2))
        result: Tensor = hidden + self.perceptron(self.perceptron_norm(hidden))
        return result
