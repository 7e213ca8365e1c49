"""Which Ray cluster a command runs on, by its profile and its environment."""

import os

from rayograph.config.scale import Scale
from rayograph.ray_compat import inside_submitted_job

LOCAL = "local"


def starts_a_cluster(scale: Scale) -> bool:
    """Whether the command runs on a cluster of its own, on this machine alone."""
    return (os.environ.get("RAY_ADDRESS") or scale.ray.address) == LOCAL and not inside_submitted_job()
