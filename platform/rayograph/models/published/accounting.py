"""Filling a network with weights of which every one has its place, and every place its weight."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import Tensor, nn

from rayograph.errors import DataError

N = TypeVar("N", bound=nn.Module)

Weights = Mapping[str, Tensor]
_SHOWN = 4


def below(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def filled(network: N, weights: Weights, where: str) -> N:
    """Give a network its weights. Raises DataError naming those that are missing, left over or of another shape."""
    expected = network.state_dict()
    missing, over = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or over:
        raise DataError(f"{where}: expected a whole {type(network).__name__}: {_lists(missing, over)}")
    for name, value in expected.items():
        if value.shape != weights[name].shape:
            raise DataError(f"{where}: expected {name} of {tuple(value.shape)}, got {tuple(weights[name].shape)}")
    network.load_state_dict(dict(weights))
    return network.eval()


def refuse_left_over(names: Collection[str], where: str) -> None:
    """Raise DataError naming weights that nothing here has a place for."""
    if names:
        raise DataError(f"{where}: expected weights of a published layout alone: {_lists((), names)}")


def _lists(missing: Collection[str], over: Collection[str]) -> str:
    return "; ".join(f"{said} {some(names)}" for said, names in (("missing", missing), ("left over", over)) if names)


def some(names: Collection[str]) -> str:
    """Name the first of them, and say how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more
