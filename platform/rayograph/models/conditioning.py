"""What a denoiser is told of a sample: the paper's ways in, any of them together (Rombach et al. 2022, sec. 3.3).

Shapes: b batch, e width of the time embedding, l tokens, d width of a token, k channels, y x latent grid.
"""

from collections.abc import Callable
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
        """Both batches after one another: guidance."""
        return self._with(other, lambda mine, theirs: torch.cat([mine, theirs]))

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
