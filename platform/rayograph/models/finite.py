"""Figures that are not finite, found before they become a picture: clamped and rounded, each would be a black pixel.

Shapes: b batch.
"""

from collections.abc import Sequence

from torch import Tensor

from rayograph.errors import DataError

_MOST_NAMES = 8


class NonFiniteError(DataError):
    """Networks gave a number that is none, for a sample that is named: the same again, whoever draws it."""


def require_finite(what: str, names: Sequence[object], *tensors: Tensor) -> None:
    """Raise NonFiniteError by name for the samples (b, …) of which a tensor holds a nan or an infinity.

    One that is there several times, to fill a batch up, is named once.
    """
    sound = tensors[0].new_ones(len(tensors[0])).bool()
    for tensor in tensors:
        sound &= tensor.isfinite().flatten(1).all(1)
    if bool(sound.all()):
        return
    wrong = list(dict.fromkeys(str(name) for name, good in zip(names, sound.tolist(), strict=True) if not good))
    more = f" and {len(wrong) - _MOST_NAMES} more" if len(wrong) > _MOST_NAMES else ""
    raise NonFiniteError(f"{', '.join(wrong[:_MOST_NAMES])}{more}: expected finite {what}, got nan or infinity")
