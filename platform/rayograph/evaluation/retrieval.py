"""Whether a drawing is of what was asked for: is the real image nearest to it, among all real ones, the asked one?

Shapes: n samples, m real images, d features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rayograph.errors import DataError
from rayograph.evaluation.distances import ranks_of
from rayograph.evaluation.summaries import Summary

FEW = 5
"""Real images that are near enough for the second figure."""


@dataclass(frozen=True)
class Retrieval:
    """Shares of samples whose asked image is the nearest, or among the nearest five, by the set that it is of."""

    at_1: Mapping[str, float]
    at_5: Mapping[str, float]
    asked: Mapping[str, int]
    """Samples by the set that their asked image is of; "unknown" where it is none of those compared."""
    chance_at_1: float
    """What samples that know nothing of what was asked for would reach: one of all real images, or five of them."""
    chance_at_5: float


def retrieval(real: Mapping[str, Summary], samples: Summary) -> Retrieval | None:
    """Rank the real images of all sets together by their distance to each sample; None where samples name none.

    Raises DataError where no sample names an image that is there, or two real images have the same key.
    """
    if not len(samples.compared.keys):
        return None
    keys = np.concatenate([summary.compared.keys for summary in real.values()])
    sets = np.repeat(np.array([*real]), [len(summary.compared.keys) for summary in real.values()])
    order = np.argsort(keys)
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        raise DataError(
            f"asked_key: expected keys that differ, got {str(keys[order][twice[0]])!r} twice among real images"
        )
    asked = samples.compared.keys
    places = np.searchsorted(keys, asked, sorter=order).clip(max=len(keys) - 1)
    wanted = order[places]
    known = keys[wanted] == asked
    if not known.any():
        raise DataError(f"asked_key: expected samples that name real images by key, got {str(asked[0])!r}")
    vectors = np.concatenate([summary.vectors for summary in real.values()])
    ranks = ranks_of(samples.vectors[known], vectors, wanted[known])
    of = sets[wanted[known]]
    counts = {name: int((of == name).sum()) for name in real if (of == name).any()}
    return Retrieval(
        at_1={name: float((ranks[of == name] < 1).mean()) for name in counts},
        at_5={name: float((ranks[of == name] < FEW).mean()) for name in counts},
        asked=counts | ({"unknown": int((~known).sum())} if not known.all() else {}),
        chance_at_1=1 / len(keys),
        chance_at_5=min(1.0, FEW / len(keys)),
    )
