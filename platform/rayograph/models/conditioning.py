"""What a denoiser is told of a sample: the paper's ways in, any of them together (Rombach et al. 2022, sec. 3.3).

Shapes: b batch, e width of the time embedding, l tokens, d width of a token, k channels, y x latent grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Each part is of all samples of a batch, or None where the model has no such way in."""

    vector: Tensor | None = None
    """(b, e), added to the time embedding."""
    cross_attention: Tensor | None = None
    """(b, l, d), what every attending level looks at."""
    cross_attention_mask: Tensor | None = None
    """(b, l), true where there is a token."""
    concat: Tensor | None = None
    """(b, k, y, x), channels beside the noisy latents'."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said: an unconditional model."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def where(self, keep: Tensor, other: "Conditioning") -> "Conditioning":
        """Each sample's own where `keep` (b,) is true, the other's elsewhere: condition dropout."""

        def chosen(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(keep.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        return self._with(other, chosen)

    def beside(self, other: "Conditioning") -> "Conditioning":
        """Both batches after one another: guidance. Channels that are the same everywhere spread over the grid."""

        def stacked(mine: Tensor, theirs: Tensor) -> Tensor:
            if theirs.shape[1:] != mine.shape[1:]:
                theirs = theirs.expand(len(theirs), *mine.shape[1:])
            return torch.cat([mine, theirs])

        return self._with(other, stacked)

    def behind(self, noisy_latents: Tensor) -> Tensor:
        """Return (b, z + k, y, x): the latents, and behind them the conditions' channels, where there are any."""
        return noisy_latents if self.concat is None else torch.cat([noisy_latents, self.concat], dim=1)

    def _with(self, other: "Conditioning", combine: Callable[[Tensor, Tensor], Tensor]) -> "Conditioning":
        parts = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if (mine is None) != (theirs is None):
                raise ValueError(f"{field.name}: expected both conditionings to have it, or neither")
            parts[field.name] = None if mine is None else combine(mine, theirs)
        return Conditioning(**parts)


def together(parts: Sequence[Conditioning]) -> Conditioning:
    """Join what is told of the same samples: vectors add up, tokens and channels follow one another."""
    vectors = [part.vector for part in parts if part.vector is not None]
    maps = [part.concat for part in parts if part.concat is not None]
    tokens = [part for part in parts if part.cross_attention is not None]
    return Conditioning(
        vector=sum(vectors[1:], vectors[0]) if vectors else None,
        cross_attention=_joined([part.cross_attention for part in tokens], 1),
        cross_attention_mask=_joined(_masks(tokens), 1),
        concat=_joined(_spread(maps), 1),
    )


def _masks(parts: Sequence[Conditioning]) -> list[Tensor | None]:
    """Of each one's tokens; those of one without a mask are all there. None of any where none has one."""
    if all(part.cross_attention_mask is None for part in parts):
        return []
    found: list[Tensor | None] = []
    for part in parts:
        mask, tokens = part.cross_attention_mask, part.cross_attention
        assert tokens is not None
        found.append(torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask)
    return found


def _spread(maps: Sequence[Tensor]) -> list[Tensor]:
    """Channels that are the same everywhere, (b, k, 1, 1), over the grid of the others."""
    grids = {tuple(one.shape[2:]) for one in maps} - {(1, 1)}
    if not grids:
        return list(maps)
    height, width = max(grids)
    return [one.expand(-1, -1, height, width) if tuple(one.shape[2:]) == (1, 1) else one for one in maps]


def _joined(parts: Sequence[Tensor | None], dim: int) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there, dim=dim) if there else None
