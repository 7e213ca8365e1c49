"""Modules outside the package that register kinds: remembered with their files, so that workers import them too.

They come from a job file, which imports them from beside itself, or from the environment variable
RAYOGRAPH_EXTENSIONS: files, or names of installed modules, as PATH has folders. Never from an artifact or a request.
"""

import importlib
import os
import sys
from functools import cache
from pathlib import Path

from rayograph.errors import ConfigError

VARIABLE = "RAYOGRAPH_EXTENSIONS"

JOB_FILE = "<job file>"
"""What a job file's own definitions have for a module: one that no worker can import."""

_registering: set[str] = set()
_kept: dict[str, Path] = {}
_installed: list[str] = []


def registering(module: str) -> None:
    """Remember that a module registers kinds."""
    _registering.add(module)


def registers(module: str) -> bool:
    """Tell whether a module registers kinds."""
    return module in _registering


def keep(module: str, file: Path) -> None:
    """Take a top-level module, or a package by its folder, to wherever work is done."""
    _kept[module] = file


def forget() -> None:
    """Give up the modules of another job file: those of the same names never stand for them."""
    for module in list(_kept):
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            del sys.modules[name]
        del _kept[module]
    _registering.discard(JOB_FILE)


def files() -> list[Path]:
    """Return the modules' files, which are to be where work is done."""
    return list(_kept.values())


def names() -> list[str]:
    """Return the modules' names."""
    return [*_kept, *_installed]


@cache
def load() -> None:
    """Import what the environment names. Raises ConfigError for a module that cannot be imported."""
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        file = Path(place)
        if file.suffix == ".py":
            sys.path.insert(0, str(file.resolve().parent))
        try:
            importlib.import_module(file.stem if file.suffix == ".py" else place)
        except ImportError as error:
            raise ConfigError(f"{VARIABLE}: {place} cannot be imported: {error}") from error
        if file.suffix == ".py":
            keep(file.stem, file.resolve())
        else:
            _installed.append(place)
