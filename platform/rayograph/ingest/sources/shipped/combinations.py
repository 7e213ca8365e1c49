"""Which captions to hold out so that their combination of words is new, and every word of them is not."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rayograph.errors import DataError
from rayograph.shards.sample import key_fraction

SIBLINGS = 3
"""Captions that differ from a held-out one in one word, and in the same place, and are seen."""


def unseen_combinations(captions: Sequence[str], wanted: int, seed: int) -> np.ndarray:
    """(n,) bool: captions of `wanted` combinations of words or a few more, drawn by the seed.

    A caption may go where at least `SIBLINGS` others that differ from it in one word stay, as "woman firefighter dark
    skin tone" from "woman firefighter light skin tone", and where each word of it stands in another that stays.
    Captions of the same words in another order go together. Raises DataError where there are too few.
    """
    words = [tuple(caption.split()) for caption in captions]
    alike: dict[frozenset[str], list[int]] = {}
    for number, found in enumerate(words):
        alike.setdefault(frozenset(found), []).append(number)
    seen = Counter(word for found in words for word in set(found))
    families = Counter(family for found in words for family in _families(found))
    held_out = np.zeros(len(captions), bool)
    order = sorted(alike, key=lambda combination: key_fraction(f"{seed} {' '.join(sorted(combination))}"))
    for combination in order:
        if held_out.sum() >= wanted:
            break
        members = alike[combination]
        leaving = Counter(family for number in members for family in _families(words[number]))
        known = all(seen[word] > len(members) for word in combination)
        if known and any(families[family] - count >= SIBLINGS for family, count in leaving.items()):
            held_out[members] = True
            families -= leaving
            seen -= Counter({word: len(members) for word in combination})
    if held_out.sum() < wanted:
        raise DataError(f"unseen_combinations: expected at most {int(held_out.sum())}, got {wanted}")
    return held_out


def _families(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The caption with one word left open, for each of its words; none of a single word's."""
    if len(words) < 2:
        return []
    return [(*words[:place], "", *words[place + 1 :]) for place in range(len(words))]
