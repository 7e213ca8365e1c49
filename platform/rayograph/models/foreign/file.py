"""A file of a model that others trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignFile:
    """By its key in the store that it comes from, and its name in the artifact, or in `original/` until it is one."""

    key: str
    name: str
