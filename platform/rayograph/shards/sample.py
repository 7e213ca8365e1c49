"""One sample of a shard: a key and its members by extension."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sample:
    """`members` maps extensions without their dot ("png", "cls") to bytes."""

    key: str
    members: dict[str, bytes] = field(repr=False)


def key_fraction(key: str) -> float:
    """A fixed number in [0, 1) for a key, even over all keys: what splits and shuffles without a state."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def key_fractions(keys: Iterable[bytes]) -> np.ndarray:
    """`key_fraction` of each (n,) float64, of keys in UTF-8."""
    digests = b"".join(hashlib.sha256(key).digest() for key in keys)
    return np.frombuffer(digests, ">u8")[::4].astype(np.float64) / 2**64
