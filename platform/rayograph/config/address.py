"""Which Ray cluster a command runs on, by its profile and its environment."""

import os

from rayograph.config.scale import Scale

LOCAL = "local"
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def inside_submitted_job() -> bool:
    """Whether `ray job submit` brought this command here. Ray takes RAY_JOB_ID away from a job's driver."""
    return JOB_VARIABLE in os.environ


def starts_a_cluster(scale: Scale) -> bool:
    """Whether the command runs on a cluster of its own, on this machine alone."""
    return (os.environ.get("RAY_ADDRESS") or scale.ray.address) == LOCAL and not inside_submitted_job()
