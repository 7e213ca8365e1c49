"""Random numbers that belong to samples: a pure function of (seed, stream, position, step), alike on every worker.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), written in torch so that a whole
batch draws at once wherever it lives. The counter is (position, block, step), the key (seed, stream). A seed is a
number for all, or the bits of one for each position.

Shapes: b batch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rayograph.runs.rng_streams import RngStream

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def uniform(seed: int, stream: RngStream, positions: Tensor, count: int) -> Tensor:
    """(b, count) float32 in [0, 1): `count` numbers for each position (b,) int64 ≥ 0."""
    return (_words(seed, stream, positions, count) >> 8).to(torch.float32) * 2.0**-24


def normal(seed: int | Tensor, stream: RngStream, positions: Tensor, shape: Sequence[int], step: int = 0) -> Tensor:
    """(b, *shape) float32, standard normal (Box & Muller 1958); seeds may be (b,) int64, `step` is below 2³²."""
    count = math.prod(shape)
    pairs = (count + 1) // 2
    words = _words(seed, stream, positions, 2 * pairs, step)
    radius = torch.sqrt(-2.0 * torch.log(((words[:, :pairs] >> 8) + 1).to(torch.float32) * 2.0**-24))
    angle = (words[:, pairs:] >> 8).to(torch.float32) * (2.0 * math.pi * 2.0**-24)
    values = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
    return values[:, :count].reshape(len(positions), *shape)


def integers(seed: int, stream: RngStream, positions: Tensor, high: int) -> Tensor:
    """(b,) int64 in [0, high), for high up to 2³¹."""
    return (_words(seed, stream, positions, 1)[:, 0] * high) >> 32


def _words(seed: int | Tensor, stream: RngStream, positions: Tensor, count: int, step: int = 0) -> Tensor:
    """(b, count) int64 holding 32-bit words; a tensor of seeds is (b,) int64."""
    if isinstance(seed, Tensor):
        seed = seed[:, None]  # shifts of int64 keep the sign, which the mask takes off again
    blocks = torch.arange((count + 3) // 4, device=positions.device, dtype=torch.int64)
    size = (len(positions), len(blocks))
    c0 = (positions.to(torch.int64) & _MASK)[:, None].expand(size)
    c1 = (positions.to(torch.int64) >> 32)[:, None].expand(size)
    c2 = blocks[None, :].expand(size)
    c3 = torch.full(size, step, dtype=torch.int64, device=positions.device)
    k0, k1 = seed & _MASK, ((seed >> 32) ^ (int(stream) * _WEYL[0])) & _MASK
    for _ in range(10):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return torch.stack([c0, c1, c2, c3], dim=2).reshape(len(positions), 4 * len(blocks))[:, :count]


def _multiply(words: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of word × factor, through 16-bit halves because int64 would overflow."""
    low_half, high_half = words & 0xFFFF, words >> 16
    low = low_half * factor
    middle = high_half * factor + (low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)
