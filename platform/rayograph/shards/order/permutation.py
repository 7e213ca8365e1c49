"""A random permutation of any size that is never written down: each place is computed by itself.

Swap-or-not (Hoang, Morris & Rogaway 2012, "An enciphering scheme based on a card shuffle"): a round pairs x with
K − x (mod n), and a bit of the pair, the same for both, says whether they change places. Every round is its own
inverse, hence a permutation whatever the bits are.
"""

import numpy as np

ROUNDS_A_BIT = 4
"""A round halves what still tells the order from a random one; log₂ n rounds let any place reach any other."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def permute(places: np.ndarray, size: int, key: int) -> np.ndarray:
    """Where each of `places` (int64, in [0, size)) goes; `key` (64 bits) chooses the permutation.

    O(log size) a place, in time and in nothing else: a billion places cost no memory.
    """
    places = np.asarray(places, np.int64)
    if size < 2:
        return places.copy()
    for number in range(ROUNDS_A_BIT * (size - 1).bit_length()):
        pivot, salt = mix(key + 2 * number), mix(key + 2 * number + 1)
        partner = pivot % size - places
        partner += size * (partner < 0)
        swap = mixed(np.maximum(places, partner).astype(np.uint64) ^ np.uint64(salt)) >> np.uint64(63)
        places = np.where(swap.astype(bool), partner, places)
    return places


def mix(word: int) -> int:
    """64 well-mixed bits from any whole number (Steele, Lea & Flood 2014, SplitMix64)."""
    return int(mixed(np.array([word & _MASK], np.uint64))[0])


def mixed(words: np.ndarray) -> np.ndarray:
    """`mix` for each of `words`, uint64."""
    words = words + np.uint64(_GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
