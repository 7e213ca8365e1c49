"""Where and with what something was made, for the record."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from rayograph.json_types import Json
from rayograph.version import VERSION


def machine() -> dict[str, Json]:
    """This machine's processor, cores and system."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Versions of rayograph and of what it stands on, as far as installed here."""
    found = {"rayograph": VERSION, "python": platform.python_version()}
    for name in ("ray", "torch", "deepspeed", "diffusers", "numpy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
