"""The part of a conditioner that has weights.

Shapes: b batch.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from rayograph.models.conditioning import Conditioning


class ConditionerNetwork(nn.Module):
    """The paper's τ_θ: trained, averaged and saved with the denoiser."""

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        """Return what columns (b, …) say."""
        raise NotImplementedError

    def null(self, count: int) -> Conditioning:
        """Return the null condition, `count` times: of samples that nothing is said of."""
        raise NotImplementedError
