"""A network's trained weights as one long tensor, which is what DeepSpeed then shards, reduces and updates.

A U-Net has some 700 weights, most of them small. Handled one by one, hooks and kernels for each cost more time than the
arithmetic of a small network. Here they, and their gradients, are views into two long tensors: autograd writes the
gradients where they belong, and the optimiser, the exchange and ZeRO's bookkeeping happen once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rayograph.training.engine.surrogate_loss import Handover

Loss = tuple[Tensor, object]
"""A scalar, and what else a pass has to show."""


ALIGNED = 32
"""Each weight begins at a multiple of as many values, where kernels read fastest; zeros fill the gaps."""


@dataclass(frozen=True)
class Segment:
    """Where a named weight of `shape` lies in the flattened tensor that is trained: from `start` on."""

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(torch.Size(self.shape).numel())


class FlatWeights(nn.Module):
    """The one parameter `weights` (n,), and a forward that does a whole step's work on the network behind it."""

    def __init__(
        self,
        named: Sequence[tuple[str, nn.Parameter]],
        run: Callable[..., Loss],
        release: bool,
        loss_scale: float = 1.0,
    ) -> None:
        """`run` is a micro-batch's forward; with `release`, the network keeps no weights between two forwards."""
        super().__init__()
        self.segments: list[Segment] = []
        end = 0
        for name, parameter in named:
            self.segments.append(Segment(name, end, tuple(parameter.shape)))
            end += -(-self.segments[-1].size // ALIGNED) * ALIGNED
        self._parameters_behind = [parameter for _, parameter in named]
        self.weights = nn.Parameter(torch.zeros(end, device=self._parameters_behind[0].device))
        for parameter, values in zip(self._parameters_behind, self._views(self.weights.data), strict=True):
            values.copy_(parameter.detach())
        self.gradients = torch.zeros_like(self.weights.data)
        for parameter, gradient in zip(self._parameters_behind, self._views(self.gradients), strict=True):
            parameter.grad = gradient
        self._run, self._release = run, release
        self._nothing = self.weights.data.new_empty(0)
        self._at: int | None = None
        self.loss_scale = 1.0

    def forward(self, micro_batches: Sequence[tuple[object, ...]]) -> tuple[Tensor, list[Loss]]:
        """Forward and backward of them all: a scalar that hands their mean's gradient over, and their results."""
        self.gradients.zero_()
        results: list[Loss] = []
        with self.pointed():
            for micro_batch in micro_batches:
                loss, shown = self._run(*micro_batch)
                (loss * (self.loss_scale / len(micro_batches))).backward()
                results.append((loss.detach(), shown))
        return Handover.apply(self.weights, self.weights.new_zeros(()), self.gradients), results

    @contextmanager
    def pointed(self) -> Iterator[None]:
        """Where the network's weights are there."""
        self.point()
        yield
        if self._release:
            self._at = None
            for parameter in self._parameters_behind:
                parameter.data = self._nothing

    def point(self) -> None:
        """Makes the network's weights views of where the long tensor is now."""
        if self._at != self.weights.data_ptr():
            self._at = self.weights.data_ptr()
            for parameter, values in zip(self._parameters_behind, self._views(self.weights.data), strict=True):
                parameter.data = values

    def _views(self, long: Tensor) -> list[Tensor]:
        return [long[s.start : s.start + s.size].view(s.shape) for s in self.segments]
