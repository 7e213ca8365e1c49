"""Digests: of bytes, and of declarations in one canonical form."""

import hashlib
import json


def sha256(data: bytes | memoryview) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: object) -> bytes:
    """The same bytes for the same value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value's canonical form."""
    return sha256(canonical_json(value))
