"""The networks of several conditions, side by side.

Shapes: b batch, c conditions.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from rayograph.conditioning.network import ConditionerNetwork, Encode
from rayograph.models.conditioning import Conditioning, together


class SeveralNetwork(ConditionerNetwork):
    """A condition that no training ever drops has no null: guidance keeps it on both sides."""

    def __init__(self, parts: Sequence[ConditionerNetwork], never_dropped: Sequence[bool]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._never_dropped = tuple(never_dropped)

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return self._each(lambda number, part: part.embed(columns))

    def null(self, count: int) -> Conditioning:
        return self._each(lambda number, part: part.null(count))

    def unconditional(self, columns: Mapping[str, Tensor], count: int) -> Conditioning:
        return self._each(
            lambda number, part: (
                part.embed(columns) if self._never_dropped[number] else part.unconditional(columns, count)
            )
        )

    def told(self, columns: Mapping[str, Tensor], keep: Tensor) -> Conditioning:
        """Each part by its own column of `keep` (b, c)."""
        return self._each(lambda number, part: part.told(columns, keep[:, number : number + 1]))

    def finished(self, pixels: Tensor, columns: Mapping[str, Tensor]) -> Tensor:
        for part in self._parts():
            pixels = part.finished(pixels, columns)
        return pixels

    def use_first_stage(self, encode: Encode) -> None:
        for part in self._parts():
            part.use_first_stage(encode)

    def _each(self, say: Callable[[int, ConditionerNetwork], Conditioning]) -> Conditioning:
        return together([say(number, part) for number, part in enumerate(self._parts())])

    def _parts(self) -> list[ConditionerNetwork]:
        return list(self.parts)  # type: ignore[arg-type]  # torch's stubs know them as modules
