"""One sample of a shard: a key and its members by extension."""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """`members` maps extensions without their dot ("png", "cls") to bytes."""

    key: str
    members: dict[str, bytes] = field(repr=False)


def key_fraction(key: str) -> float:
    """A fixed number in [0, 1) for a key, even over all keys: what splits and shuffles without a state."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
