"""A transformer over tokens in the layout of the published checkpoints, small and of random weights. Nothing of it
comes from the platform or from transformers."""

import torch
from published_layout import attend
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, each: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, heads * each, bias=False) for _ in range(3))
        self.to_out = nn.Linear(heads * each, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        into = nn.Sequential(nn.Linear(width, times * width), nn.GELU())
        self.net = nn.Sequential(into, nn.Dropout(0.0), nn.Linear(times * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Positions(nn.Module):
    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(length, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.emb(torch.arange(x.shape[1], device=x.device))[None]


class Layers(nn.Module):
    """Attention and perceptron take turns, each with its norm before it; a third place is of what is not used."""

    def __init__(self, width: int, depth: int, heads: int, each: int, times: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(depth):
            for part in (Attention(width, heads, each), FeedForward(width, times)):
                self.layers.append(nn.ModuleList([nn.ModuleList([nn.LayerNorm(width)]), part, nn.Identity()]))

    def forward(self, x: Tensor) -> Tensor:
        for (norm,), part, _ in self.layers:
            x = x + part(norm(x))
        return x


class Embedder(nn.Module):
    """Tokens to what a denoiser attends to."""

    def __init__(self, vocabulary=32, length=6, width=16, depth=2, heads=2, each=8, times=4) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.token_emb, self.transformer.pos_emb = nn.Embedding(vocabulary, width), Positions(length, width)
        self.transformer.attn_layers = Layers(width, depth, heads, each, times)
        self.transformer.norm, self.transformer.to_logits = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        found = self.transformer
        return found.norm(found.attn_layers(found.token_emb(tokens) + found.pos_emb(tokens)))
